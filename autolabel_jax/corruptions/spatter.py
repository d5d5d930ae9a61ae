"""Implements drops of water or mud on the lens, one of the four extra corruptions.

Water is bright at the rims of its drops. The reference finds these with OpenCV's edge detector and
distance transform. Both are array operations here, with Euclidean distances instead of OpenCV's 5 x
5 chamfer distances.
"""

import functools
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions import linear_maps
from autolabel_jax.corruptions.settings import Prepared, plain

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
FARTHEST = 20  # pixels from a rim at which its light ends
EDGES = (50, 150)  # smallest gradients that continue and that start an edge


def prepare(
    size: int,
    mean: float,
    spread: float,
    smoothness: float,
    threshold: float,
    strength: float,
    mud: int,
) -> Prepared:
    """Prepares the numbers, and matrices of the blurs from their standard deviations.

    Args:
      size: side in pixels.
      mean: mean of the noise.
      spread: standard deviation of the noise.
      smoothness: standard deviation in pixels of the blur of the noise.
      threshold: value above which the noise is liquid.
      strength: brightness of the water, or standard deviation of the mud's edge in pixels.
      mud: 1 for mud, 0 for water.
    """
    numbers = plain(size, mean, spread, threshold).arrays
    last = linear_maps.gaussian(size, strength) if mud else np.float32(strength)
    return Prepared((*numbers, linear_maps.gaussian(size, smoothness), last), (mud,))


def spatter(
    key: jax.Array,
    image: jax.Array,
    mean: jax.Array,
    spread: jax.Array,
    threshold: jax.Array,
    blur: jax.Array,
    strength: jax.Array,
    mud: int,
) -> jax.Array:
    """Adds liquid where smoothed noise is above a threshold: water adds light, mud covers.

    Args:
      key: key of this image.
      image: float32 [n, n, 3].
      mean: mean of the noise, float32 [].
      spread: standard deviation of the noise, float32 [].
      threshold: value above which the noise is liquid, float32 [].
      blur: matrix that smooths the noise along one axis, float [n, n].
      strength: brightness of the water, float32 [], or matrix that smooths the mud's edge,
        float [n, n].
      mud: 1 for mud, 0 for water.
    """
    size = image.shape[0]
    liquid = mean + spread * jax.random.normal(key, (size * size,)).reshape(size, size, 1)
    liquid = linear_maps.both_axes(liquid, blur)
    liquid = jnp.where(liquid < threshold, 0, liquid)
    if mud:
        cover = (liquid > threshold).astype(jnp.float32)
        cover = linear_maps.both_axes(cover, strength)
        cover = jnp.where(cover < 0.8, 0, cover)
        return image * (1 - cover) + jnp.asarray(MUD) * cover
    level = jnp.floor(liquid[..., 0] * 255)
    shine = level * _rims(level)
    shine = strength * shine / jnp.maximum(jnp.max(shine), 1e-6)
    return image + shine[..., None] * jnp.asarray(WATER)


def _rims(level: jax.Array) -> jax.Array:
    """Computes the brightness of the water from the distance of each pixel to an edge, [n, n]."""
    distance = jnp.floor(_box(jnp.minimum(_distance(canny(level)), FARTHEST)))
    equal = _equalized(distance)
    relief = _correlate(equal, ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)))
    return _box(jnp.clip(relief, 0, 255))


def canny(level: jax.Array) -> jax.Array:
    """Finds Canny's edges of grey levels [n, n], by Sobel gradients |x| + |y|; bool [n, n]."""
    across = _correlate(level, ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), "edge")
    down = _correlate(level, ((-1, -2, -1), (0, 0, 0), (1, 2, 1)), "edge")
    size = jnp.abs(across) + jnp.abs(down)
    near = functools.partial(_neighbour, jnp.pad(size, 1))
    # A ridge is higher than the pixel before it and not lower than the one behind, in the
    # direction of its gradient rounded to an eighth of a turn.
    flat = jnp.abs(down) < jnp.tan(np.pi / 8) * jnp.abs(across)
    steep = jnp.abs(down) > jnp.tan(3 * np.pi / 8) * jnp.abs(across)
    falls = across * down > 0
    before = jnp.where(falls, near(-1, -1), near(-1, 1))
    behind = jnp.where(falls, near(1, 1), near(1, -1))
    before = jnp.where(flat, near(0, -1), jnp.where(steep, near(-1, 0), before))
    behind = jnp.where(flat, near(0, 1), jnp.where(steep, near(1, 0), behind))
    # On diagonals OpenCV requires a value above both.
    over = (size > before) & jnp.where(flat | steep, size >= behind, size > behind)
    weak = over & (size > EDGES[0])

    def spread(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        edge, _ = state
        wider = weak & (_most(edge) > 0)
        return wider, jnp.any(wider != edge)

    first = weak & (size > EDGES[1])
    return jax.lax.while_loop(lambda state: state[1], spread, (first, jnp.any(first)))[0]


def _neighbour(padded: jax.Array, down: int, right: int) -> jax.Array:
    n = padded.shape[0] - 2
    return padded[1 + down : 1 + down + n, 1 + right : 1 + right + n]


def _most(edge: jax.Array) -> jax.Array:
    near = functools.partial(_neighbour, jnp.pad(edge, 1).astype(jnp.int32))
    total = sum(near(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))
    return cast(jax.Array, total)


def _distance(edge: jax.Array) -> jax.Array:
    """Pixels to the nearest edge, exact up to FARTHEST: first along columns, then along rows."""
    far = float(2 * FARTHEST**2)
    squared = jnp.where(edge, 0.0, far)
    n = edge.shape[0]
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (FARTHEST, FARTHEST)
        padded = jnp.pad(squared, pad, constant_values=far)
        shifted = (
            jax.lax.slice_in_dim(padded, FARTHEST + d, FARTHEST + d + n, axis=axis) + float(d * d)
            for d in range(-FARTHEST, FARTHEST + 1)
        )
        squared = functools.reduce(jnp.minimum, shifted)
    return jnp.sqrt(squared)


def _box(image: jax.Array) -> jax.Array:
    """Averages 3 x 3 pixels, mirrored about the border."""
    return _correlate(image, np.full((3, 3), 1 / 9))


def _correlate(
    image: jax.Array, kernel: Sequence[Sequence[float]] | np.ndarray, mode: str = "reflect"
) -> jax.Array:
    near = functools.partial(_neighbour, jnp.pad(image, 1, mode=mode))
    total = sum(kernel[i][j] * near(i - 1, j - 1) for i in range(3) for j in range(3))
    return cast(jax.Array, total)


def _equalized(level: jax.Array) -> jax.Array:
    """Equalises the histogram of whole levels 0 … FARTHEST as OpenCV does."""
    counts = jnp.sum(level[..., None] == jnp.arange(FARTHEST + 1), axis=(0, 1))
    lowest = counts[jnp.argmax(counts > 0)]
    below = jnp.cumsum(counts) - lowest
    table = jnp.round(255 * below / jnp.maximum(level.size - lowest, 1))
    return jnp.take(table, level.astype(jnp.int32), mode="clip")
