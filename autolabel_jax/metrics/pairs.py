"""Computes calibration errors, AUROC and AURC from the confidence of each example.

Confidence is the top probability, float [..., n]; correct is bool [..., n]; all functions work
along the last axis, so that one call handles many resamples. No result depends on the order of
the examples, because equal confidences are treated alike. Float32 probabilities within 6e-8 of 1
are equal, and very sharp models have many. NaN gives NaN. All is NumPy in float64.
"""

import math

import numpy as np

from autolabel_jax import calibration
from autolabel_jax.calibration import NUM_BINS
from autolabel_jax.types import Array, BucketStats


def bin_sums(
    bins: Array, confidence: Array, correct: Array, num_bins: int = NUM_BINS
) -> BucketStats:
    """Sums examples by their bins int [..., n]; the sums are float64 [..., R]."""
    rows = bins.reshape(math.prod(bins.shape[:-1]), bins.shape[-1])
    cell = (rows + num_bins * np.arange(len(rows))[:, None]).ravel()

    def sums(values=None):
        weights = None if values is None else np.asarray(values, np.float64).ravel()
        total = np.bincount(cell, weights, len(rows) * num_bins).astype(np.float64)
        return total.reshape(*bins.shape[:-1], num_bins)

    return BucketStats(count=sums(), correct=sums(correct), confidence=sums(confidence))


def ece(confidence: Array, correct: Array, num_bins: int = NUM_BINS) -> np.ndarray:
    """Computes top-label ECE with equal-width bins as ``calibration.ece``, in float64 [...]."""
    bins = calibration.bin_index(np.asarray(confidence), num_bins)
    return np.asarray(calibration.ece(bin_sums(bins, confidence, correct, num_bins)))


def ece_equal_mass(confidence: Array, correct: Array, num_bins: int = NUM_BINS) -> np.ndarray:
    """Computes top-label ECE with bins of equal counts (Nixon et al. 2019), float64 [...].

    The upper edge of bin r is the r/R quantile of the empirical distribution, the confidence
    at place ⌈r·n/R⌉ in ascending order; bins are right-closed. Without ties they hold n/R
    examples, rounded up or down; tied examples share a bin, and others may stay empty.
    """
    confidence = np.asarray(confidence)
    num = confidence.shape[-1]
    if num == 0:
        return np.full(confidence.shape[:-1], np.nan)
    place = -(-np.arange(1, num_bins) * num // num_bins) - 1
    edges = np.sort(confidence, axis=-1)[..., place]
    bins = sum(confidence > edges[..., r, None] for r in range(num_bins - 1))
    bins = np.broadcast_to(bins, confidence.shape).astype(np.int64)
    return np.asarray(calibration.ece(bin_sums(bins, confidence, correct, num_bins)))


def mce(sums: BucketStats) -> np.ndarray:
    """Computes the maximum calibration error, max_r |acc(B_r) - conf(B_r)|, float64 [...].

    It takes sums [..., R] and ignores empty bins; Naeini et al. (2015), Guo et al. (2017), eq. 5.
    """
    gap = calibration.ratio(np.abs(sums.correct - sums.confidence), sums.count)
    worst = np.where(sums.count > 0, gap, 0).max(-1)
    return np.where(sums.count.sum(-1) > 0, worst, np.nan)


def auroc(confidence: Array, correct: Array) -> np.ndarray:
    """Computes the area under the ROC curve of correctness by confidence, float64 [...].

    The score is the confidence and the positive class is *correct*: the probability that a
    correct example is more confident than a wrong one, a tie counting one half (Mann-Whitney).
    NaN where all examples are correct or all are wrong.
    """
    correct = np.asarray(correct, np.float64)
    right, wrong = correct.sum(-1), (1 - correct).sum(-1)
    ranks = _ranks(confidence, "average") if correct.shape[-1] else correct
    wins = (ranks * correct).sum(-1) - right * (right + 1) / 2
    return np.asarray(calibration.ratio(wins, right * wrong))


def aurc(confidence: Array, correct: Array) -> np.ndarray:
    """Computes the area under the risk-coverage curve, float64 [...]; lower is better.

    The mean over the n examples of the error rate among those at least as confident: the
    selective risk (Geifman & El-Yaniv 2017) at n thresholds (Geifman et al. 2019, sec. 2).
    Tied examples are kept or refused together, and share one threshold.
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct, bool)
    if confidence.shape[-1] == 0:
        return np.full(confidence.shape[:-1], np.nan)
    unknown = np.isnan(confidence)
    score = -np.where(unknown, 0, confidence)
    wrong = np.take_along_axis(~correct, np.argsort(score, axis=-1), axis=-1)
    kept = _ranks(score, "max").astype(np.int64)
    errors = np.take_along_axis(np.cumsum(wrong, axis=-1), kept - 1, axis=-1)
    return np.where(unknown.any(-1), np.nan, np.mean(errors / kept, axis=-1))


def _ranks(values: Array, method: str) -> np.ndarray:
    """Ranks along the last axis from 1; ``method`` says which rank tied values share."""
    from scipy import stats  # slow to import

    return stats.rankdata(np.asarray(values), method=method, axis=-1)
