"""Decodes the random part of training with other libraries, to compare with ``photographs``.

Beside the library's own decoders these are simplejpeg with OpenCV to resize, and torchvision, each
if installed. All draw the same part; simplejpeg decodes at a half or a quarter where Pillow does.
"""

import functools
import importlib.util
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from autolabel_jax.datasets import StreamedSplit, photographs

Square = Callable[[bytes, np.random.RandomState, int], np.ndarray]


def simplejpeg(area: bool) -> Square:
    """Decodes with simplejpeg, and resizes with OpenCV."""
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)

    def square(encoded: bytes, random: np.random.RandomState, size: int) -> np.ndarray:
        box, shrink, width = _part(encoded, random, size)
        # It takes the smallest scale that is at least as large as asked.
        least = {"min_width": width // shrink, "min_height": 1} if shrink > 1 else {}
        image = simplejpeg.decode_jpeg(encoded, **least)
        return _resized(cv2, image, box, image.shape[1] / width, size, area=area)

    return square


def torchvision() -> Square:
    """Decodes and resizes with torchvision, as its RandomResizedCrop does.

    Raises:
      ImportError, OSError, RuntimeError, AttributeError: it is missing, or built for another
        PyTorch.
    """
    import torch
    from torchvision import io as vision
    from torchvision.transforms.v2 import functional

    _ = torch.ops.image.decode_image  # of its compiled part
    torch.set_num_threads(1)

    def square(encoded: bytes, random: np.random.RandomState, size: int) -> np.ndarray:
        content = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        image = vision.decode_image(content, mode=vision.ImageReadMode.RGB)
        left, top, right, bottom = photographs.random_box(random, image.shape[2], image.shape[1])
        box = top, left, bottom - top, right - left
        part = functional.resized_crop(image, *box, [size, size], antialias=True)
        return part.permute(1, 2, 0).numpy()

    return square


def _part(
    encoded: bytes, random: np.random.RandomState, size: int
) -> tuple[tuple[int, int, int, int], int, int]:
    """Returns the box of the part, by how much decoding shrinks the image, and its width."""
    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
    box = left, top, right, bottom = photographs.random_box(random, width, height)
    times = min(right - left, bottom - top) // size
    return box, 4 if times >= 4 else 2 if times >= 2 else 1, width


def _resized(cv2, image, box, scale, size, *, area):
    left, top, right, bottom = (round(side * scale) for side in box)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    how = cv2.INTER_AREA if area and min(part.shape[:2]) > size else cv2.INTER_LINEAR
    return cv2.resize(part, (size, size), interpolation=how)


def find() -> tuple[dict[str, Square], str]:
    """Returns the library's decoders and the peers, by name, and why torchvision is not there."""
    found: dict[str, Square] = {"data.decoder=pillow": photographs.training_square}
    if importlib.util.find_spec("cv2"):
        decoder = {"decoder": photographs.OPENCV}
        found["data.decoder=opencv"] = functools.partial(photographs.training_square, **decoder)
    if importlib.util.find_spec("cv2") and importlib.util.find_spec("simplejpeg"):
        found["simplejpeg, resized by areas"] = simplejpeg(area=True)
        found["simplejpeg, resized bilinearly"] = simplejpeg(area=False)
    try:
        found["torchvision, resized antialiased"] = torchvision()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return found, f"torchvision is not measured: {error}"
    return found, ""


def read(split: StreamedSplit) -> list[bytes]:
    """Returns the content of all JPEG files of a split."""
    files = []
    for row in split.index:
        encoded, _ = split.records.read(int(row))
        if isinstance(encoded, str):
            with open(encoded, "rb") as file:
                encoded = file.read()
        files += [encoded] * encoded.startswith(b"\xff\xd8")
    return files


def difference(square: Square, files: list[bytes], size: int) -> float:
    """Returns the mean difference to Pillow's over all files, in grey levels."""

    def make(one: Square, row: int) -> np.ndarray:
        return one(files[row], np.random.RandomState(row), size).astype(int)

    pairs = ((make(square, i), make(photographs.training_square, i)) for i in range(len(files)))
    return float(np.mean([np.abs(own - other).mean() for own, other in pairs]))
