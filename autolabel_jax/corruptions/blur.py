"""Blurs: out of focus, through frosted glass, by motion, by zooming, and the Gaussian extra."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from autolabel_jax.corruptions import linear_maps
from autolabel_jax.corruptions.settings import Prepared

# A tap that weighs less moves no value by a hundredth of a grey level.
NEGLIGIBLE = 1e-5
# Arrays of one size for all severities: the longest line and the most enlargements in settings.py.
MOST_TAPS, MOST_ZOOMS = 41, 32


def prepare_gaussian(size: int, deviation: float) -> Prepared:
    """The matrix of a standard deviation in pixels; the border is repeated."""
    return Prepared((linear_maps.gaussian(size, deviation),))


def gaussian_blur(key: jax.Array, image: jax.Array, blur: jax.Array) -> jax.Array:
    """Gaussian blur by its matrix [n, n] of one axis."""
    del key
    return linear_maps.both_axes(image, blur)


def prepare_defocus(size: int, radius: float, softness: float) -> Prepared:
    """A disk of a radius in pixels whose edge is softened."""
    del size
    return Prepared((_disk(radius, softness),))


def defocus_blur(key: jax.Array, image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with a kernel [k, k]; the border is mirrored."""
    del key
    reach = kernel.shape[0] // 2
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    # Channels as examples: one plain convolution.
    out = jax.lax.conv_general_dilated(
        padded.transpose(2, 0, 1)[:, None],
        kernel.astype(jnp.float32)[None, None],
        window_strides=(1, 1),
        padding="VALID",
        precision="highest",
    )
    return out[:, 0].transpose(1, 2, 0)


@functools.cache
def _disk(radius: float, softness: float) -> np.ndarray:
    """Kernel [k, k] of the reference; OpenCV's GaussianBlur, 3 or 5 taps a side, softens it."""
    reach = max(8, int(radius))
    taps = 1 if radius <= 8 else 2
    place = np.arange(-reach, reach + 1)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(float)
    disk /= disk.sum()
    soft = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, soft / soft.sum(), axis, mode="mirror")
    # As in the reference, a disk that fills its grid is mirrored at its edge: the sum passes 1.
    used = np.abs(place[disk.max(axis=0) > NEGLIGIBLE / 10]).max()
    return disk[reach - used : reach + used + 1, reach - used : reach + used + 1]


def prepare_glass(size: int, deviation: float, reach: int, rounds: int) -> Prepared:
    """The blur's matrix; how far and how often pixels are copied is part of the program."""
    return Prepared((linear_maps.gaussian(size, deviation),), (reach, rounds))


def glass_blur(
    key: jax.Array, image: jax.Array, blur: jax.Array, reach: int, rounds: int
) -> jax.Array:
    """Blurred, its pixels mixed up with neighbours, and blurred again.

    The reference means to swap pixels, but its assignment of NumPy views
    copies: each pixel takes over the value of a neighbour, in raster order
    from the lower right. The published sets were made so, and so is this.
    """
    size = image.shape[0]
    image = jnp.floor(linear_maps.both_axes(image, blur) * 255 + 1e-3) / 255
    flat = image.reshape(size * size, 3)
    for one in jax.random.split(key, rounds):
        step = jax.random.uniform(one, (2 * size * size,), minval=-reach, maxval=reach)
        step = jnp.floor(step).astype(jnp.int32).reshape(2, size, size)
        flat = jnp.take(flat, copied_from(step, reach), axis=0, mode="clip")
    return linear_maps.both_axes(flat.reshape(image.shape), blur)


def copied_from(step: jax.Array, reach: int) -> jax.Array:
    """Where each pixel's value stood before a round of copying, one pixel after the other.

    A pixel that copies one which was itself overwritten gets that one's new
    value. Pointer doubling follows these chains in a logarithm of their length.

    Args:
      step: int [2, n, n], down and to the right, in [-reach, reach).
      reach: pixels this near to the border (one more at the top left) stay.

    Returns:
      int32 [n · n], flat positions.
    """
    size = step.shape[1]
    place = jnp.arange(size * size).reshape(size, size)
    along = jnp.arange(size)
    moves = (along > reach) & (along <= size - reach)
    moves = moves[:, None] & moves
    source = jnp.where(moves, place + step[0] * size + step[1], place).reshape(-1)
    if reach == 1:  # it only looks up and left, where nothing has been overwritten yet
        return source
    overwritten = (source > place.reshape(-1)) & moves.reshape(-1)[source]

    def follow(state):
        source, open_ = state
        further = jnp.where(open_, source[source], source)
        return further, open_ & open_[source]

    return jax.lax.while_loop(lambda state: jnp.any(state[1]), follow, (source, overwritten))[0]


def prepare_motion(size: int, radius: int, deviation: float) -> Prepared:
    """The line of ``along_line``."""
    del size
    return Prepared((line(radius, deviation),))


def motion_blur(key: jax.Array, image: jax.Array, weight: jax.Array) -> jax.Array:
    """Smeared along a line at -45° to 45°."""
    angle = jax.random.uniform(key, minval=-math.pi / 4, maxval=math.pi / 4)
    return along_line(image, angle, weight)


def line(radius: int, deviation: float) -> np.ndarray:
    """Weights along a line, one half of a Gaussian with sum 1; float32 [MOST_TAPS], 0 at the end.

    Args:
      radius: 2 · radius + 1 taps.
      deviation: of the Gaussian, in pixels.
    """
    weight = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    weight = np.where(weight > NEGLIGIBLE * weight.sum(), weight, 0)
    return np.pad(weight / weight.sum(), (0, MOST_TAPS - len(weight))).astype(np.float32)


def along_line(image: jax.Array, angle: jax.Array, weight: jax.Array) -> jax.Array:
    """ImageMagick's motion blur, on whole pixels along a line.

    Args:
      image: float32 [H, W, C]; the border is repeated.
      angle: float32 [], radians.
      weight: float32 [MOST_TAPS] of ``line``.
    """
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    down, right = jnp.sin(angle), jnp.cos(angle)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)

    def add(i, total):
        top = jnp.clip(row + jnp.ceil(i * down - 0.5).astype(jnp.int32), 0, height - 1)
        left = jnp.clip(column + jnp.ceil(i * right - 0.5).astype(jnp.int32), 0, width - 1)
        return total + weight[i] * jnp.take(flat, top * width + left, axis=0, mode="clip")

    return jax.lax.fori_loop(0, jnp.sum(weight > 0), add, jnp.zeros_like(image))


def prepare_zoom(size: int, factors: tuple[float, ...]) -> Prepared:
    """The matrices of some enlargements of the middle, and how many they are."""
    maps = [linear_maps.zoom(size, factor) for factor in factors]
    none = [np.zeros((size, size))] * (MOST_ZOOMS - len(maps))
    return Prepared((np.stack(maps + none).astype(np.float32), np.int32(len(maps))))


def zoom_blur(key: jax.Array, image: jax.Array, maps: jax.Array, num: jax.Array) -> jax.Array:
    """Mean of the image and of the first ``num`` maps float32 [MOST_ZOOMS, n, n] of it."""
    del key

    def add(i, total):
        return total + linear_maps.both_axes(image, maps[i])

    return jax.lax.fori_loop(0, num, add, image) / (num + 1)
