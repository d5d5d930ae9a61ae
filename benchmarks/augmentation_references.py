"""Implements published augmentations for one image, in PIL and NumPy.

``benchmarks/augmentation_peers.py`` measures them. Those in NumPy take another image
too, for those that mix two.
"""

import random

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SEVERITY, MAGNITUDE, OPERATIONS = 3, 9, 2
RNG = np.random.default_rng(0)


def _transform(image: Image.Image, *matrix: float) -> Image.Image:
    bilinear = Image.Resampling.BILINEAR
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=bilinear)


def _either(amount: float) -> float:
    return amount if random.random() < 0.5 else -amount


# name: (image, level of 10) → image, with the ranges of Hendrycks et al. (2020).
REFERENCE = {
    "autocontrast": lambda image, level: ImageOps.autocontrast(image),
    "equalize": lambda image, level: ImageOps.equalize(image),
    "posterize": lambda image, level: ImageOps.posterize(image, 4 - int(level * 4 / 10)),
    "solarize": lambda image, level: ImageOps.solarize(image, 256 - int(level * 256 / 10)),
    "rotate": lambda image, level: image.rotate(
        _either(int(level * 3)), resample=Image.Resampling.BILINEAR
    ),
    "shear_x": lambda image, level: _transform(image, 1, _either(level * 0.03), 0, 0, 1, 0),
    "shear_y": lambda image, level: _transform(image, 1, 0, 0, _either(level * 0.03), 1, 0),
    "translate_x": lambda image, level: _transform(
        image, 1, 0, _either(int(level * image.width / 30)), 0, 1, 0
    ),
    "translate_y": lambda image, level: _transform(
        image, 1, 0, 0, 0, 1, _either(int(level * image.height / 30))
    ),
}
# Further operations of RandAugment.
ENHANCE = {
    name: lambda image, level, by=by: by(image).enhance(1 + _either(0.09 * level))
    for name, by in {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }.items()
}


def augmix(image: Image.Image, width: int) -> np.ndarray:
    """Applies AugMix with ``width`` chains of depth 1 to 3; returns float32 [H, W, 3] in [0, 1]."""
    operations = list(REFERENCE.values())
    weights = np.float32(RNG.dirichlet([1.0] * width))
    mix = np.zeros((image.height, image.width, 3), np.float32)
    for weight in weights:
        chain = image
        for _ in range(random.randint(1, 3)):
            chain = random.choice(operations)(chain, random.uniform(0.1, SEVERITY))
        mix += weight * (np.asarray(chain, np.float32) / 255)
    share = np.float32(RNG.beta(1.0, 1.0))
    return (1 - share) * (np.asarray(image, np.float32) / 255) + share * mix


def randaugment(image: Image.Image) -> Image.Image:
    """Applies RandAugment with OPERATIONS operations of MAGNITUDE."""
    operations = [lambda image, level: image, *REFERENCE.values(), *ENHANCE.values()]
    for operation in random.choices(operations, k=OPERATIONS):
        image = operation(image, MAGNITUDE)
    return image


# The published methods that move pixels or mix images, in NumPy, on float32 [H, W, 3] in [0, 1].


def _box(shape: tuple[int, ...], side: float) -> tuple[slice, slice]:
    """Draws a box with sides of a fraction ``side``, cut off at the border."""
    centre, half = RNG.random(2) * shape[:2], side * np.array(shape[:2]) / 2
    low, high = np.maximum(centre - half, 0).astype(int), (centre + half).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def cutmix(image: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """Pastes a box of another image; returns its share too, for the label."""
    box = _box(image.shape, np.sqrt(RNG.beta(1.0, 1.0)))
    mixed = image.copy()
    mixed[box] = other[box]
    return mixed, mixed[box].size / mixed.size


def cutout(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hides a box of up to half of the side."""
    del other
    moved = image.copy()
    moved[_box(image.shape, RNG.random() / 2)] = 0.5
    return moved


def soft_crop(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Moves the image by normal offsets of .3 sides."""
    del other
    size = np.array(image.shape[:2])
    offset = np.clip(0.3 * RNG.normal(size=2), -1, 1) * size
    padded = np.pad(image, [(n, n) for n in size] + [(0, 0)], constant_values=0.5)
    top, left = (size + offset).astype(int)
    return padded[top : top + size[0], left : left + size[1]]


def patch_gaussian(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Adds noise of up to .3 in a box of three quarters of the side."""
    del other
    moved, box = image.copy(), _box(image.shape, 0.75)
    noise = 0.3 * RNG.random() * RNG.standard_normal(moved[box].shape, np.float32)
    moved[box] = np.clip(moved[box] + noise, 0, 1)
    return moved
