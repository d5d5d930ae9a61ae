"""Lists the strength of each corruption at severity 1 … 5.

The constants are those of the code that made CIFAR-10-C and ImageNet-C (Hendrycks & Dietterich,
2019). Each entry is a tuple of numbers. Unless noted otherwise, lengths are in pixels and
amplitudes in units of the full range [0, 1]. The functions that compute a ``Prepared`` from them on
the host are next to the corruptions that take it.
"""

from typing import NamedTuple

import numpy as np

# Above this side the ImageNet constants are used.
LARGEST_CIFAR_SIZE = 48


def _one(*values: float) -> tuple[tuple[float], ...]:
    """Makes settings of one number each."""
    return tuple((value,) for value in values)


def _zooms(*ends_and_steps: tuple[float, float]) -> tuple[tuple[tuple[float, ...]], ...]:
    """Makes factors by the reference's own ``arange``, whose length depends on rounding."""
    return tuple((tuple(np.arange(1, end, step)),) for end, step in ends_and_steps)


CIFAR = {
    "gaussian_noise": _one(0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": _one(500, 250, 100, 75, 50),  # photons at white
    "impulse_noise": _one(0.01, 0.02, 0.03, 0.05, 0.07),  # share of values
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, soft edge
    # standard deviation, reach, rounds
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, standard deviation
    "zoom_blur": _zooms((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    # mean and deviation of the flakes, zoom, threshold, blur radius and deviation, share of clean
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # image, frost
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # thickness, decay
    "brightness": _one(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _one(0.75, 0.5, 0.4, 0.3, 0.15),
    # displacement, its smoothness, jitter of the corners: shares of the side
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": _one(0.95, 0.9, 0.85, 0.75, 0.65),  # share of the side kept
    "jpeg_compression": _one(80, 65, 58, 50, 40),  # quality
    "speckle_noise": _one(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _one(0.4, 0.6, 0.7, 0.8, 1),  # standard deviation
    # mean, deviation and smoothness of the liquid, threshold, strength or edge, mud (1) or water
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # factor, shift
}

# Elastic lengths were written for a side of 244 and used at 224.
_WRITTEN_FOR = 244 / 224

IMAGENET = {
    "gaussian_noise": _one(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _one(60, 25, 12, 5, 3),
    "impulse_noise": _one(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": _zooms((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _one(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _one(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": tuple(
        tuple(_WRITTEN_FOR * value for value in setting)
        for setting in (
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        )
    ),
    "pixelate": _one(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _one(25, 18, 15, 10, 7),
    "speckle_noise": _one(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _one(1, 2, 3, 4, 6),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}


class Prepared(NamedTuple):
    """A setting prepared on the host, as a corruption takes it after key and image.

    Attributes:
      arrays: arguments of the compiled program, which thus serves all severities of a corruption.
      fixed: constants of the compiled program, passed after the arrays.
    """

    arrays: tuple[np.ndarray | np.number, ...]
    fixed: tuple[int, ...] = ()


def plain(size: int, *setting: float) -> Prepared:
    """Passes numbers on unchanged."""
    del size
    return Prepared(tuple(np.float32(value) for value in setting))


def settings(name: str, severity: int, size: int) -> tuple:
    """Returns the setting of a corruption at a severity 1 … 5 and an image side in pixels."""
    table = CIFAR if size <= LARGEST_CIFAR_SIZE else IMAGENET
    return table[name][severity - 1]
