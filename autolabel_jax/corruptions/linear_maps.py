"""Computes blurs and resizings along one axis as matrices, once, in double precision.

A separable map of an image is a matrix for its rows and one for its columns, so a batch needs two
matrix products, whatever the border rule.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from autolabel_jax.types import Array


def both_axes(image: jax.Array, matrix: Array) -> jax.Array:
    """Applies a matrix float [m, n] to rows and columns: [n, n, C] → [m, m, C]."""
    weights = jnp.asarray(matrix, image.dtype)
    rows = jnp.einsum("ij,jwc->iwc", weights, image, precision="highest")
    return jnp.einsum("kw,iwc->ikc", weights, rows, precision="highest")


@functools.cache
def gaussian(size: int, deviation: float, mode: str = "nearest", truncate: float = 4) -> np.ndarray:
    """Returns a Gaussian blur [size, size], with ``mode`` and ``truncate`` of ``scipy.ndimage``."""
    if deviation == 0:
        return np.eye(size)
    return ndimage.gaussian_filter1d(np.eye(size), deviation, axis=0, mode=mode, truncate=truncate)


@functools.cache
def zoom(size: int, factor: float) -> np.ndarray:
    """Returns a linear enlargement [size, size] of the middle, as ``scipy.ndimage.zoom``."""
    cut = int(np.ceil(size / factor))
    enlarged = round(cut * factor)
    spacing = (cut - 1) / max(enlarged - 1, 1)
    # The reference cuts out the middle and rounds down twice.
    place = (np.arange(size) + (enlarged - size) // 2) * spacing
    lower = np.minimum(np.floor(place).astype(int), cut - 1)
    share, first, row = place - lower, (size - cut) // 2, np.arange(size)
    matrix = np.zeros((size, size))
    matrix[row, first + lower] += 1 - share
    matrix[row, first + np.minimum(lower + 1, cut - 1)] += share
    return matrix


@functools.cache
def box(size: int, new_size: int) -> np.ndarray:
    """Returns PIL's BOX filter [new_size, size] as 0 and 1; divide by row sums for means."""
    scale = size / new_size
    width = max(scale, 1.0)
    centre = (np.arange(new_size)[:, None] + 0.5) * scale
    distance = (np.arange(size) - centre + 0.5) / width
    return ((distance > -0.5) & (distance <= 0.5)).astype(float)
