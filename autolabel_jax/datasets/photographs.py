"""Decodes photographs to uint8 squares, as is usual for ImageNet, with Pillow on the host.

Training uses a resized random part of random shape (Szegedy et al. 2015, "Going
Deeper with Convolutions"), evaluation the middle of the resized image.
"""

import io
import math

import numpy as np
from PIL import Image

AREA = (0.08, 1.0)  # of a random part, as a share of the image
RATIO = (3 / 4, 4 / 3)  # width / height of a random part
ATTEMPTS = 10  # number of attempts to draw a part that fits into the image
MIDDLE = 0.875  # side of the middle, as a share of the resized image's shorter side


def training_square(encoded: str | bytes, random: np.random.RandomState, size: int) -> np.ndarray:
    """Decodes a random part of a photograph, and resizes it to uint8 [size, size, 3].

    If the part of a JPEG is at least twice as large as the square, it is decoded at a half, a
    quarter or an eighth of its size, which saves most of the time.

    Args:
      encoded: path or content of the file.
      random: random source of the part's size, shape and position.
      size: side of the square in pixels.
    """
    with _open(encoded) as image:
        width, height = image.size
        left, top, right, bottom = random_box(random, width, height)
        shrink = min(right - left, bottom - top) // size
        if shrink > 1:
            image.draft("RGB", (-(-width // shrink), -(-height // shrink)))
        image = image.convert("RGB")
    x, y = image.width / width, image.height / height
    box = (round(left * x), round(top * y), round(right * x), round(bottom * y))
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR))


def evaluation_square(encoded: str | bytes, size: int) -> np.ndarray:
    """Resizes a photograph's shorter side to size / MIDDLE; returns the middle [size, size, 3]."""
    with _open(encoded) as image:
        image = image.convert("RGB")
    shorter, target = min(image.size), round(size / MIDDLE)
    # The longer side is rounded down, as in torchvision's Resize.
    width, height = (int(target * side / shorter) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def random_box(random: np.random.RandomState, width: int, height: int) -> tuple[int, int, int, int]:
    """Draws (left, top, right, bottom) of a random part, in pixels.

    The area is uniform in AREA and the ratio is log-uniform in RATIO, as in torchvision's
    RandomResizedCrop. If ATTEMPTS parts do not fit, the result is the largest part in the middle
    with an allowed ratio.
    """
    for _ in range(ATTEMPTS):
        area = width * height * random.uniform(*AREA)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(width - w + 1), random.randint(height - h + 1)
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _open(encoded: str | bytes) -> Image.Image:
    return Image.open(encoded if isinstance(encoded, str) else io.BytesIO(encoded))
