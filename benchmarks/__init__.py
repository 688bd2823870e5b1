"""Measurements against the obvious alternative; each prints ratios of one run."""
