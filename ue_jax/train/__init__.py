"""From an objective to a trained subject."""
