"""Computes confidence intervals by resampling examples, and bands for reliability diagrams.

This is the percentile method of Efron & Tibshirani (1993), ch. 13. An interval shows how much a
metric of this trained model varies between test sets of this size; it does not include the
variation between training seeds.

Calibration errors are sums of absolute values, so resampling biases them upwards as sampling
does: their intervals lie high, and may not contain an estimate near 0.
"""

from collections.abc import Callable, Sequence

import numpy as np
from flax import struct

from autolabel_jax import calibration
from autolabel_jax.calibration import NUM_BINS
from autolabel_jax.metrics import Examples, pairs
from autolabel_jax.types import Array

# Number of resampled values in memory at once, for each column.
CHUNK_ELEMENTS = 2**21


def interval(
    statistic: Callable[..., np.ndarray],
    columns: Sequence[Array],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 1000,
) -> np.ndarray:
    """Computes the percentile interval of any statistic of a set of examples.

    Args:
      statistic: takes one array [C, n] for each column, C resamples of the n examples, and
        returns [C, ...]: ``lambda x: x.mean(-1)``, ``pairs.auroc``.
      columns: arrays [n], whose rows are resampled together.
      seed: seed of the resampling; the draws equal those of ``scipy.stats.bootstrap``, paired.
      level: share of the resamples inside, in (0, 1).
      resamples: number of resamples.

    Returns:
      float64 [2, ...], low and high. Resamples where the statistic is NaN (an AUROC without
      wrong examples) are left out; NaN where it is NaN in all.

    Raises:
      ValueError: there is no example, columns differ in length, or settings are out of range.
    """
    columns = _checked(columns, level, resamples)
    return _quantiles(_resampled(statistic, columns, seed, resamples), level)


def _checked(columns, level, resamples):
    columns = [np.asarray(column) for column in columns]
    if len({len(column) for column in columns}) != 1 or len(columns[0]) == 0:
        raise ValueError(
            f"columns: got lengths {[len(column) for column in columns]}; "
            "expected equal lengths of 1 or more"
        )
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, must be inside (0, 1), such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples: got {resamples}, must be 1 or more, such as 1000")
    return columns


def _resampled(statistic, columns, seed, resamples):
    """Computes the statistic of each resample, [S, ...]."""
    rng, num = np.random.default_rng(seed), len(columns[0])
    step, parts = max(1, CHUNK_ELEMENTS // num), []
    for start in range(0, resamples, step):
        chosen = rng.integers(0, num, (min(step, resamples - start), num))
        parts.append(statistic(*(column[chosen] for column in columns)))
    return np.concatenate(parts)


def _quantiles(values, level):
    """Returns low and high quantile over the first axis, without NaN, float64 [2, ...]."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values).all(0)
    quantiles = np.full((2, *values.shape[1:]), np.nan)
    ends = [(1 - level) / 2, (1 + level) / 2]
    quantiles[:, known] = np.nanquantile(values[:, known], ends, axis=0)
    return quantiles


def intervals(
    examples: Examples, *, seed: int, level: float = 0.95, resamples: int = 1000
) -> dict[str, tuple[float, float]]:
    """Computes (low, high) of the metrics of ``metrics.compute``, from the same resamples.

    Class-wise ECE is left out: it needs the probabilities of all classes of every example.
    """
    names = ("accuracy", "ece", "ece_equal_mass", "mce", "nll", "brier", "auroc", "aurc")

    def numbers(confidence, correct, nll, brier):
        sums = pairs.bin_sums(calibration.bin_index(confidence), confidence, correct)
        values = (
            correct.mean(-1),
            pairs.ece(confidence, correct),
            pairs.ece_equal_mass(confidence, correct),
            pairs.mce(sums),
            nll.mean(-1, dtype=np.float64),
            brier.mean(-1, dtype=np.float64),
            pairs.auroc(confidence, correct),
            pairs.aurc(confidence, correct),
        )
        return np.stack(values, -1)

    columns = (examples.confidence, examples.correct, examples.nll, examples.brier)
    low, high = interval(numbers, columns, seed=seed, level=level, resamples=resamples)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def resample_counts(num: int, *, seed: int = 0, resamples: int = 1000) -> np.ndarray:
    """Counts each example in each resample, float32 [S, n], with the draws of ``interval``.

    With the same counts, sets of the same images are resampled together.
    """
    rng, parts, step = np.random.default_rng(seed), [], max(1, CHUNK_ELEMENTS // num)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        cell = rng.integers(0, num, (rows, num)) + num * np.arange(rows)[:, None]
        counts = np.bincount(cell.ravel(), minlength=rows * num).astype(np.float32)
        parts.append(counts.reshape(rows, num))
    return np.concatenate(parts)


def headline_resamples(examples: Examples, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Computes ``metrics.headline`` of each resample, float32 [S] each, by a matrix product.

    All of these metrics depend only on sums over examples (ECE on the gap in each bin), so
    resampling is a product of the counts with the rows.

    Args:
      examples: n rows.
      counts: from ``resample_counts``.
    """
    num = len(examples.correct)
    rows = np.zeros((num, NUM_BINS + 3), np.float32)
    rows[np.arange(num), calibration.bin_index(examples.confidence)] = (
        examples.correct - examples.confidence
    )
    rows[:, NUM_BINS:] = np.stack([examples.correct, examples.nll, examples.brier], -1)
    means = counts @ rows / num
    ece = calibration.ece_of_gaps(means[:, :NUM_BINS], np.ones((), np.float32))
    accuracy, nll, brier = means[:, NUM_BINS:].T
    return {"accuracy": accuracy, "ece": np.asarray(ece), "nll": nll, "brier": brier}


def percentiles(values: np.ndarray, level: float = 0.95) -> list[float]:
    """Returns [low, high] that contain ``level`` of the resampled values [S]."""
    return [float(end) for end in _quantiles(values, level)]


def share_interval(correct: int, num: int, level: float = 0.95) -> list[float]:
    """Computes [low, high] of the share ``correct / num``.

    The sum of resampled zeros and ones is binomial, so the quantiles need no drawing.
    """
    from scipy import stats  # slow to import

    ends = stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], num, correct / num)
    return [float(end) for end in ends / num]


class Reliability(struct.PyTreeNode):
    """A reliability diagram with one row per bin; NaN where a bin is empty."""

    count: np.ndarray  # float64 [R]
    accuracy: np.ndarray  # float64 [R]
    confidence: np.ndarray  # float64 [R], mean of the bin
    low: np.ndarray  # float64 [R], lower end of the band of accuracy
    high: np.ndarray  # float64 [R]


def reliability(
    confidence: np.ndarray,
    correct: np.ndarray,
    *,
    seed: int,
    num_bins: int = NUM_BINS,
    level: float = 0.95,
    resamples: int = 1000,
) -> Reliability:
    """Computes accuracy and confidence by equal-width bin, with a bootstrap band of accuracy.

    The band has ``level`` in each bin separately, not over all bins together. It is too narrow in
    bins of one or two examples or without wrong ones, so plot the counts beside it.

    Args:
      confidence: float [n], top probabilities.
      correct: bool [n].
      seed: seed of the resampling.
      num_bins: R.
      level: share of the resamples inside, in (0, 1).
      resamples: number of resamples.

    Raises:
      ValueError: as ``interval``.
    """
    bins = calibration.bin_index(np.asarray(confidence), num_bins)

    def accuracy(bins, correct):
        sums = pairs.bin_sums(bins, correct, correct, num_bins)
        return calibration.ratio(sums.correct, sums.count)

    band = interval(accuracy, (bins, correct), seed=seed, level=level, resamples=resamples)
    sums = pairs.bin_sums(bins, np.asarray(confidence), np.asarray(correct), num_bins)
    return Reliability(
        count=np.asarray(sums.count),
        accuracy=np.asarray(calibration.ratio(sums.correct, sums.count)),
        confidence=np.asarray(calibration.ratio(sums.confidence, sums.count)),
        low=band[0],
        high=band[1],
    )
