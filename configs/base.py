"""Hands on the fields of a config with their defaults to the configs of this folder."""

from autolabel_jax.defaults import base, tiny, variant

__all__ = ["base", "tiny", "variant"]
