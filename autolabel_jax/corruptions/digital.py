"""Light, geometry and resolution: brightness, contrast, elastic transform, pixelate, saturate."""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions import linear_maps
from autolabel_jax.corruptions.settings import Prepared, plain


def brightness(key: jax.Array, image: jax.Array, shift: jax.Array) -> jax.Array:
    """HSV value + ``shift``, at most 1; hue and saturation stay."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    brighter = jnp.minimum(value + shift, 1)
    return jnp.where(value > 0, image * (brighter / jnp.maximum(value, 1e-6)), brighter)


def contrast(key: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Each channel drawn towards its mean over the image."""
    del key
    mean = jnp.mean(image, axis=(0, 1))
    return (image - mean) * factor + mean


def saturate(key: jax.Array, image: jax.Array, factor: jax.Array, shift: jax.Array) -> jax.Array:
    """HSV saturation · factor + shift, in [0, 1]; greys count as red, as in colour libraries."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    chroma = value - jnp.min(image, axis=-1, keepdims=True)
    grey = chroma <= 0
    saturation = chroma / jnp.maximum(value, 1e-6)
    # How far each channel lies below the value, 1 for the lowest.
    below = (value - image) / jnp.where(grey, 1, chroma)
    below = jnp.where(grey, jnp.asarray([0.0, 1.0, 1.0]), below)
    return value * (1 - below * jnp.clip(saturation * factor + shift, 0, 1))


def prepare_pixelate(size: int, share: float) -> Prepared:
    """Box filters to a ``share`` of the side and back, float32 [n, n], what is not used 0."""
    small = int(size * share)
    down, up = np.zeros((2, size, size), np.float32)
    down[:small], up[:, :small] = linear_maps.box(size, small), linear_maps.box(small, size)
    return Prepared((down, up))


def pixelate(key: jax.Array, image: jax.Array, down: jax.Array, up: jax.Array) -> jax.Array:
    """Resized to a smaller image and back, by PIL's box filter to the last bit."""
    del key
    return _resize(_resize(jnp.round(image * 255), down), up) / 255


def _resize(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Whole levels [n, n, C] by 0 and 1; PIL rounds after the rows and after the columns."""
    count = jnp.maximum(matrix.sum(axis=1), 1)[:, None, None]
    for _ in range(2):
        total = jnp.einsum("kw,hwc->khc", matrix, image, precision="highest")
        image = jnp.floor(total / count + 0.5)
    return image


def prepare_elastic(size: int, strength: float, smoothness: float, jitter: float) -> Prepared:
    """The smoothing's matrix in place of its standard deviation, all as shares of the side.

    Args:
      size: side in pixels.
      strength: largest displacement before it is smoothed.
      smoothness: standard deviation of the smoothing.
      jitter: of the corners.
    """
    blur = linear_maps.gaussian(size, smoothness * size, mode="reflect", truncate=3)
    return Prepared((*plain(size, strength * size, jitter * size).arrays, blur))


def elastic_transform(
    key: jax.Array, image: jax.Array, strength: jax.Array, jitter: jax.Array, blur: jax.Array
) -> jax.Array:
    """Three corners of an inner square moved at random, then a smooth random displacement.

    Args:
      key: of this image.
      image: float32 [n, n, C].
      strength: float32 [], largest displacement before it is smoothed, in pixels.
      jitter: float32 [], of the corners, in pixels.
      blur: float [n, n], smooths the displacement along one axis.
    """
    size = image.shape[0]
    corner_key, field_key = jax.random.split(key)
    corners = jax.random.uniform(corner_key, (3, 2), minval=-jitter, maxval=jitter)
    field = jax.random.uniform(field_key, (size * size * 2,), minval=-1, maxval=1)
    field = linear_maps.both_axes(field.reshape(size, size, 2), blur) * strength
    return displace(move_corners(image, corners), field)


def move_corners(image: jax.Array, moved: jax.Array) -> jax.Array:
    """The affine map that moves three corners of a square; linear, mirrored about border pixels.

    Args:
      image: float32 [n, n, C].
      moved: float32 [3, 2], by how many pixels (right, down) each corner goes. The corners
        are n // 3 away from the middle: lower right, upper right, upper left.
    """
    size = image.shape[0]
    middle, half = float(size // 2), float(size // 3)
    corner = middle + half * jnp.asarray([[1.0, 1], [1, -1], [-1, -1]]) + moved
    # Columns of the matrix: where a step to the right and a step down go.
    right, down = (corner[1] - corner[2]) / (2 * half), (corner[0] - corner[1]) / (2 * half)
    origin = corner[0] - (middle + half) * (right + down)
    x, y = jnp.arange(size) - origin[0], jnp.arange(size)[:, None] - origin[1]
    determinant = right[0] * down[1] - right[1] * down[0]
    from_x = (down[1] * x - down[0] * y) / determinant
    from_y = (right[0] * y - right[1] * x) / determinant
    return _linear(image, from_y, from_x, period=2 * size - 2)


def displace(image: jax.Array, field: jax.Array) -> jax.Array:
    """Takes each pixel from (right, down) ``field`` [n, n, 2] pixels away; mirrored at the edge."""
    size = image.shape[0]
    x, y = jnp.arange(size), jnp.arange(size)[:, None]
    return _linear(image, y + field[..., 1], x + field[..., 0], period=2 * size)


def _linear(image: jax.Array, y: jax.Array, x: jax.Array, period: int) -> jax.Array:
    """Linear interpolation; mirrored about the border pixels (2n - 2) or their edges (2n)."""
    size, _, channels = image.shape
    flat = image.reshape(size * size, channels)
    top, left = jnp.floor(y), jnp.floor(x)
    lower, right = (y - top)[..., None], (x - left)[..., None]

    def fold(place):
        place = jnp.mod(place.astype(jnp.int32), period)
        # Past the end: size goes to size - 1 where edges mirror, to size - 2 where pixels do.
        return jnp.where(
            place < size, place, (period - 1 if period == 2 * size else period) - place
        )

    def at(row, column):
        return jnp.take(flat, fold(row) * size + fold(column), axis=0, mode="clip")

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    beneath = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - lower) + beneath * lower
