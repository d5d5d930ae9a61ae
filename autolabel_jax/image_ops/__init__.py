"""Implements PIL's image operations on arrays: values in ``pixels``, geometry in ``warp``."""

from autolabel_jax.image_ops.pixels import (
    LEVELS,
    autocontrast_table,
    blend,
    blend_table,
    equalize_table,
    grey,
    histogram,
    look_up,
    mean_grey,
    posterize_table,
    random_crop,
    random_flip,
    smooth,
    solarize_table,
    to_float,
)

__all__ = [
    "LEVELS",
    "autocontrast_table",
    "blend",
    "blend_table",
    "equalize_table",
    "grey",
    "histogram",
    "look_up",
    "mean_grey",
    "posterize_table",
    "random_crop",
    "random_flip",
    "smooth",
    "solarize_table",
    "to_float",
]
