"""Networks as pairs of pure functions; the only room that imports flax."""
