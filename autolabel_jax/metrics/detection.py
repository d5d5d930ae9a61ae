"""Measures how well a score of the logits tells inputs of another data set from test inputs.

As in OpenOOD 1.5 (Zhang et al. 2023), the *other* data are the positive class: an input is
called positive where its score is at most a threshold. All is NumPy in float64, and no result
depends on the order of the examples, because equal scores are on the same side of any threshold.
"""

from typing import NamedTuple

import numpy as np

from autolabel_jax import calibration
from autolabel_jax.types import Array

TPR = 0.95  # share of the other data that is found, at which the false positives are counted
CHUNK_ELEMENTS = 2**22  # most counts in memory at once


class Detection(NamedTuple):
    """AUROC and FPR@95 of one score, each float64 [S], of S resamples."""

    auroc: np.ndarray
    fpr95: np.ndarray


def scores(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Computes scores, which are high for inputs like those of training, float64 [n] each.

    - confidence: the maximum probability (Hendrycks & Gimpel 2017).
    - entropy: that of the probabilities, with its sign changed.
    - energy: logsumexp of the logits, the negative free energy (Liu et al. 2020).

    Args:
      logits: float [n, K].
    """
    from scipy import special  # slow to import

    logits = np.asarray(logits, np.float64)
    probability = special.softmax(logits, axis=-1)
    return {
        "confidence": probability.max(-1),
        "entropy": -special.entr(probability).sum(-1),
        "energy": special.logsumexp(logits, axis=-1),
    }


def detect(
    inside: np.ndarray,
    outside: np.ndarray,
    counts: tuple[Array, Array] | None = None,
) -> Detection:
    """Computes the AUROC and the false-positive rate at a true-positive rate of TPR.

    The AUROC is the probability that a test input has a higher score than an input of the other
    data, a tie counting one half. FPR@95 is the share of the test inputs with scores up to the
    lowest one that calls at least TPR of the other data positive.

    Args:
      inside: scores of the test inputs, float [n].
      outside: scores of the other data, float [m].
      counts: how often each input is in each resample, [S, n] and [S, m]; None for the inputs
        themselves, S = 1.

    Returns:
      Arrays [S]; NaN where a side is empty or a score is NaN.
    """
    sides = [np.asarray(side, np.float64) for side in (inside, outside)]
    counts = counts or (np.ones((1, len(inside))), np.ones((1, len(outside))))
    num = len(counts[0])
    if not all(map(len, sides)) or any(np.isnan(side).any() for side in sides):
        return Detection(np.full(num, np.nan), np.full(num, np.nan))
    values = np.unique(np.concatenate(sides))
    step, parts = max(1, CHUNK_ELEMENTS // len(values)), []
    for i in range(0, num, step):
        shares = [
            _shares(side, values, count[i : i + step])
            for side, count in zip(sides, counts, strict=True)
        ]
        parts.append(_of_shares(*shares))
    return Detection(*map(np.concatenate, zip(*parts, strict=True)))


def _shares(scores: np.ndarray, values: np.ndarray, counts: Array) -> np.ndarray:
    """Returns the share of the scores [n] up to each of the values [U], float64 [S, U]."""
    order = np.argsort(scores)
    before = np.pad(np.cumsum(counts[:, order], axis=-1, dtype=np.float64), ((0, 0), (1, 0)))
    below = before[:, np.searchsorted(scores[order], values, side="right")]
    return np.asarray(calibration.ratio(below, before[:, -1:]))


def _of_shares(false: np.ndarray, true: np.ndarray) -> Detection:
    """Returns both metrics of the rates [S, U] at thresholds that increase."""
    gained, other = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
    auroc = (gained * (1 - false + other / 2)).sum(-1)
    first = np.argmax(true >= TPR, axis=-1)
    return Detection(auroc, np.take_along_axis(false, first[:, None], axis=-1)[:, 0])
