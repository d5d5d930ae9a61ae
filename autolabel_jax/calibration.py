"""Computes sums by bucket and confidence bin, and from them accuracy, confidence and ECE.

Confidence is the top probability. Its R bins have equal width and are open
below and closed above, as in Guo et al. (2017), "On Calibration of Modern
Neural Networks", eq. 3. All functions are pure and jittable; those that read
sums accept JAX and NumPy arrays with any leading axes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.types import Array, BucketStats, CarriedStats, ConfusionStats

A = TypeVar("A", bound=Array)  # JAX sums give JAX results, and NumPy sums give NumPy results

NUM_BINS = 15
# Share of the recent sums that is kept at each update. Their mean is 3 updates old. A label with
# α ≤ 1 follows the gap no faster than that, so that it does not oscillate.
KEEP = 0.75


def bin_edges(num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns the edges of the equal-width confidence bins, float32 [R + 1].

    They are k/R rounded once; jnp.linspace can be one float off.
    """
    return np.linspace(0, 1, num_bins + 1, dtype=np.float32)


def bin_index(confidence: A, num_bins: int = NUM_BINS) -> A:
    """Returns the bin of each confidence, int of the same shape."""
    xp = _namespace(confidence)
    return xp.searchsorted(xp.asarray(bin_edges(num_bins)[1:-1]), confidence, side="left")


def _namespace(array: Array) -> Any:
    """Returns jax.numpy for JAX arrays, and NumPy for others, so that results keep their type."""
    return jnp if isinstance(array, jax.Array) else np


def top_class(scores: jax.Array) -> jax.Array:
    """Returns the class with the highest logit or probability.

    Args:
      scores: float [..., K].

    Returns:
      int32 [...]; -1, no class, where any score is NaN, whose argmax would be class 0.
    """
    return jnp.where(jnp.isnan(scores).any(-1), -1, jnp.argmax(scores, axis=-1))


def empty_stats(
    num_buckets: int, num_bins: int = NUM_BINS, num_classes: int | None = None
) -> BucketStats:
    """Returns statistics without any example: zeros [num_buckets, num_bins].

    With ``num_classes`` they are ConfusionStats.
    """
    # The arrays must not share memory, because a state that holds them is donated.
    sums = [jnp.zeros((num_buckets, num_bins), jnp.float32) for _ in range(3)]
    if num_classes is None:
        return BucketStats(*sums)
    return ConfusionStats(*sums, jnp.zeros((num_buckets, num_classes, num_classes), jnp.float32))


def stats_from_probabilities(
    probabilities: jax.Array,
    label: jax.Array,
    bucket: jax.Array,
    *,
    num_buckets: int,
    num_bins: int = NUM_BINS,
    mask: jax.Array | None = None,
) -> BucketStats:
    """Sums over a batch by bucket and by bin of the top probability.

    Args:
      probabilities: float [B, K], rows sum to 1.
      label: int32 [B].
      bucket: int32 [B] in [0, num_buckets).
      num_buckets: number of buckets N.
      num_bins: number of confidence bins R.
      mask: float or bool [B], 0 for rows that do not count.

    Returns:
      BucketStats [N, R].
    """
    confidence = jnp.max(probabilities, axis=-1).astype(jnp.float32)
    correct = top_class(probabilities) == label
    weight = jnp.ones_like(confidence) if mask is None else mask.astype(jnp.float32)
    cell = bucket * num_bins + bin_index(confidence, num_bins)

    def sums(values: jax.Array) -> jax.Array:
        counted = jnp.where(weight > 0, values * weight, 0)  # padding may hold NaN
        total = jax.ops.segment_sum(counted, cell, num_buckets * num_bins)
        return total.reshape(num_buckets, num_bins)

    return BucketStats(
        count=sums(jnp.ones_like(confidence)),
        correct=sums(correct.astype(jnp.float32)),
        confidence=sums(confidence),
    )


def bucket_stats(
    logits: jax.Array, label: jax.Array, bucket: jax.Array, **settings: Any
) -> BucketStats:
    """Applies ``stats_from_probabilities`` to softmax(logits), computed in float32."""
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    return stats_from_probabilities(probabilities, label, bucket, **settings)


def confusion(
    logits: jax.Array,
    label: jax.Array,
    second_label: jax.Array,
    bucket: jax.Array,
    *,
    num_buckets: int,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Sums the probabilities of wrong classes over a batch, by bucket and by class.

    Args:
      logits: float [B, K].
      label: int32 [B].
      second_label: int32 [B], class mixed in, which is not wrong; ``label`` if there is none.
      bucket: int32 [B] in [0, num_buckets).
      num_buckets: number of buckets N.
      mask: float or bool [B], 0 for rows that do not count.

    Returns:
      float32 [N, K, K] with zeros on the diagonals.
    """
    num_classes = logits.shape[-1]
    named = jax.nn.one_hot(label, num_classes) + jax.nn.one_hot(second_label, num_classes)
    counted = named == 0 if mask is None else (named == 0) & (mask > 0)[:, None]
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    wrong = jnp.where(counted, probabilities, 0)  # padding may hold NaN
    sums = jax.ops.segment_sum(wrong, bucket * num_classes + label, num_buckets * num_classes)
    return sums.reshape(num_buckets, num_classes, num_classes)


def merge(a: BucketStats, b: BucketStats) -> BucketStats:
    """Adds the statistics of two sets of examples."""
    return jax.tree.map(jnp.add, a, b)


def carry(
    carried: CarriedStats,
    stats: BucketStats,
    visited_clean: BucketStats,
    clean: BucketStats,
    *,
    share: float,
) -> CarriedStats:
    """Adds the visits of an update to carried sums.

    Args:
      carried: sums before the update.
      stats: sums [N, R] over the visits of the update.
      visited_clean: sums [N, 1] over the same examples, unmoved.
      clean: sums [1, 1] over all held-out examples, unmoved.
      share: number of these visits, as a share of those of a full pass.
    """

    def add(sums: BucketStats, new: BucketStats, keep: float) -> BucketStats:
        return jax.tree.map(lambda old, more: keep * old + more, sums, new)

    return CarriedStats(
        recent=add(carried.recent, stats, KEEP),
        lasting=add(carried.lasting, stats, 1 - share),
        recent_clean=add(carried.recent_clean, visited_clean, KEEP),
        lasting_clean=add(carried.lasting_clean, visited_clean, 1 - share),
        clean=clean,
    )


def correction(
    read: Callable[[BucketStats], Array], visited_clean: BucketStats, clean: BucketStats
) -> Array:
    """Returns the control variate of visits, to be added to ``read`` of the moved examples.

    Args:
      read: ``accuracy``, ``confidence`` or ``gap``.
      visited_clean: sums [N, R] over the visiting examples, unmoved.
      clean: sums [1, R] over all held-out examples, unmoved.

    Returns:
      float32 [N]; 0 where a bucket has no visits, or if there are no unmoved examples.
    """
    change = read(clean) - read(visited_clean)
    return jnp.where(jnp.isnan(change), 0, change)


def ratio(numerator: A, count: Array) -> A:
    """Returns numerator / count, and NaN where count is 0; the shapes must broadcast."""
    xp = _namespace(numerator)
    return xp.where(count > 0, numerator / xp.where(count > 0, count, 1), xp.nan)


def count(stats: BucketStats) -> Array:
    """Returns the number of examples in each bucket [...]."""
    return stats.count.sum(-1)


def accuracy(stats: BucketStats) -> Array:
    """Returns the accuracy of each bucket as a fraction [...]; NaN if it is empty."""
    return ratio(stats.correct.sum(-1), count(stats))


def confidence(stats: BucketStats) -> Array:
    """Returns the mean top probability of each bucket [...]; NaN if it is empty."""
    return ratio(stats.confidence.sum(-1), count(stats))


def gap(stats: BucketStats) -> Array:
    """Returns confidence - accuracy of each bucket [...]; NaN if it is empty."""
    return confidence(stats) - accuracy(stats)


def ece(stats: BucketStats) -> Array:
    """Returns the expected calibration error of each bucket as a fraction [...]; NaN if empty.

    Σ_r |B_r|/m · |acc(B_r) - conf(B_r)|, Naeini et al. (2015); Guo et al. (2017), eq. 3.
    """
    return ece_of_gaps(stats.correct - stats.confidence, count(stats))


# What is written of each bucket, by name.
COLUMNS: dict[str, Callable[[BucketStats], Array]] = {
    "accuracy": accuracy,
    "confidence": confidence,
    "ece": ece,
    "count": count,
}


def ece_of_gaps(gap: A, total: Array) -> A:
    """Returns the ECE from the gap of each bin.

    Args:
      gap: [..., R], number of correct examples in the bin - sum of the confidences in it.
      total: [...], number of examples in all bins.
    """
    return ratio(_namespace(gap).abs(gap).sum(-1), total)


def debiased_ece(stats: BucketStats) -> jax.Array:
    """Returns the ECE of each bucket less its estimated bias, at least 0 [N]; NaN if empty.

    The gap g_r of a bin is known to about s_r, s_r² = conf_r (1 - conf_r) / n_r, and the mean
    of |N(g_r, s_r²)|, a folded normal, lies above |g_r|. That excess is taken as the bias:

      Σ_r n_r/m · (|g_r| - bias_r),  bias_r = s_r √(2/π) exp(-z²/2) - |g_r| erfc(z/√2),

    with z = |g_r| / s_r. It is the estimator that Kumar, Liang and Ma (2019), "Verified
    Uncertainty Calibration", simulate in their library (``normal_debiased_ce``), in closed form
    and with conf_r in place of acc_r in the variance: otherwise a bin with only correct or only
    wrong examples, such as any bin of one example, would have no variance. It removes at most
    about √2 - 1 of a calibrated model's ECE, because g_r itself differs from the truth by s_r.
    """
    gap = jnp.abs(stats.correct - stats.confidence)  # n_r |g_r|
    share = jnp.where(stats.count > 0, stats.confidence / jnp.maximum(stats.count, 1e-30), 0)
    sd = jnp.sqrt(stats.confidence * jnp.maximum(1 - share, 0))  # n_r s_r
    z = gap / jnp.where(sd > 0, sd, 1)
    folded = sd * jnp.sqrt(2 / jnp.pi) * jnp.exp(-(z**2) / 2) - gap * jax.lax.erfc(z / jnp.sqrt(2))
    bias = jnp.where(sd > 0, folded, 0)
    return jnp.maximum(ratio((gap - bias).sum(-1), count(stats)), 0)


def expected_calibration_error(
    probabilities: jax.Array,
    label: jax.Array,
    *,
    num_bins: int = NUM_BINS,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Returns the top-label ECE with equal-width bins as a fraction in [0, 1].

    Args:
      probabilities: float [B, K], rows sum to 1.
      label: int32 [B].
      num_bins: number of bins R, 15 in the literature.
      mask: float or bool [B], 0 for rows that do not count.

    Returns:
      float32 []; NaN without any example.
    """
    bucket = jnp.zeros_like(label)
    stats = stats_from_probabilities(
        probabilities, label, bucket, num_buckets=1, num_bins=num_bins, mask=mask
    )
    return ece(stats)[0]
