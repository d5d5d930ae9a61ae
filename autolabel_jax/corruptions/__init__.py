"""Lists corruptions by kind of input, which are made on the device.

Those of images are of Hendrycks & Dietterich (2019), and those of other kinds our own, see ``own``.

Each corruption of images is a function of one image,

  corrupt(key, image float32 [H, W, 3] in [0, 1], *prepared) -> float32 [H, W, 3]

The values prepared from the settings of a severity in ``settings.py`` are arguments of the compiled
program, so that nearly all corruptions have one program for all five severities. The random numbers
of an image depend only on the seed, the corruption, the severity and the index of the image. A
corrupted set is therefore always the same, in any batches and on any number of devices.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from autolabel_jax.corruptions import (
    audio,
    blur,
    digital,
    jpeg,
    noise,
    own,
    spatter,
    texts,
    vectors,
    weather,
)
from autolabel_jax.corruptions.own import Own
from autolabel_jax.corruptions.settings import plain, settings
from autolabel_jax.datasets import Dataset

# name: (the corruption, the function that prepares its arguments from a size and a setting)
TABLE = {
    "gaussian_noise": (noise.redraw, noise.prepare_gaussian),
    "shot_noise": (noise.redraw, noise.prepare_shot),
    "impulse_noise": (noise.redraw, noise.prepare_impulse),
    "defocus_blur": (blur.defocus_blur, blur.prepare_defocus),
    "glass_blur": (blur.glass_blur, blur.prepare_glass),
    "motion_blur": (blur.motion_blur, blur.prepare_motion),
    "zoom_blur": (blur.zoom_blur, blur.prepare_zoom),
    "snow": (weather.snow, weather.prepare_snow),
    "frost": (weather.frost, weather.prepare_frost),
    "fog": (weather.fog, plain),
    "brightness": (digital.brightness, plain),
    "contrast": (digital.contrast, plain),
    "elastic_transform": (digital.elastic_transform, digital.prepare_elastic),
    "pixelate": (digital.pixelate, digital.prepare_pixelate),
    "jpeg_compression": (jpeg.jpeg_compression, jpeg.prepare),
    "speckle_noise": (noise.redraw, noise.prepare_speckle),
    "gaussian_blur": (blur.gaussian_blur, blur.prepare_gaussian),
    "spatter": (spatter.spatter, spatter.prepare),
    "saturate": (digital.saturate, plain),
}

# Meant for choosing settings, and never part of an average.
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CORRUPTIONS = tuple(name for name in TABLE if name not in EXTRA)
SEVERITIES = (1, 2, 3, 4, 5)

# Corruptions of inputs that are not images, by their kind.
OTHERS: dict[str, Mapping[str, Own]] = {
    "audio": audio.AUDIO,
    "features": vectors.FEATURES,
    "series": vectors.SERIES,
    "text": texts.TEXT,
}


class Corrupt(Protocol):
    """Corrupts one image."""

    def __call__(self, key: jax.Array, image: jax.Array, *prepared: Any) -> jax.Array:
        """Returns the corrupted image, float32 [H, W, 3]; values may lie outside [0, 1]."""
        ...


# (index int32 [B], inputs [B, ...]) → [B, ...]; images are uint8 [B, H, W, 3].
Transform = Callable[[jax.Array, jax.Array], jax.Array]


def names(kind: str) -> tuple[str, ...]:
    """Returns the corruptions of a kind of inputs that are averaged.

    Raises:
      ValueError: the kind has none.
    """
    if kind == "image":
        return CORRUPTIONS
    if kind not in OTHERS:
        known = ", ".join(("image", *OTHERS))
        raise ValueError(f"--corruptions: inputs of kind {kind!r} have none; those of {known} have")
    return tuple(OTHERS[kind])


def create_for(dataset: Dataset, name: str, severity: int, *, seed: int = 0) -> Transform:
    """Makes a corruption of the inputs of a data set, as ``create``.

    Args:
      dataset: data set whose inputs are corrupted.
      name: one of ``names`` of its kind, or for images of EXTRA.
      severity: 1 … 5.
      seed: seed of all random numbers.

    Raises:
      ValueError: the name is unknown, or the inputs cannot be corrupted.
    """
    spec = dataset.spec
    if spec.kind == "image":
        return create(name, severity, size=spec.shape[0], seed=seed)
    if name not in names(spec.kind):
        raise ValueError(
            f"corruption: got {name!r}, expected one of: {', '.join(names(spec.kind))}"
        )
    return own.create(name, OTHERS[spec.kind][name], severity, dataset, seed)


def create(name: str, severity: int, *, size: int, seed: int = 0) -> Transform:
    """Makes a corruption as a pure, jitted function of a batch.

    Args:
      name: one of CORRUPTIONS or EXTRA.
      severity: 1 … 5.
      size: side of the images in pixels. The constants of CIFAR-10-C are used up to 48 pixels,
        and those of ImageNet-C above.
      seed: seed of all random numbers.

    Returns:
      (index int32 [B], image uint8 [B, size, size, 3]) → uint8 [B, size, size, 3].

    Raises:
      ValueError: the name is unknown, or the severity or size is out of range.
    """
    _check(name, severity, size)
    corrupt, prepare = TABLE[name]
    prepared = prepare(size, *settings(name, severity, size))
    arrays = tuple(map(jnp.asarray, prepared.arrays))
    base = jax.random.key(seed, impl="threefry2x32")
    # Folded in by name, so that the numbers do not change when the table grows.
    base = jax.random.fold_in(jax.random.fold_in(base, zlib.crc32(name.encode())), severity)

    def transform(index: jax.Array, image: jax.Array) -> jax.Array:
        if image.dtype != jnp.uint8 or image.shape[1:] != (size, size, 3):
            raise ValueError(
                f"corruptions: got {image.dtype} images {image.shape}, {name!r} was made for "
                f"uint8 [B, {size}, {size}, 3]"
            )
        return _corrupt(index, image, base, arrays, corrupt=corrupt, fixed=prepared.fixed)

    return transform


@functools.partial(jax.jit, static_argnames=("corrupt", "fixed"))
def _corrupt(
    index: jax.Array,
    image: jax.Array,
    base: jax.Array,
    arrays: tuple[jax.Array, ...],
    *,
    corrupt: Corrupt,
    fixed: tuple[int, ...],
) -> jax.Array:
    def one(index: jax.Array, image: jax.Array) -> jax.Array:
        key = jax.random.fold_in(base, index)
        out = corrupt(key, image.astype(jnp.float32) / 255, *arrays, *fixed)
        # Truncated, as in the published sets. The 0.001 keeps float32 rounding from turning a
        # whole level into the one below.
        return (jnp.clip(out, 0, 1) * 255 + 1e-3).astype(jnp.uint8)

    return jax.vmap(one)(index, image)


def _check(name: str, severity: int, size: int) -> None:
    if name not in TABLE:
        raise ValueError(f"corruption: got {name!r}, expected one of: {', '.join(TABLE)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity: got {severity!r}, must be 1, 2, 3, 4 or 5")
    if size < 16:
        raise ValueError(f"size: got {size}, must be 16 pixels or more")
