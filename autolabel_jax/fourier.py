"""Fourier heat map of a model: its error when one frequency is added to its images.

Yin et al. (2019), "A Fourier Perspective on Model Robustness in Computer Vision", sec. 3. They
take a norm of 4 for CIFAR-10 images and 15.7 for ImageNet images in [0, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def basis_image(row: jax.Array, column: jax.Array, height: int, width: int) -> jax.Array:
    """U_ij: the real image of one frequency and its conjugate, of L2 norm 1.

    A cosine, so that no frequency gives the zero image (a sine would at 0 and at Nyquist).

    Args:
      row: int [], cycles over the height; taken modulo height.
      column: int [], cycles over the width.
      height: H.
      width: W.

    Returns:
      float32 [H, W].
    """
    # Whole turns are taken out in integers: the cosine of a large angle is inexact in float32.
    vertical = (row * jnp.arange(height)) % height / height
    horizontal = (column * jnp.arange(width)) % width / width
    image = jnp.cos(2 * jnp.pi * (vertical[:, None] + horizontal[None, :]))
    return image / jnp.linalg.norm(image)


@jax.jit
def add_frequency(
    key: jax.Array, images: jax.Array, row: jax.Array, column: jax.Array, norm: jax.Array
) -> jax.Array:
    """images + r · norm · U_ij, with r = ±1 drawn for each channel of each image.

    Not clipped to [0, 1], which would add other frequencies.

    Args:
      key: typed PRNG key.
      images: float32 [B, H, W, C].
      row: int [].
      column: int [].
      norm: float [], L2 norm of what is added to one channel.

    Returns:
      float32 [B, H, W, C].
    """
    num, height, width, channels = images.shape
    sign = jax.random.rademacher(key, (num, 1, 1, channels), jnp.float32)
    return images + sign * norm * basis_image(row, column, height, width)[None, :, :, None]


def heat_map(
    key: jax.Array,
    predict: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    label: np.ndarray,
    *,
    norm: float,
    radius: int | None = None,
) -> np.ndarray:
    """Error rate at each frequency, the frequency 0 at the centre as ``np.fft.fftshift`` has it.

    U_ij and U_-i,-j are one image, measured once: about H·W/2 calls of ``predict``, so take
    about a thousand images. Signs hang on the frequency alone, not on the radius.

    Args:
      key: typed PRNG key.
      predict: float32 [B, H, W, C] → labels [B], or logits [B, K].
      images: float [B, H, W, C] in [0, 1].
      label: int [B].
      norm: L2 norm of what is added to one channel.
      radius: only frequencies of at most so many cycles either way; all without it.

    Returns:
      float64 [H, W], or [2·radius + 1, 2·radius + 1].

    Raises:
      ValueError: images that are no batch, labels that do not fit it, a norm that is not
        positive, or a radius that the image cannot hold.
    """
    images, label = jnp.asarray(images, jnp.float32), np.asarray(label)
    if images.ndim != 4 or label.shape != images.shape[:1] or len(label) == 0:
        raise ValueError(
            f"images: got shape {images.shape} with labels {label.shape}; "
            "needs [B, H, W, C] and [B] of B ≥ 1 images"
        )
    if not norm > 0:
        raise ValueError(f"norm: got {norm}, must be positive, such as 4 for CIFAR-10 images")
    height, width = images.shape[1:3]
    rows, columns = _cycles(height, radius), _cycles(width, radius)
    errors = {}

    def error(row, column):
        pair = (row % height, column % width), (-row % height, -column % width)
        row, column = min(pair)
        if (row, column) not in errors:
            own = jax.random.fold_in(jax.random.fold_in(key, row), column)
            found = np.asarray(predict(add_frequency(own, images, row, column, norm)))
            found = found.argmax(-1) if found.ndim == 2 else found
            errors[row, column] = np.mean(found != label)
        return errors[row, column]

    return np.array([[error(i, j) for j in columns] for i in rows])


def _cycles(size, radius):
    """Frequencies along an axis of that many pixels, ascending, as Python integers."""
    if radius is None:
        return [i - size // 2 for i in range(size)]
    if not 0 <= 2 * radius < size:
        raise ValueError(
            f"radius: got {radius}, needs 0 to {(size - 1) // 2} for {size} pixels, or None"
        )
    return list(range(-radius, radius + 1))
