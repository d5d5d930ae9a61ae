"""Generates textures of frost on a window by a seeded procedure.

The reference adds photographs of frost, which are not part of this library. These textures replace
them: needles of ice in a few directions on clouds of 1/f^1.2 noise, with the mean colour and
contrast of such photographs. They match the photographs in brightness, contrast and coarseness, but
not in shape. Results on this corruption are comparable among runs of this library, and only roughly
with published ones.
"""

import functools

import numpy as np
from scipy import special

# Mean red, green, blue, and standard deviation, in grey levels: rounded values of the five
# photographs that the reference draws from.
STYLES = (
    ((80, 150, 165), 19),
    ((200, 205, 215), 22),
    ((200, 205, 215), 22),
    ((140, 155, 165), 29),
    ((110, 125, 135), 43),
)
DIRECTIONS = 4


@functools.cache
def textures(size: int, step: int) -> np.ndarray:
    """Returns uint8 [5, side, side, 3], with a side of more than twice ``size``.

    Args:
      size: side in pixels of the images that patches are cut for.
      step: stride of the pixels that are kept in each direction, as the reference shrinks its
        photographs to a fifth for CIFAR.
    """
    side = 2 ** (2 * size).bit_length()
    rng = np.random.default_rng(0)
    return np.stack(
        [_coloured(_field(rng, side * step)[::step, ::step], *style) for style in STYLES]
    )


def _field(rng: np.random.Generator, side: int) -> np.ndarray:
    """Makes clouds and needles, float [side, side], that wrap around."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    # Waves are at most 250 pixels long, so that patches differ as those of one photograph do.
    response = np.maximum(frequency, 0.004) ** -1.2
    clouds = _filtered(rng.standard_normal((side, side)), response)
    needles = np.zeros((side, side))
    for turn in rng.uniform(0, np.pi) + np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        along = np.cos(turn) * across + np.sin(turn) * down
        off = np.cos(turn) * down - np.sin(turn) * across
        seeds = (rng.random((side, side)) < 0.01) * rng.exponential(size=(side, side))
        needles += _filtered(seeds, np.exp(-2 * np.pi**2 * ((10 * along) ** 2 + (0.7 * off) ** 2)))
    return 2.5 * clouds / clouds.std() + needles / needles.std()


def _filtered(noise: np.ndarray, response: np.ndarray) -> np.ndarray:
    out = np.fft.irfft2(np.fft.rfft2(noise) * response, noise.shape)
    return out - out.mean()


def _coloured(field: np.ndarray, mean: tuple[float, ...], deviation: float) -> np.ndarray:
    """Maps a field by rank to levels with a normal distribution about the mean, uint8 [n, n, 3]."""
    rank = np.argsort(np.argsort(field, axis=None)).reshape(field.shape)
    normal = special.ndtri((rank + 0.5) / field.size)
    return np.clip(np.round(np.asarray(mean) + deviation * normal[..., None]), 0, 255).astype(
        np.uint8
    )
