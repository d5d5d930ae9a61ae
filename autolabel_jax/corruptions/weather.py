"""Implements snow, frost and fog."""

import math

import jax
import jax.numpy as jnp

from autolabel_jax.corruptions import blur, linear_maps
from autolabel_jax.corruptions.frost_textures import textures
from autolabel_jax.corruptions.settings import LARGEST_CIFAR_SIZE, Prepared, plain

# ITU-R 601.
LUMA = (0.299, 0.587, 0.114)


def prepare_snow(
    size: int,
    mean: float,
    spread: float,
    zoom: float,
    threshold: float,
    radius: int,
    deviation: float,
    clean: float,
) -> Prepared:
    """Prepares the numbers, the matrix of the enlargement, and the weights of the line."""
    line = blur.line(radius, deviation)
    numbers = plain(size, mean, spread, threshold, clean).arrays
    return Prepared((*numbers, linear_maps.zoom(size, zoom), line))


def snow(
    key: jax.Array,
    image: jax.Array,
    mean: jax.Array,
    spread: jax.Array,
    threshold: jax.Array,
    clean: jax.Array,
    zoom: jax.Array,
    line: jax.Array,
) -> jax.Array:
    """Adds flakes to a whitened image: thresholded noise, enlarged and blurred downwards."""
    flake_key, angle_key = jax.random.split(key)
    size = image.shape[0]
    flakes = mean + spread * jax.random.normal(flake_key, (size * size,)).reshape(size, size, 1)
    flakes = linear_maps.both_axes(flakes, zoom)
    flakes = jnp.clip(jnp.where(flakes < threshold, 0, flakes), 0, 1)
    angle = jax.random.uniform(angle_key, minval=-3 * math.pi / 4, maxval=-math.pi / 4)
    flakes = blur.along_line(jnp.floor(flakes * 255) / 255, angle, line)
    grey = jnp.sum(image * jnp.asarray(LUMA), axis=-1, keepdims=True)
    image = clean * image + (1 - clean) * jnp.maximum(image, 1.5 * grey + 0.5)
    return image + flakes + flakes[::-1, ::-1]


def prepare_frost(size: int, clean: float, amount: float) -> Prepared:
    """Prepares the numbers and the textures."""
    bank = textures(size, 5 if size <= LARGEST_CIFAR_SIZE else 1)
    return Prepared((*plain(size, clean, amount).arrays, bank))


def frost(
    key: jax.Array, image: jax.Array, clean: jax.Array, amount: jax.Array, bank: jax.Array
) -> jax.Array:
    """Adds a patch of a frost texture to a darkened image; see ``frost_textures``."""
    size = image.shape[0]
    which_key, where_key = jax.random.split(key)
    which = jax.random.randint(which_key, (), 0, len(bank))
    top, left = jax.random.randint(where_key, (2,), 0, bank.shape[1] - size)
    patch = jax.lax.dynamic_slice(bank, (which, top, left, 0), (1, size, size, 3))
    return clean * image + amount * patch[0].astype(jnp.float32) / 255


def fog(key: jax.Array, image: jax.Array, thickness: jax.Array, decay: jax.Array) -> jax.Array:
    """Adds a plasma fractal to the image, and keeps its maximum."""
    height, width, _ = image.shape
    cloud = plasma(key, max(height, width), decay)[:height, :width, None]
    top = jnp.max(image)
    return (image + thickness * cloud) * top / (top + thickness)


def plasma(key: jax.Array, size: int, decay: jax.Array) -> jax.Array:
    """Makes diamond-square noise in [0, 1], float32 [n, n], with n the power of 2 from ``size`` up.

    A grid grows from one point by doubling. The centres of its squares are the means of their
    corners, and the middles of their sides are the means of the diamonds around them. Each has
    noise whose amplitude decreases by decay² per level. The grid wraps around.
    """
    levels = (size - 1).bit_length()
    noise = jax.random.uniform(key, (4**levels,), minval=-1, maxval=1)
    grid, amplitude = jnp.zeros((1, 1)), 100.0**2
    for level in range(levels):
        n = 2**level
        # 4^level points exist, and three times as many are new.
        centre, across, down = amplitude * noise[n * n : 4 * n * n].reshape(3, n, n)
        below = grid + jnp.roll(grid, -1, 0)
        beside = grid + jnp.roll(grid, -1, 1)
        centre += (below + jnp.roll(below, -1, 1)) / 4
        across += (centre + jnp.roll(centre, 1, 0) + beside) / 4
        down += (centre + jnp.roll(centre, 1, 1) + below) / 4
        even = jnp.stack([grid, across], -1).reshape(n, 2 * n)
        odd = jnp.stack([down, centre], -1).reshape(n, 2 * n)
        grid = jnp.stack([even, odd], 1).reshape(2 * n, 2 * n)
        amplitude /= decay**2
    grid -= jnp.min(grid)
    return grid / jnp.max(grid)
