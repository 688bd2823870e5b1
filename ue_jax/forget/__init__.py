"""Removing data, classes and facts from trained models."""
