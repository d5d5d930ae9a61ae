"""Implements brightness, contrast, elastic transform, pixelate and saturate."""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions import linear_maps
from autolabel_jax.corruptions.settings import Prepared, plain


def brightness(key: jax.Array, image: jax.Array, shift: jax.Array) -> jax.Array:
    """Adds ``shift`` to the HSV value, up to 1, and keeps hue and saturation."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    brighter = jnp.minimum(value + shift, 1)
    return jnp.where(value > 0, image * (brighter / jnp.maximum(value, 1e-6)), brighter)


def contrast(key: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales the distance of each channel from its mean over the image."""
    del key
    mean = jnp.mean(image, axis=(0, 1))
    return (image - mean) * factor + mean


def saturate(key: jax.Array, image: jax.Array, factor: jax.Array, shift: jax.Array) -> jax.Array:
    """Scales and shifts HSV saturation in [0, 1]; greys count as red, as in colour libraries."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    chroma = value - jnp.min(image, axis=-1, keepdims=True)
    grey = chroma <= 0
    saturation = chroma / jnp.maximum(value, 1e-6)
    # Distance of each channel below the value, 1 for the lowest channel.
    below = (value - image) / jnp.where(grey, 1, chroma)
    below = jnp.where(grey, jnp.asarray([0.0, 1.0, 1.0]), below)
    return value * (1 - below * jnp.clip(saturation * factor + shift, 0, 1))


def prepare_pixelate(size: int, share: float) -> Prepared:
    """Prepares box filters to a ``share`` of the side and back, float32 [n, n], padded with 0."""
    small = int(size * share)
    down, up = np.zeros((2, size, size), np.float32)
    down[:small], up[:, :small] = linear_maps.box(size, small), linear_maps.box(small, size)
    return Prepared((down, up))


def pixelate(key: jax.Array, image: jax.Array, down: jax.Array, up: jax.Array) -> jax.Array:
    """Resizes to a smaller image and back, exactly as PIL's box filter does."""
    del key
    return _resize(_resize(jnp.round(image * 255), down), up) / 255


def _resize(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Averages whole levels [n, n, C] by 0 and 1; PIL rounds after rows and after columns."""
    count = jnp.maximum(matrix.sum(axis=1), 1)[:, None, None]
    for _ in range(2):
        total = jnp.einsum("kw,hwc->khc", matrix, image, precision="highest")
        image = jnp.floor(total / count + 0.5)
    return image


def prepare_elastic(size: int, strength: float, smoothness: float, jitter: float) -> Prepared:
    """Prepares lengths in pixels and the matrix of the smoothing; arguments are shares of the side.

    Args:
      size: side in pixels.
      strength: largest displacement before smoothing.
      smoothness: standard deviation of the smoothing.
      jitter: largest displacement of the corners.
    """
    blur = linear_maps.gaussian(size, smoothness * size, mode="reflect", truncate=3)
    return Prepared((*plain(size, strength * size, jitter * size).arrays, blur))


def elastic_transform(
    key: jax.Array, image: jax.Array, strength: jax.Array, jitter: jax.Array, blur: jax.Array
) -> jax.Array:
    """Moves three corners of an inner square at random, and displaces pixels by a smooth field.

    Args:
      key: key of this image.
      image: float32 [n, n, C].
      strength: largest displacement before smoothing, float32 [], in pixels.
      jitter: largest displacement of the corners, float32 [], in pixels.
      blur: matrix that smooths the displacement along one axis, float [n, n].
    """
    size = image.shape[0]
    corner_key, field_key = jax.random.split(key)
    corners = jax.random.uniform(corner_key, (3, 2), minval=-jitter, maxval=jitter)
    field = jax.random.uniform(field_key, (size * size * 2,), minval=-1, maxval=1)
    field = linear_maps.both_axes(field.reshape(size, size, 2), blur) * strength
    return displace(move_corners(image, corners), field)


def move_corners(image: jax.Array, moved: jax.Array) -> jax.Array:
    """Applies the affine map that moves three corners of a square.

    Interpolation is linear, with mirroring about border pixels.

    Args:
      image: float32 [n, n, C].
      moved: float32 [3, 2], displacement (right, down) of each corner in pixels. The corners are
        n // 3 away from the middle: lower right, upper right, upper left.
    """
    size = image.shape[0]
    middle, half = float(size // 2), float(size // 3)
    corner = middle + half * jnp.asarray([[1.0, 1], [1, -1], [-1, -1]]) + moved
    # Columns of the matrix: the images of a step to the right and a step down.
    right, down = (corner[1] - corner[2]) / (2 * half), (corner[0] - corner[1]) / (2 * half)
    origin = corner[0] - (middle + half) * (right + down)
    x, y = jnp.arange(size) - origin[0], jnp.arange(size)[:, None] - origin[1]
    determinant = right[0] * down[1] - right[1] * down[0]
    from_x = (down[1] * x - down[0] * y) / determinant
    from_y = (right[0] * y - right[1] * x) / determinant
    return _linear(image, from_y, from_x, period=2 * size - 2)


def displace(image: jax.Array, field: jax.Array) -> jax.Array:
    """Takes each pixel from ``field`` [n, n, 2] (right, down) pixels away; mirrors at the edge."""
    size = image.shape[0]
    x, y = jnp.arange(size), jnp.arange(size)[:, None]
    return _linear(image, y + field[..., 1], x + field[..., 0], period=2 * size)


def _linear(image: jax.Array, y: jax.Array, x: jax.Array, period: int) -> jax.Array:
    """Interpolates linearly; mirrors about the border pixels (2n - 2) or their edges (2n)."""
    size, _, channels = image.shape
    flat = image.reshape(size * size, channels)
    top, left = jnp.floor(y), jnp.floor(x)
    lower, right = (y - top)[..., None], (x - left)[..., None]

    def fold(place: jax.Array) -> jax.Array:
        place = jnp.mod(place.astype(jnp.int32), period)
        # Past the end, size maps to size - 1 if edges mirror and to size - 2 if pixels do.
        return jnp.where(
            place < size, place, (period - 1 if period == 2 * size else period) - place
        )

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        return jnp.take(flat, fold(row) * size + fold(column), axis=0, mode="clip")

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    beneath = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - lower) + beneath * lower
