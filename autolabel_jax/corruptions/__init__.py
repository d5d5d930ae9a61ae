"""The one table of image corruptions (Hendrycks & Dietterich, 2019), made on the device.

Each corruption is a function of one image,

  corrupt(key, image float32 [H, W, 3] in [0, 1], *setting) -> float32 [H, W, 3]

and the setting of each severity stands in ``settings.py``. The random numbers
of an image hang on the seed, the corruption, the severity and the index of
the image alone: a corrupted set is the same every time, in any batches, on any
number of devices.
"""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from autolabel_jax.corruptions import blur, digital, jpeg, noise, spatter, weather
from autolabel_jax.corruptions.settings import settings

TABLE = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": jpeg.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter.spatter,
    "saturate": digital.saturate,
}

# In the papers for choosing settings, never in an average.
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CORRUPTIONS = tuple(name for name in TABLE if name not in EXTRA)
SEVERITIES = (1, 2, 3, 4, 5)


def create(
    name: str, severity: int, *, size: int, seed: int = 0
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A corruption as a pure, jittable function of a batch.

    Args:
      name: one of CORRUPTIONS or EXTRA.
      severity: 1 … 5.
      size: side of the images in pixels. Up to 48 the constants of CIFAR-10-C
        are used, above it those of ImageNet-C.
      seed: of all random numbers.

    Returns:
      (index int32 [B], image uint8 [B, size, size, 3]) → uint8 [B, size, size, 3].

    Raises:
      ValueError: unknown name, or a severity or size out of range.
    """
    _check(name, severity, size)
    corrupt, setting = TABLE[name], settings(name, severity, size)
    base = jax.random.key(seed, impl="threefry2x32")
    # By its name, so that the numbers stay when the table grows.
    base = jax.random.fold_in(jax.random.fold_in(base, zlib.crc32(name.encode())), severity)

    def one(index, image):
        key = jax.random.fold_in(base, index)
        out = corrupt(key, image.astype(jnp.float32) / 255, *setting)
        # Truncated, as the published sets are; the 0.001 keeps rounding in float32 from
        # turning what is a whole level into the one below.
        return (jnp.clip(out, 0, 1) * 255 + 1e-3).astype(jnp.uint8)

    def transform(index, image):
        if image.dtype != jnp.uint8 or image.shape[1:] != (size, size, 3):
            raise ValueError(
                f"corruptions: got {image.dtype} images {image.shape}, {name!r} was made for "
                f"uint8 [B, {size}, {size}, 3]"
            )
        return jax.vmap(one)(index, image)

    return transform


def _check(name: str, severity: int, size: int) -> None:
    if name not in TABLE:
        raise ValueError(f"corruption: got {name!r}, known are {', '.join(TABLE)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity: got {severity!r}, must be 1, 2, 3, 4 or 5")
    if size < 16:
        raise ValueError(f"size: got {size}, must be 16 pixels or more")
