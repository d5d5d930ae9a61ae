"""Measures how easily each example is attacked: the distance of AR-AdaLS.

Qin, Wang, Beutel, Chi (2021), "Improving Calibration through the Relationship with Adversarial
Robustness", groups training examples by the smallest perturbation that changes the prediction of a
model. With the rank of this perturbation as a given distance, AutoLabel with ``labels.step`` of
``signed_gap`` is their adaptive label smoothing.
"""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.attacks import fab, search
from autolabel_jax.datasets import Split

BATCH = 256
MOST_TARGETS = 9  # classes that are attacked, as in AutoAttack


def smallest_perturbation(
    logits_fn: search.LogitsFn, split: Split, *, num_classes: int, num_steps: int = 100
) -> np.ndarray:
    """Returns the ℓ∞ norm of the smallest perturbation that FAB-T finds, float32 [n].

    It is 0 for an image that is misclassified already, and infinite where none is found.

    Args:
      logits_fn: float32 images [B, ...] in [0, 1] → logits [B, K], in inference mode.
      split: images uint8 or float32 in [0, 1], [n, ...], with labels.
      num_classes: number of classes K.
      num_steps: number of steps for each of the 9 most likely wrong classes.
    """
    minimal = fab.make_minimal(logits_fn, num_steps=num_steps)
    logits_of = jax.jit(logits_fn)
    found = np.empty(len(split), np.float32)
    for start in range(0, len(split), BATCH):
        rows = np.arange(start, min(start + BATCH, len(split)))
        padded = np.resize(rows, BATCH)  # one program for all batches
        image = image_ops.to_float(jnp.asarray(split.input[padded]))
        label = jnp.asarray(split.label[padded])
        logits = logits_of(image)
        distance = jnp.where(logits.argmax(-1) != label, 0, jnp.inf)
        for rank in range(min(MOST_TARGETS, num_classes - 1)):
            target = search.other_class(logits, label, rank)
            distance = jnp.minimum(distance, minimal(image, label, target)[1])
        found[rows] = np.asarray(distance)[: len(rows)]
    return found


def rank_distance(perturbation: np.ndarray) -> np.ndarray:
    """Maps perturbations [n] to distances (r + 1/2) / n, float32 [n], by their rank r.

    The largest perturbation has r = 0: examples that are easily attacked are far. Intervals of
    equal width hold equally many examples. Of equal perturbations the later example is farther.
    """
    num = len(perturbation)
    rank = np.empty(num)
    rank[np.argsort(-perturbation, kind="stable")] = np.arange(num)
    return ((rank + 0.5) / num).astype(np.float32)
