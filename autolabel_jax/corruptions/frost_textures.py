"""Frost on a window, by a seeded procedure.

The reference adds photographs of frost, which are not part of this library.
These textures stand in for them: needles of ice in a few directions on
clouds of 1/f^1.2 noise, brought to the mean colour and contrast that such
photographs have. They share brightness, contrast and coarseness with the
photographs, not their shapes: numbers on this corruption compare among runs of
this library, and with published ones only roughly.
"""

import functools

import numpy as np
from scipy import special

# Mean red, green, blue, and standard deviation, in grey levels: rounded figures of the
# five photographs that the reference draws from.
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
    """uint8 [5, side, side, 3], the side more than twice ``size``.

    Args:
      size: side of the images that patches are cut for, in pixels.
      step: one pixel in so many is kept, each way, as the reference
        shrinks its photographs to a fifth for CIFAR.
    """
    side = 2 ** (2 * size).bit_length()
    rng = np.random.default_rng(0)
    return np.stack(
        [_coloured(_field(rng, side * step)[::step, ::step], *style) for style in STYLES]
    )


def _field(rng: np.random.Generator, side: int) -> np.ndarray:
    """Clouds and needles, float [side, side]; wraps around."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    # No wave is longer than 250 pixels, so that patches differ as those of one photograph do.
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
    """uint8 [n, n, 3] whose levels are normal about the mean, in the order of the field."""
    rank = np.argsort(np.argsort(field, axis=None)).reshape(field.shape)
    normal = special.ndtri((rank + 0.5) / field.size)
    return np.clip(np.round(np.asarray(mean) + deviation * normal[..., None]), 0, 255).astype(
        np.uint8
    )
