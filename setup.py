"""ue_jax: protect, cluster, forget, audit, over one pure-functional JAX core."""

import pathlib
import re

import setuptools

here = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ue_jax/__init__.py").read_text()).group(1)

tfds = ["tensorflow-datasets>=4.9.7", "array_record>=0.5", "importlib_resources>=6"]
lm = ["tokenizers>=0.20", "nltk>=3.8"]
test = [
  "pytest>=8", "pytest-xdist>=3.5", "safetensors>=0.4.5", "kmedoids>=0.5", "rouge-score>=0.1.2", *lm, *tfds,
]  # fmt: skip

setuptools.setup(
  name="ue-jax",
  version=version,
  description=__doc__.strip(),
  long_description=(here / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  packages=setuptools.find_namespace_packages(include=["ue_jax", "ue_jax.*", "experiments", "configs", "configs.*"]),
  python_requires=">=3.11",
  install_requires=[
    "jax>=0.7.2",
    "flax>=0.10.7",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.30",
    "ml-collections>=1.0",
    "absl-py>=2.0",
    "numpy>=2.0",
    "scipy>=1.13",
    "pillow>=10.0",
    "scikit-learn>=1.6",
    "mlxtend>=0.23.4",
    "matplotlib>=3.9",
    "rich>=13.0",
  ],
  extras_require={
    "test": test,
    "tfds": tfds,
    "cuda": ["jax[cuda12]"],
    "tpu": ["jax[tpu]"],
    "lm": lm,
    "dev": [*test, "ruff>=0.9", "pre-commit>=3.7", "nbclient>=0.10", "ipykernel>=6.29"],
  },
)
