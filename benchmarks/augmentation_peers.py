"""Wraps AugMix and RandAugment of other libraries for ``benchmarks/augmentations.py``.

A peer makes a call without arguments that augments all images once and waits for the result. The
conversion to the peer's own kind of image is done beforehand and not timed. Peers that take a whole
batch draw one operation for all its images, except for kornia's, where the images of a batch share
their operations but not their magnitudes.
"""

import dataclasses
import functools
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SEVERITY, MAGNITUDE, OPERATIONS = 3, 9, 2
RNG = np.random.default_rng(0)
LIBRARIES = []


# Makes a call that augments images, uint8 [B, H, W, 3], on a device ('cpu' or 'cuda').
MakeCall = Callable[[np.ndarray, str], Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One row of the table.

    Attributes:
      name: name of the row.
      method: 'AugMix' or 'RandAugment'.
      own: whether every image has its own operations: 'yes', 'no', or what else is its own.
      make: makes the call to time.
      on_gpu: whether it runs on a GPU too.
    """

    name: str
    method: str
    own: str
    make: MakeCall
    on_gpu: bool = False


# The published algorithms, in PIL and NumPy.


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


def reference_augmix(image: Image.Image, width: int) -> np.ndarray:
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


def reference_randaugment(image: Image.Image) -> Image.Image:
    """Applies RandAugment with OPERATIONS operations of MAGNITUDE."""
    operations = [lambda image, level: image, *REFERENCE.values(), *ENHANCE.values()]
    for operation in random.choices(operations, k=OPERATIONS):
        image = operation(image, MAGNITUDE)
    return image


def _each(one: Callable[[Any], Any], images: list[Any]) -> Callable[[], None]:
    def call() -> None:
        for image in images:
            one(image)

    return call


def _pil(make_one: Callable[[], Callable[[Image.Image], Any]]) -> MakeCall:
    """Wraps a function of one PIL image."""

    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        del device
        return _each(make_one(), [Image.fromarray(image) for image in images])

    return make


# The libraries.


def _timm(config: str) -> Callable[[Image.Image], Any]:
    _torchvision()  # timm imports it
    from timm.data import auto_augment

    hparams = {"img_mean": (128, 128, 128)}
    if config.startswith("augmix"):
        return auto_augment.augment_and_mix_transform(config, hparams)
    return auto_augment.rand_augment_transform(config, hparams)


@functools.cache
def _torchvision() -> Any:
    """Imports torchvision.transforms.v2.

    A wheel built for CUDA cannot load its operators with a PyTorch for CPUs, and its import needs
    two of them. No augmentation uses these two, so they are defined here without a body.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        LIBRARIES.append(library)  # its definitions last as long as it does
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # left by the failed import
    from torchvision.transforms import v2

    return v2


def _v2(name: str, width: int) -> Callable[[Any], Any]:
    v2 = _torchvision()
    bilinear = v2.InterpolationMode.BILINEAR
    if name == "AugMix":
        return v2.AugMix(
            SEVERITY, mixture_width=width, chain_depth=-1, all_ops=False, interpolation=bilinear
        )
    return v2.RandAugment(OPERATIONS, MAGNITUDE, interpolation=bilinear)


def _tensor(images: np.ndarray, device: str) -> Any:
    """Returns uint8 [B, 3, H, W] on the device."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)


def _whole(operation: Callable[[Any], Any], batch: Any) -> Callable[[], None]:
    def call() -> None:
        out = operation(batch)
        if out.is_cuda:
            import torch

            torch.cuda.synchronize()

    return call


def _v2_each(name: str, width: int = 1) -> MakeCall:
    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        return _each(_v2(name, width), list(_tensor(images, device)))

    return make


def _v2_whole(name: str, width: int = 1) -> MakeCall:
    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        return _whole(_v2(name, width), _tensor(images, device))

    return make


def _kornia(one_by_one: bool) -> MakeCall:
    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        from kornia.augmentation import auto

        operation = auto.RandAugment(n=OPERATIONS, m=MAGNITUDE)
        batch = _tensor(images, device).float() / 255
        return _each(operation, list(batch.split(1))) if one_by_one else _whole(operation, batch)

    return make


PEERS = (
    Peer("PIL reference, 1 chain", "AugMix", "yes", _pil(lambda: lambda i: reference_augmix(i, 1))),
    Peer(
        "PIL reference, 3 chains", "AugMix", "yes", _pil(lambda: lambda i: reference_augmix(i, 3))
    ),
    Peer("timm, 1 chain", "AugMix", "yes", _pil(lambda: _timm("augmix-m3-w1"))),
    Peer("timm, 3 chains", "AugMix", "yes", _pil(lambda: _timm("augmix-m3-w3"))),
    Peer("torchvision v2 per image, 1 chain", "AugMix", "yes", _v2_each("AugMix")),
    Peer("torchvision v2 per image, 3 chains", "AugMix", "yes", _v2_each("AugMix", 3)),
    Peer("torchvision v2 whole batch, 1 chain", "AugMix", "no", _v2_whole("AugMix"), True),
    Peer("torchvision v2 whole batch, 3 chains", "AugMix", "no", _v2_whole("AugMix", 3), True),
    Peer("PIL reference", "RandAugment", "yes", _pil(lambda: reference_randaugment)),
    Peer("timm", "RandAugment", "yes", _pil(lambda: _timm("rand-m9-n2"))),
    Peer("torchvision v2 per PIL image", "RandAugment", "yes", _pil(lambda: _v2("RandAugment", 1))),
    Peer("torchvision v2 whole batch", "RandAugment", "no", _v2_whole("RandAugment"), True),
    Peer("kornia per image", "RandAugment", "yes", _kornia(True)),
    Peer("kornia whole batch", "RandAugment", "magnitudes", _kornia(False), True),
)
