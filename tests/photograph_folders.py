"""Small photographs of differing sizes, in folders by class, as people have them."""

import pathlib

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def picture(rng, width, height, level=128.0) -> Image.Image:
    """A smooth random image around a grey level: what a JPEG keeps nearly as it is."""
    coarse = np.clip(rng.normal(level, 40, (4, 4, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write(root: pathlib.Path, train=8, held=4, held_name="val") -> str:
    """So many images of each class in train/ and in the held-out folder; darker by class."""
    rng = np.random.default_rng(0)
    for split, num in (("train", train), (held_name, held)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(num):
                width, height = rng.integers(20, 60, 2)
                picture(rng, width, height, 200 - 70 * label).save(folder / f"{i}.jpg", quality=95)
    return str(root)
