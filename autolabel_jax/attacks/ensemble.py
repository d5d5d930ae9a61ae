"""Runs attacks in sequence, each on the images that are still classified correctly.

AutoAttack is such a sequence: Croce & Hein (2020), "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks".
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from tqdm import tqdm

from autolabel_jax import image_ops
from autolabel_jax.attacks import search


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Attacks on one model, in the order in which they run.

    Attributes:
      predict: images [B, ...] → predicted class, int32 [B].
      stages: (name, attack) pairs.
    """

    predict: Callable[[jax.Array], jax.Array]
    stages: tuple[tuple[str, search.Attack], ...]


@dataclasses.dataclass(frozen=True)
class Attacked:
    """The outcome of attacks on a set of images.

    Attributes:
      accuracy: robust accuracy, the fraction of images that no attack broke.
      correct: bool [n], whether no attack broke the image.
      images: float32 [n, ...]: the adversarial image that broke it, else the one of the first
        attack; the clean image if that is misclassified already.
      accuracy_after: 'clean' and each stage → accuracy after it.
    """

    accuracy: float
    correct: np.ndarray
    images: np.ndarray
    accuracy_after: dict[str, float]


def robust_accuracy(
    attack: Ensemble,
    images: np.ndarray,
    labels: np.ndarray,
    key: jax.Array,
    *,
    batch_size: int,
    start: int = 0,
    sharding: jax.sharding.Sharding | None = None,
    progress: bool = True,
) -> Attacked:
    """Attacks every image that the model classifies correctly, and evaluates the model again.

    The random numbers of an image depend on the key, the stage and its index in the whole set, so
    a long evaluation may be split into pieces, and resumes with images[start:].

    Args:
      attack: from ``attacks.create``.
      images: uint8 or float32 in [0, 1], [n, ...].
      labels: int [n].
      key: typed PRNG key.
      batch_size: images per batch; survivors are gathered into full batches, the last one padded.
      start: index of the first of these images in the whole set.
      sharding: sharding of a batch, whose size the devices divide; None uses the default device.
      progress: whether to show a progress bar per stage, on a terminal.

    Raises:
      ValueError: there are no images, labels do not match them, or pixels are outside [0, 1].
    """
    images = _checked(images, labels, batch_size)
    labels = np.asarray(labels, np.int32)
    adversarial = images.copy()
    devices = 1 if sharding is None else sharding.num_devices

    def put(rows, *more):
        return jax.device_put((images[rows], *more), sharding)

    def batches(rows, name):
        parts = _padded(rows, batch_size, devices)
        return tqdm(parts, desc=name, disable=None if progress else True, leave=False)

    correct = np.zeros(len(labels), bool)
    for rows, num in batches(np.arange(len(labels)), "clean"):
        correct[rows[:num]] = (np.asarray(attack.predict(*put(rows))) == labels[rows])[:num]
    accuracy_after = {"clean": float(correct.mean())}
    for number, (name, run) in enumerate(attack.stages):
        stage_key = jax.random.fold_in(key, number)
        for rows, num in batches(np.flatnonzero(correct), name):
            keys = _fold_in(stage_key, rows + start)
            attacked = run(*put(rows, labels[rows], keys))
            own = rows[:num]
            right = np.asarray(attack.predict(attacked))[:num] == labels[own]
            correct[own] = right
            kept = ~right | (number == 0)  # later attacks are kept only where they succeed
            adversarial[own[kept]] = np.asarray(attacked)[:num][kept]
        accuracy_after[name] = float(correct.mean())
    return Attacked(float(correct.mean()), correct, adversarial, accuracy_after)


# One key per image.
_fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))


def _checked(images: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns float32 images in [0, 1]; raises as ``robust_accuracy``."""
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"attacks: got {len(images)} images and {len(labels)} labels")
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, must be 1 or more")
    images = np.array(image_ops.to_float(np.asarray(images)))
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"attacks: got pixels from {images.min()} to {images.max()}, must be in [0, 1]; "
            "scale the images, and undo the scaling in logits_fn"
        )
    return images


def _padded(rows: np.ndarray, batch_size: int, devices: int) -> list[tuple[np.ndarray, int]]:
    """Splits rows into batches: (rows, with the last repeated to fill the batch; number of own)."""
    parts = []
    for first in range(0, len(rows), batch_size):
        part = rows[first : first + batch_size]
        # A short last batch has a quarter of the size, or a quarter of that and so on, which
        # needs few programs and little padding.
        size = batch_size
        while size % (4 * devices) == 0 and size // 4 >= max(len(part), 16):
            size //= 4
        parts.append((np.pad(part, (0, size - len(part)), mode="edge"), len(part)))
    return parts
