"""Implements image operations on batches [B, H, W, C] that equal PIL's.

An operation on grey levels is a table of 256 entries per image and channel, and a geometric one is
an affine matrix per image. A batch in which every image has its own operation thus needs one
look-up and one warp. Images are uint8 with C = 1 or 3, and all functions are pure and jittable. The
tests compare them with Pillow 12.
"""

import functools
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

LEVELS = 256
AnyArray = TypeVar("AnyArray", jax.Array, np.ndarray)


def to_float(image: AnyArray) -> AnyArray:
    """Converts an image to float32; uint8 is scaled to [0, 1], floats keep their values."""
    floats = image.astype(jnp.float32)
    return cast(AnyArray, floats / 255 if image.dtype == jnp.uint8 else floats)


def random_crop(key: jax.Array, image: jax.Array, pad: int) -> jax.Array:
    """Pads each image [B, H, W, C] by ``pad`` black pixels per side, and crops it to [H, W]."""
    num, height, width, _ = image.shape
    padded = jnp.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    top, left = jax.random.randint(key, (2, num), 0, 2 * pad + 1)
    rows = top[:, None] + jnp.arange(height)
    columns = left[:, None] + jnp.arange(width)
    cut = jax.vmap(lambda one, row, column: one[row][:, column])
    return cut(padded, rows, columns)


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirrors each image [B, H, W, C] left to right with probability 1/2."""
    flip = jax.random.bernoulli(key, shape=(image.shape[0], 1, 1, 1))
    return jnp.where(flip, image[:, :, ::-1], image)


def histogram(image: jax.Array) -> jax.Array:
    """Counts the pixels of each grey level, int32 [B, C, 256]."""
    num, _, _, channels = image.shape
    row = jnp.arange(num)[:, None, None, None] * channels + jnp.arange(channels)
    cell = row * LEVELS + image.astype(jnp.int32)
    counts = jnp.zeros(num * channels * LEVELS, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts.reshape(num, channels, LEVELS)


def autocontrast_table(image: jax.Array) -> jax.Array:
    """Returns the table of PIL's ``ImageOps.autocontrast`` for each channel, int32 [B, C, 256]."""
    low = jnp.min(image, axis=(1, 2)).astype(jnp.int32)[..., None]
    high = jnp.max(image, axis=(1, 2)).astype(jnp.int32)[..., None]
    level = jnp.arange(LEVELS)
    stretched = _floor_divide(255 * (level - low), jnp.maximum(high - low, 1))
    words = jnp.asarray(_autocontrast_misses())[low[..., 0], high[..., 0]]
    miss = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32) & 1).reshape(stretched.shape)
    stretched = jnp.clip(stretched - miss.astype(jnp.int32), 0, 255)
    return jnp.where(high > low, stretched, level)


@functools.cache
def _autocontrast_misses() -> np.ndarray:
    """Finds where PIL's double-precision arithmetic falls just short of a whole level.

    Returns:
      uint32 [256, 256, 8]: for darkest and lightest level, one bit per level whose exact result is
      one above PIL's.
    """
    low, high, level = np.ogrid[:LEVELS, :LEVELS, :LEVELS]
    span = np.maximum(high - low, 1)
    scale = 255.0 / span
    pil = (level * scale + -low * scale).astype(np.int32)
    miss = (255 * (level - low) // span > pil) & (low <= level) & (level <= high)
    return np.packbits(miss, axis=-1, bitorder="little").view("<u4")


def equalize_table(image: jax.Array) -> jax.Array:
    """Returns the table of PIL's ``ImageOps.equalize`` for each channel, int32 [B, C, 256]."""
    counts = histogram(image)
    total = image.shape[1] * image.shape[2]
    level = jnp.arange(LEVELS)
    last = jnp.max(image, axis=(1, 2)).astype(jnp.int32)
    top = jnp.take_along_axis(counts, last[..., None], axis=-1)
    step = (total - top) // 255
    below = jnp.cumsum(counts, axis=-1) - counts
    equalized = _floor_divide(step // 2 + below, jnp.maximum(step, 1))
    return jnp.where(step > 0, jnp.minimum(equalized, 255), level)


def posterize_table(bits: jax.Array) -> jax.Array:
    """Returns the table of PIL's ``ImageOps.posterize`` for ``bits`` [B], int32 [B, 1, 256]."""
    return jnp.arange(LEVELS) & ~((1 << (8 - bits)) - 1)[:, None, None]


def solarize_table(threshold: jax.Array) -> jax.Array:
    """Returns the table of PIL's ``ImageOps.solarize`` for ``threshold`` [B], int32 [B, 1, 256]."""
    level = jnp.arange(LEVELS)
    return jnp.where(level < threshold[:, None, None], level, 255 - level)


def blend_table(degenerate: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns the table of PIL's ``Image.blend`` with one grey level, int32 [B, 1, 256].

    Args:
      degenerate: int32 [B]; 0 gives ``ImageEnhance.Brightness``, and ``mean_grey`` gives
        ``ImageEnhance.Contrast``.
      factor: float32 [B]; 1 gives the image itself.
    """
    level = jnp.arange(LEVELS)
    return blend(degenerate[:, None, None], level, factor[:, None, None])


def blend(degenerate: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Applies PIL's ``Image.blend``: degenerate + factor · (image - degenerate), int32."""
    degenerate, image = degenerate.astype(jnp.int32), image.astype(jnp.int32)
    change = factor * (image - degenerate).astype(jnp.float32)
    return jnp.clip(degenerate.astype(jnp.float32) + change, 0, 255).astype(jnp.int32)


def grey(image: jax.Array) -> jax.Array:
    """Applies PIL's ``convert("L")``, ITU-R 601 luma in 16-bit fixed point, int32 [B, H, W, 1]."""
    image = image.astype(jnp.int32)
    if image.shape[-1] == 1:
        return image
    weights = jnp.array([19595, 38470, 7471])
    return (jnp.sum(image * weights, axis=-1, keepdims=True) + 0x8000) >> 16


def mean_grey(image: jax.Array) -> jax.Array:
    """Returns the mean of ``grey``, rounded half up, int32 [B]."""
    pixels = image.shape[1] * image.shape[2]
    return (2 * jnp.sum(grey(image), axis=(1, 2, 3)) + pixels) // (2 * pixels)


def smooth(image: jax.Array) -> jax.Array:
    """Applies PIL's ``ImageFilter.SMOOTH``, 3x3 with a centre of 5/13; keeps the border; int32."""
    image = image.astype(jnp.int32)
    if min(image.shape[1:3]) < 3:
        return image
    rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = (2 * (box + 4 * image[:, 1:-1, 1:-1]) + 13) // 26
    return image.at[:, 1:-1, 1:-1].set(inner)


def look_up(image: jax.Array, table: jax.Array) -> jax.Array:
    """Replaces each level of a uint8 image by its entry in ``table`` [B, C or 1, 256]."""
    num, _, _, channels = image.shape
    table = jnp.broadcast_to(table, (num, channels, LEVELS)).astype(jnp.uint8)
    row = jnp.arange(num)[:, None, None, None] * channels + jnp.arange(channels)
    return table.reshape(-1)[row * LEVELS + image.astype(jnp.int32)]


def _floor_divide(numerator: jax.Array, divisor: jax.Array) -> jax.Array:
    """Divides int32 below 2²⁴, rounding down, in float32, which CPUs vectorise."""
    quotient = jnp.floor(numerator / divisor).astype(jnp.int32)
    rest = numerator - quotient * divisor
    return quotient + (rest >= divisor) - (rest < 0)
