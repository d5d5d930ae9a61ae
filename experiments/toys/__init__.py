"""Defines the problem with a known answer of ``experiments.toy``, trains on it, and measures."""
