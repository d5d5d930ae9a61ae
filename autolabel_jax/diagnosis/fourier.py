"""Computes the Fourier heat map of a model: its error when one frequency is added to images.

Yin et al. (2019), "A Fourier Perspective on Model Robustness in Computer Vision", sec. 3. They
take a norm of 4 for CIFAR-10 images and 15.7 for ImageNet images in [0, 1]. The basis is that
of their code, github.com/google-research/google-research/tree/master/frequency_analysis.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np


def basis_image(row: jax.Array, column: jax.Array, height: int, width: int) -> jax.Array:
    """Returns U_ij, the real image of one frequency and its conjugate, with L2 norm 1.

    The wave is an eighth of a turn off its crest at the first pixel, as in the published code.
    A sine would be zero at 0 and at Nyquist, and a cosine would leave every other pixel alone
    at half of Nyquist, where models then look robust.

    Args:
      row: int [], cycles over the height; taken modulo height.
      column: int [], cycles over the width.
      height: H.
      width: W.

    Returns:
      float32 [H, W], the same for (row, column) and (-row, -column).
    """
    # Which of the two frequencies is ahead by an eighth of a turn: the first on the map.
    place, conjugate = (
        (sign * row + height // 2) % height * width + (sign * column + width // 2) % width
        for sign in (1, -1)
    )
    ahead = jnp.where(place <= conjugate, 1 / 8, -1 / 8)
    # Whole turns are taken out in integers: the cosine of a large angle is inexact in float32.
    vertical = (row * jnp.arange(height)) % height / height
    horizontal = (column * jnp.arange(width)) % width / width
    image = jnp.cos(2 * jnp.pi * (vertical[:, None] + horizontal[None, :] + ahead))
    return image / jnp.linalg.norm(image)


@jax.jit
def add_frequency(
    key: jax.Array, images: jax.Array, row: jax.Array, column: jax.Array, norm: jax.Array
) -> jax.Array:
    """Computes images + r · norm · U_ij, with r = ±1 drawn for each channel of each image.

    The result is not clipped to [0, 1], because clipping would add other frequencies.

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


Predict = Callable[[jax.Array], jax.Array]  # float32 [B, H, W, C] → labels [B] or logits [B, K]

IN_FLIGHT = 4  # most batches waiting on the device, whose images must fit into its memory


def heat_map(
    key: jax.Array,
    predict: Predict,
    images: jax.Array,
    label: np.ndarray,
    *,
    norm: float,
    radius: int | None = None,
) -> np.ndarray:
    """Measures the error rate at each frequency, with frequency 0 at the centre (``fftshift``).

    U_ij and U_-i,-j are the same image, which is measured once. This takes about H·W/2 calls of
    ``predict``, so about a thousand images are advisable. Signs depend on the frequency alone,
    not on the radius.

    Args:
      key: typed PRNG key.
      predict: float32 [B, H, W, C] → labels [B], or logits [B, K].
      images: float [B, H, W, C] in [0, 1].
      label: int [B].
      norm: L2 norm of what is added to one channel.
      radius: highest frequency in cycles per side; None measures all frequencies.

    Returns:
      float64 [H, W], or [2·radius + 1, 2·radius + 1].

    Raises:
      ValueError: the images are not a batch, the labels do not match, the norm is not positive,
        or the radius is too large for the image.
    """
    images, label = jnp.asarray(images, jnp.float32), np.asarray(label)
    if images.ndim != 4 or label.shape != images.shape[:1] or len(label) == 0:
        raise ValueError(
            f"images: got shape {images.shape} with labels {label.shape}; "
            "expected [B, H, W, C] and [B] of 1 or more images"
        )
    chosen = frequencies(*images.shape[1:3], radius)
    batches = [(images, jnp.asarray(label), jnp.ones(len(label)))]
    wrong = count_errors(key, predict, batches, chosen, norm=norm)
    errors = dict(zip(chosen, wrong / len(label), strict=True))
    return assemble(errors, *images.shape[1:3], radius)


def frequencies(height: int, width: int, radius: int | None = None) -> list[tuple[int, int]]:
    """Lists one (row, column) of each pair (i, j), (-i, -j) on the map, in the order of its rows.

    Args:
      height: H.
      width: W.
      radius: as in ``heat_map``.

    Raises:
      ValueError: the radius is too large for the image.
    """
    rows, columns = _cycles(height, radius), _cycles(width, radius)
    return list(dict.fromkeys(_one_of_pair(i, j, height, width) for i in rows for j in columns))


def count_errors(
    key: jax.Array,
    predict: Predict,
    batches: Sequence[tuple[jax.Array, jax.Array, jax.Array]],
    chosen: Iterable[tuple[int, int]],
    *,
    norm: float,
) -> np.ndarray:
    """Counts the images that are misclassified with each frequency added.

    Results are fetched a few batches late, which keeps the device busy. One program serves all
    frequencies.

    Args:
      key: typed PRNG key.
      predict: float32 [B, H, W, C] → labels [B], or logits [B, K]; give it under ``jax.jit``.
      batches: (images float32 [B, H, W, C] in [0, 1], label int [B], mask [B], 0 for padding).
      chosen: from ``frequencies``.
      norm: L2 norm of what is added to one channel.

    Returns:
      int64, one entry per frequency.

    Raises:
      ValueError: the norm is not positive.
    """
    if not norm > 0:
        raise ValueError(f"norm: got {norm}, must be positive, such as 4 for CIFAR-10 images")
    errors, waiting = [], collections.deque()
    for place, (row, column) in enumerate(chosen):
        errors.append(0)
        own = jax.random.fold_in(jax.random.fold_in(key, row), column)
        for i, (images, label, mask) in enumerate(batches):
            moved = add_frequency(jax.random.fold_in(own, i), images, row, column, norm)
            waiting.append((place, _wrong(predict(moved), label, mask)))
            if len(waiting) > IN_FLIGHT:
                before, number = waiting.popleft()
                errors[before] += int(number)
    for place, number in waiting:
        errors[place] += int(number)
    return np.array(errors)


@jax.jit
def _wrong(predicted, label, mask):
    top = predicted.argmax(-1) if predicted.ndim == 2 else predicted
    return jnp.sum((top != label) & (mask > 0))


def assemble(
    errors: Mapping[tuple[int, int], float], height: int, width: int, radius: int | None = None
) -> np.ndarray:
    """Makes the map that ``heat_map`` returns from the error rates at ``frequencies``."""
    rows, columns = _cycles(height, radius), _cycles(width, radius)
    return np.array(
        [[errors[_one_of_pair(i, j, height, width)] for j in columns] for i in rows], np.float64
    )


def _one_of_pair(row, column, height, width):
    """Returns the one of (row, column) and its conjugate that is measured."""
    return min((row % height, column % width), (-row % height, -column % width))


def _cycles(size, radius):
    """Lists the frequencies along an axis of ``size`` pixels, ascending."""
    if radius is None:
        return [i - size // 2 for i in range(size)]
    if not 0 <= 2 * radius < size:
        raise ValueError(
            f"radius: got {radius}, must be 0 to {(size - 1) // 2} for {size} pixels, or None"
        )
    return list(range(-radius, radius + 1))
