"""Wraps augmentations of other libraries for ``benchmarks/augmentations.py``.

A peer makes a call without arguments that augments all images once and waits for the result. The
conversion to the peer's own kind of image is done beforehand and not timed. Peers that take a whole
batch draw one operation for all its images, except for kornia's, where the images of a batch share
their operations but not their magnitudes.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import augmentation_references as references
from benchmarks.augmentation_references import MAGNITUDE, OPERATIONS, SEVERITY

LIBRARIES = []


# Makes a call that augments images, uint8 [B, H, W, 3], on a device ('cpu' or 'cuda').
MakeCall = Callable[[np.ndarray, str], Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One row of the table.

    Attributes:
      name: name of the row.
      method: key of ``augmentations.METHODS``.
      own: whether every image has its own operations: 'yes', 'no', or what else is its own.
      make: makes the call to time.
      on_gpu: whether it runs on a GPU too.
    """

    name: str
    method: str
    own: str
    make: MakeCall
    on_gpu: bool = False


# Wrappers of functions of one image.


def _numpy(one: Callable[[np.ndarray, np.ndarray], Any]) -> MakeCall:
    """Wraps a function of an image and another image."""

    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        del device

        def call() -> None:
            for image, other in zip(images, images[::-1], strict=True):
                one(np.float32(image) / 255, np.float32(other) / 255)

        return call

    return make


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
    torchvision_v2()  # timm imports it
    from timm.data import auto_augment

    hparams = {"img_mean": (128, 128, 128)}
    if config.startswith("augmix"):
        return auto_augment.augment_and_mix_transform(config, hparams)
    if config.startswith("original"):
        return auto_augment.auto_augment_transform(config, hparams)
    return auto_augment.rand_augment_transform(config, hparams)


@functools.cache
def torchvision_v2() -> Any:
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
    v2 = torchvision_v2()
    bilinear = v2.InterpolationMode.BILINEAR
    if name == "AugMix":
        return v2.AugMix(
            SEVERITY, mixture_width=width, chain_depth=-1, all_ops=False, interpolation=bilinear
        )
    if name == "AutoAugment":
        return v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, interpolation=bilinear)
    if name == "TrivialAugment":
        return v2.TrivialAugmentWide(interpolation=bilinear)
    if name == "Cutout":
        return v2.RandomErasing(p=1, scale=(0.02, 0.25), ratio=(1, 1))
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


def _kornia(one_by_one: bool, name: str = "RandAugment") -> MakeCall:
    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        from kornia import augmentation
        from kornia.augmentation import auto

        operation = {
            "RandAugment": lambda: auto.RandAugment(n=OPERATIONS, m=MAGNITUDE),
            "AutoAugment": lambda: auto.AutoAugment("cifar10"),
            "TrivialAugment": auto.TrivialAugment,
            "Cutout": lambda: augmentation.RandomErasing((0.02, 0.25), (1.0, 1.0), p=1.0),
        }[name]()
        batch = _tensor(images, device).float() / 255
        return _each(operation, list(batch.split(1))) if one_by_one else _whole(operation, batch)

    return make


def _mixing(library: str, mixup: float = 0.0) -> MakeCall:
    """Wraps CutMix of a library, with timm's mixup of this concentration by turns.

    torchvision draws one box for the batch, timm one for each image.
    """

    def make(images: np.ndarray, device: str) -> Callable[[], None]:
        v2 = torchvision_v2()  # timm imports it
        import torch

        batch = _tensor(images, device).float() / 255
        label = torch.arange(len(images), device=device) % 10
        if library == "timm":
            from timm.data import Mixup

            mix = Mixup(mixup, 1.0, mode="elem", label_smoothing=0.0, num_classes=10)
            return _whole(lambda images: mix(images.clone(), label)[0], batch)
        mix = v2.CutMix(num_classes=10)
        return _whole(lambda images: mix(images, label)[0], batch)

    return make


PEERS = (
    Peer(
        "PIL reference, 1 chain", "AugMix", "yes", _pil(lambda: lambda i: references.augmix(i, 1))
    ),
    Peer(
        "PIL reference, 3 chains", "AugMix", "yes", _pil(lambda: lambda i: references.augmix(i, 3))
    ),
    Peer("timm, 1 chain", "AugMix", "yes", _pil(lambda: _timm("augmix-m3-w1"))),
    Peer("timm, 3 chains", "AugMix", "yes", _pil(lambda: _timm("augmix-m3-w3"))),
    Peer("torchvision v2 per image, 1 chain", "AugMix", "yes", _v2_each("AugMix")),
    Peer("torchvision v2 per image, 3 chains", "AugMix", "yes", _v2_each("AugMix", 3)),
    Peer("torchvision v2 whole batch, 1 chain", "AugMix", "no", _v2_whole("AugMix"), True),
    Peer("torchvision v2 whole batch, 3 chains", "AugMix", "no", _v2_whole("AugMix", 3), True),
    Peer("PIL reference", "RandAugment", "yes", _pil(lambda: references.randaugment)),
    Peer("timm", "RandAugment", "yes", _pil(lambda: _timm("rand-m9-n2"))),
    Peer("torchvision v2 per PIL image", "RandAugment", "yes", _pil(lambda: _v2("RandAugment", 1))),
    Peer("torchvision v2 whole batch", "RandAugment", "no", _v2_whole("RandAugment"), True),
    Peer("kornia per image", "RandAugment", "yes", _kornia(True)),
    Peer("kornia whole batch", "RandAugment", "magnitudes", _kornia(False), True),
    Peer("NumPy reference", "CutMix", "yes", _numpy(references.cutmix)),
    Peer("timm Mixup by element", "CutMix", "yes", _mixing("timm"), True),
    Peer("torchvision v2 whole batch", "CutMix", "no", _mixing("torchvision"), True),
    Peer("timm Mixup by element", "mixup and CutMix", "yes", _mixing("timm", 1.0), True),
    Peer("NumPy reference", "Cutout", "yes", _numpy(references.cutout)),
    Peer("torchvision v2 per image", "Cutout", "yes", _v2_each("Cutout")),
    Peer("torchvision v2 whole batch", "Cutout", "no", _v2_whole("Cutout"), True),
    Peer("kornia RandomErasing", "Cutout", "yes", _kornia(False, "Cutout"), True),
    Peer("NumPy reference", "soft crop", "yes", _numpy(references.soft_crop)),
    Peer("NumPy reference", "Patch Gaussian", "yes", _numpy(references.patch_gaussian)),
    Peer("timm", "AutoAugment", "yes", _pil(lambda: _timm("original"))),
    Peer("torchvision v2 per PIL image", "AutoAugment", "yes", _pil(lambda: _v2("AutoAugment", 1))),
    Peer("torchvision v2 whole batch", "AutoAugment", "no", _v2_whole("AutoAugment"), True),
    Peer("kornia per image", "AutoAugment", "yes", _kornia(True, "AutoAugment")),
    Peer(
        "torchvision v2 per PIL image",
        *("TrivialAugment", "yes", _pil(lambda: _v2("TrivialAugment", 1))),
    ),
    Peer("torchvision v2 whole batch", "TrivialAugment", "no", _v2_whole("TrivialAugment"), True),
    Peer("kornia per image", "TrivialAugment", "yes", _kornia(True, "TrivialAugment")),
)
