"""Implements the blurs: defocus, frosted glass, motion, zoom, and the extra Gaussian blur."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from autolabel_jax.corruptions import linear_maps
from autolabel_jax.corruptions.settings import Prepared

# A tap of smaller weight changes no value by a hundredth of a grey level.
NEGLIGIBLE = 1e-5
# Sizes of arrays for all severities: the longest line and most enlargements in settings.py.
MOST_TAPS, MOST_ZOOMS = 41, 32


def prepare_gaussian(size: int, deviation: float) -> Prepared:
    """Prepares the matrix of a standard deviation in pixels; the border is repeated."""
    return Prepared((linear_maps.gaussian(size, deviation),))


def gaussian_blur(key: jax.Array, image: jax.Array, blur: jax.Array) -> jax.Array:
    """Applies a Gaussian blur, given its matrix [n, n] of one axis."""
    del key
    return linear_maps.both_axes(image, blur)


def prepare_defocus(size: int, radius: float, softness: float) -> Prepared:
    """Prepares a disk of a radius in pixels with a softened edge."""
    del size
    return Prepared((_disk(radius, softness),))


def defocus_blur(key: jax.Array, image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with a kernel [k, k]; the border is mirrored."""
    del key
    reach = kernel.shape[0] // 2
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    # Channels become examples, so that this is one plain convolution.
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
    """Makes the reference's kernel [k, k], softened like OpenCV's GaussianBlur of 3 or 5 taps."""
    reach = max(8, int(radius))
    taps = 1 if radius <= 8 else 2
    place = np.arange(-reach, reach + 1)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(float)
    disk /= disk.sum()
    soft = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, soft / soft.sum(), axis, mode="mirror")
    # As in the reference, a disk that fills its grid is mirrored at its edge, so its sum exceeds 1.
    used = np.abs(place[disk.max(axis=0) > NEGLIGIBLE / 10]).max()
    return disk[reach - used : reach + used + 1, reach - used : reach + used + 1]


def prepare_glass(size: int, deviation: float, reach: int, rounds: int) -> Prepared:
    """Prepares the blur's matrix; reach and rounds of the copying are part of the program."""
    return Prepared((linear_maps.gaussian(size, deviation),), (reach, rounds))


def glass_blur(
    key: jax.Array, image: jax.Array, blur: jax.Array, reach: int, rounds: int
) -> jax.Array:
    """Blurs an image, mixes its pixels with neighbours, and blurs it again.

    The reference intends to swap pixels, but its assignment of NumPy views copies them: each pixel
    takes the value of a neighbour, in raster order from the lower right. The published sets were
    made in this way, which is reproduced here.
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
    """Finds the source of each pixel's value in a round of sequential copying.

    A pixel that copies an overwritten one gets its new value. Pointer doubling follows these
    chains in a number of steps logarithmic in their length.

    Args:
      step: int [2, n, n], offsets down and to the right, in [-reach, reach).
      reach: pixels this near to the border (one more at the top left) do not change.

    Returns:
      int32 [n · n], flat positions of the sources.
    """
    size = step.shape[1]
    place = jnp.arange(size * size).reshape(size, size)
    along = jnp.arange(size)
    moves = (along > reach) & (along <= size - reach)
    moves = moves[:, None] & moves
    source = jnp.where(moves, place + step[0] * size + step[1], place).reshape(-1)
    if reach == 1:  # sources lie up and left, where no pixel is overwritten yet
        return source
    overwritten = (source > place.reshape(-1)) & moves.reshape(-1)[source]

    def follow(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        source, open_ = state
        further = jnp.where(open_, source[source], source)
        return further, open_ & open_[source]

    return jax.lax.while_loop(lambda state: jnp.any(state[1]), follow, (source, overwritten))[0]


def prepare_motion(size: int, radius: int, deviation: float) -> Prepared:
    """Prepares the weights for ``along_line``."""
    del size
    return Prepared((line(radius, deviation),))


def motion_blur(key: jax.Array, image: jax.Array, weight: jax.Array) -> jax.Array:
    """Blurs along a line at a random angle of -45° to 45°."""
    angle = jax.random.uniform(key, minval=-math.pi / 4, maxval=math.pi / 4)
    return along_line(image, angle, weight)


def line(radius: int, deviation: float) -> np.ndarray:
    """Returns half of a Gaussian with sum 1 as weights along a line, float32 [MOST_TAPS].

    Args:
      radius: half of the number of taps, 2 · radius + 1; other weights are 0.
      deviation: standard deviation of the Gaussian, in pixels.
    """
    weight = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    weight = np.where(weight > NEGLIGIBLE * weight.sum(), weight, 0)
    return np.pad(weight / weight.sum(), (0, MOST_TAPS - len(weight))).astype(np.float32)


def along_line(image: jax.Array, angle: jax.Array, weight: jax.Array) -> jax.Array:
    """Applies ImageMagick's motion blur, on whole pixels along a line.

    Args:
      image: float32 [H, W, C]; the border is repeated.
      angle: angle of the line, float32 [], in radians.
      weight: weights of ``line``, float32 [MOST_TAPS].
    """
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    down, right = jnp.sin(angle), jnp.cos(angle)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        top = jnp.clip(row + jnp.ceil(i * down - 0.5).astype(jnp.int32), 0, height - 1)
        left = jnp.clip(column + jnp.ceil(i * right - 0.5).astype(jnp.int32), 0, width - 1)
        return total + weight[i] * jnp.take(flat, top * width + left, axis=0, mode="clip")

    return jax.lax.fori_loop(0, jnp.sum(weight > 0), add, jnp.zeros_like(image))


def prepare_zoom(size: int, factors: tuple[float, ...]) -> Prepared:
    """Prepares the matrices of some enlargements of the middle, and their number."""
    maps = [linear_maps.zoom(size, factor) for factor in factors]
    none = [np.zeros((size, size))] * (MOST_ZOOMS - len(maps))
    return Prepared((np.stack(maps + none).astype(np.float32), np.int32(len(maps))))


def zoom_blur(key: jax.Array, image: jax.Array, maps: jax.Array, num: jax.Array) -> jax.Array:
    """Averages the image and its first ``num`` maps, float32 [MOST_ZOOMS, n, n]."""
    del key

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        return total + linear_maps.both_axes(image, maps[i])

    return jax.lax.fori_loop(0, num, add, image) / (num + 1)
