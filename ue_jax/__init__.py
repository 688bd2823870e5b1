"""ue_jax: protect, cluster, forget, audit, over one pure-functional JAX core."""

__version__ = "0.1.0"
