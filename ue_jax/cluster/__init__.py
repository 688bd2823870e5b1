"""Partitions of samples."""
