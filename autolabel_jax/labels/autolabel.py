"""AutoLabel: the confidence of a label, learned per bucket from calibration.

Qin, Wang, Lakshminarayanan, Chi, Beutel, "What Are Effective Labels for
Augmented Data? Improving Calibration and Robustness with AutoLabel", SaTML
2023, arXiv 2302.11188; patent US20220108220A1.
"""

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import isotonic
from autolabel_jax.types import BucketStats, Distance, LabelState, TrackedLabelState

STEPS = ("ece", "signed_gap")
ESTIMATES = ("plugin", "debiased")
KEPT = ("step", "ece_estimate", "alpha_decay", "momentum")  # settings of update that init reads too


def init(
    own_confidence: jax.Array,
    *,
    step: str = "ece",
    ece_estimate: str = "plugin",
    alpha_decay: float = 0.0,
    momentum: float = 0.0,
    num_bins: int = calibration.NUM_BINS,
) -> LabelState:
    """Starts from the labels that the augmentation would have used.

    Args:
      own_confidence: float [N]; 1 everywhere but for mixup, where it is 1 - γ
        at the middle of the bucket.
      step: this and the next three as ``update`` takes them.
      ece_estimate: where it or ``momentum`` makes the ECE another than the bucket's own, the
        state holds it.
      alpha_decay: above 0, the state counts updates.
      momentum: above 0, the state holds averaged statistics.
      num_bins: R of them.
    """
    confidence = jnp.asarray(own_confidence, jnp.float32)
    other_ece = _reads_other_ece(step, ece_estimate, momentum)
    if not (alpha_decay or momentum or other_ece):
        return LabelState(confidence=confidence)
    return TrackedLabelState(
        confidence=confidence,
        updates=jnp.zeros((), jnp.int32) if alpha_decay else None,
        stats=calibration.empty_stats(len(confidence), num_bins) if momentum else None,
        ece=jnp.zeros_like(confidence) if other_ece else None,
    )


def soft_labels(
    state: LabelState,
    label: jax.Array,
    bucket: jax.Array,
    *,
    num_classes: int,
    distance: Distance | None = None,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """Labels whose true class has the confidence of the example's bucket.

    Args:
      state: confidence [N].
      label: int32 [B], the dominant class.
      bucket: int32 [B] in [0, N).
      num_classes: K, at least 2.
      distance: not read; other rules do.
      second_label: int32 [B], class of the image mixed in (mixup), or None.
      second_weight: float [B] in [0, 1/2], its share γ, or None.

    Returns:
      float32 [B, K], rows sum to 1.
    """
    del distance
    return spread(
        state.confidence[bucket],
        label,
        num_classes=num_classes,
        second_label=second_label,
        second_weight=second_weight,
    )


def update(
    state: LabelState,
    stats: BucketStats,
    *,
    alpha: float = 1.0,
    step: str = "ece",
    ece_estimate: str = "plugin",
    alpha_decay: float = 0.0,
    momentum: float = 0.0,
    monotone: bool = False,
    num_intervals: int | None = None,
) -> LabelState:
    """Moves every bucket's label against the model's miscalibration on it.

    confidence[n] ← clip(confidence[n] - α · ECE_n · sign(Conf_n - Acc_n), Acc_n, 1)

    or, with step='signed_gap', α · (Conf_n - Acc_n) in place of the signed
    ECE: the step of AR-AdaLS (Qin et al. 2021, "Improving Calibration through
    the Relationship with Adversarial Robustness"). An empty bucket stays. The
    options that follow ``step`` are off by default, see docs/method.md.

    Args:
      state: from ``init`` with the same options.
      stats: sums [N, R] over held-out augmented images.
      alpha: step size α.
      step: 'ece' or 'signed_gap'.
      ece_estimate: 'plugin', or 'debiased' for ``calibration.debiased_ece``.
      alpha_decay: d of the step size α / (1 + updates so far)^d.
      momentum: in [0, 1); Acc, Conf and ECE are of the sums S ← momentum · S + stats.
      monotone: afterwards, ``isotonic.non_increasing`` within each group of buckets.
      num_intervals: M, buckets in each group; read where monotone.

    Raises:
      ValueError: unknown step.
    """
    if step not in STEPS:
        raise ValueError(f"step: got {step!r}, known are {', '.join(STEPS)}")
    measured = calibration.count(stats) > 0
    if momentum:
        stats = jax.tree.map(lambda old, new: momentum * old + new, state.stats, stats)
        state = state.replace(stats=stats)
    accuracy = calibration.accuracy(stats)
    gap = calibration.confidence(stats) - accuracy
    debiased = ece_estimate == "debiased"
    ece = calibration.debiased_ece(stats) if debiased else calibration.ece(stats)
    if _reads_other_ece(step, ece_estimate, momentum):
        state = state.replace(ece=jnp.where(calibration.count(stats) > 0, ece, 0))
    if alpha_decay:
        alpha = alpha / (1 + state.updates.astype(jnp.float32)) ** alpha_decay
        state = state.replace(updates=state.updates + 1)
    move = gap if step == "signed_gap" else ece * jnp.sign(gap)
    moved = jnp.clip(state.confidence - alpha * move, accuracy, 1.0)
    moved = jnp.where(measured, moved, state.confidence)
    return state.replace(
        confidence=isotonic.non_increasing(moved, num_intervals) if monotone else moved
    )


def _reads_other_ece(step: str, ece_estimate: str, momentum: float) -> bool:
    """Whether the update reads another ECE than the plain one of its statistics."""
    return step == "ece" and (momentum > 0 or ece_estimate != "plugin")


def spread(
    confidence: jax.Array,
    label: jax.Array,
    *,
    num_classes: int,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """Distributions with a given probability of the true class.

    Unmixed, the rest is spread evenly over the other K - 1 classes. In a
    mixture with a share γ of class y_i, that class gets min(p·γ/(1-γ), 1-p),
    which keeps the ratio γ : 1-γ of the two, and the rest goes evenly over
    the other K - 2; where both images are of one class, it gets both parts.
    With two classes, the other one gets all the rest.

    Args:
      confidence: float [B], p.
      label: int32 [B].
      num_classes: K, at least 2.
      second_label: int32 [B] or None.
      second_weight: float [B], γ in [0, 1/2], or None.

    Returns:
      float32 [B, K].
    """
    true = jax.nn.one_hot(label, num_classes)
    mine = confidence[:, None] * true
    if second_label is None:
        named, second = true, jnp.zeros_like(true)
    else:
        gamma = second_weight
        share = jnp.minimum(confidence * gamma / (1 - gamma), 1 - confidence)
        mixed = jax.nn.one_hot(second_label, num_classes) * (gamma > 0)[:, None]
        second = share[:, None] * mixed
        named = jnp.maximum(true, mixed)
    given = mine + second
    rest = jnp.maximum(1 - given.sum(-1, keepdims=True), 0)
    others = num_classes - named.sum(-1, keepdims=True)
    # With no other class left (K = 2), the class mixed in takes the rest.
    evenly = jnp.where(others > 0, (1 - named) / jnp.maximum(others, 1), named - true)
    return given + rest * evenly
