"""One attack after another, each on the images that all before it left right.

Croce & Hein (2020), "Reliable evaluation of adversarial robustness with an
ensemble of diverse parameter-free attacks" (AutoAttack), is such a list.
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
    """Attacks on one model, by name, in the order in which they run.

    Attributes:
      predict: images [B, ...] → int32 [B], the class that the model gives.
      stages: (name, attack) pairs.
    """

    predict: Callable[[jax.Array], jax.Array]
    stages: tuple[tuple[str, search.Attack], ...]


@dataclasses.dataclass(frozen=True)
class Attacked:
    """What is left of a set of images.

    Attributes:
      accuracy: robust accuracy, the share that no attack made wrong; a fraction.
      correct: bool [n], these images.
      images: float32 [n, ...]: the one that broke it, else what the first attack gave; clean
        where clean was wrong.
      accuracy_after: 'clean' and each stage → accuracy once it has run.
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
    """Attacks every image that the model gets right, and asks the model again.

    The random numbers of an image hang on the key, the stage and its place in the whole set.
    So a long evaluation may be cut in pieces, and go on with images[start:] where it was stopped.

    Args:
      attack: from ``attacks.create``.
      images: uint8, or float32 in [0, 1]; [n, ...].
      labels: int [n].
      key: typed PRNG key.
      batch_size: of the device; the survivors are gathered into full batches, the last padded.
      start: place of the first of these images in the whole set.
      sharding: of a batch over devices that divide it; None: the default device.
      progress: a bar for each stage, where the terminal can show one.

    Raises:
      ValueError: no images, labels that do not go with them, or pixels outside [0, 1].
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
            found = run(*put(rows, labels[rows], keys))
            own, right = rows[:num], np.asarray(attack.predict(found))[:num] == labels[rows[:num]]
            correct[own] = right
            told = ~right | (number == 0)  # what failed later says less than the first attempt
            adversarial[own[told]] = np.asarray(found)[:num][told]
        accuracy_after[name] = float(correct.mean())
    return Attacked(float(correct.mean()), correct, adversarial, accuracy_after)


# Each image's own key.
_fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))


def _checked(images, labels, batch_size):
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"attacks: got {len(images)} images and {len(labels)} labels")
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, must be 1 or more")
    images = np.array(image_ops.to_float(np.asarray(images)))
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"attacks: got pixels from {images.min()} to {images.max()}, must be in [0, 1]; "
            "scale the images, and let logits_fn undo it"
        )
    return images


def _padded(rows, batch_size, devices):
    """(rows of a batch, the last repeated to fill it; how many are its own) of each batch."""
    parts = []
    for first in range(0, len(rows), batch_size):
        part = rows[first : first + batch_size]
        # A last short batch takes a quarter of the size, or a quarter of that: few programs to
        # compile, little work on padding.
        size = batch_size
        while size % (4 * devices) == 0 and size // 4 >= max(len(part), 16):
            size //= 4
        parts.append((np.pad(part, (0, size - len(part)), mode="edge"), len(part)))
    return parts
