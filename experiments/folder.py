"""Protects a person's own folder of pictures, at the size they have. (being written)"""

from __future__ import annotations


def source(stage):
  return ""


def wanted(config):
  return False
