"""Computes accuracy, calibration errors, NLL, Brier score, AUROC and AURC batch by batch.

    state = empty(num_classes)
    state = update(state, logits, label)     once for each batch, or merge(state, other)
    values = compute(state)

Any split into batches gives the same metrics. Softmax is computed in float32 on the device.
Sums are kept in float64 on the host, so that they stay exact enough over many batches.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax import calibration, losses
from autolabel_jax.metrics import pairs
from autolabel_jax.types import Array, BucketStats

NAMES = (
    "accuracy",
    "ece",
    "ece_equal_mass",
    "ece_class_wise",
    "mce",
    "nll",
    "brier",
    "auroc",
    "aurc",
)

HEADLINE = ("accuracy", "ece", "nll", "brier")  # reported for every set in every table

# Number of probabilities on the device at once, and of rows that are summed there in float32;
# longer float32 sums would have errors in the sixth digit.
CHUNK_ELEMENTS, CHUNK_ROWS = 2**22, 64
CHUNKS_WAITING = 64  # number of chunks whose sums by class and bin are in memory at once


class Sums(struct.PyTreeNode):
    """Sums for accuracy, ECE, MCE, class-wise ECE, NLL and Brier; they merge by addition."""

    top: BucketStats  # float64 [1, R], by bin of the top probability
    class_gap: np.ndarray  # float64 [K, R], Σ p_k - [label = k], by class and bin of p_k
    nll: np.ndarray  # float64 []
    brier: np.ndarray  # float64 []


class Examples(struct.PyTreeNode):
    """One row per example; rows merge by concatenation.

    Equal-mass ECE, AUROC and AURC need all confidences at once, and intervals need all rows.
    """

    confidence: Array  # float32 [n], top probability
    correct: Array  # bool [n]
    nll: Array  # float32 [n]
    brier: Array  # float32 [n]


class Metrics(struct.PyTreeNode):
    """State of the metrics: what ``compute`` needs of the examples seen so far."""

    sums: Sums
    examples: Examples


def empty(num_classes: int, num_bins: int = calibration.NUM_BINS) -> Metrics:
    """Returns the state before any example."""
    bins = np.zeros((1, num_bins))
    gap, zero, none = np.zeros((num_classes, num_bins)), np.zeros(()), np.zeros(0, np.float32)
    top = BucketStats(count=bins, correct=bins, confidence=bins)
    examples = Examples(confidence=none, correct=np.zeros(0, bool), nll=none, brier=none)
    return Metrics(sums=Sums(top=top, class_gap=gap, nll=zero, brier=zero), examples=examples)


def _rows(logits, label):
    """Returns (Examples [B], probabilities [B, K], p_k - [label = k] [B, K])."""
    logits = logits.astype(jnp.float32)
    probabilities = jax.nn.softmax(logits, axis=-1)
    residual = probabilities.at[jnp.arange(len(logits)), label].add(-1)
    examples = Examples(
        confidence=jnp.max(probabilities, axis=-1),
        correct=calibration.top_class(logits) == label,
        nll=losses.integer_cross_entropy(logits, label),
        brier=jnp.sum(residual**2, axis=-1),
    )
    return examples, probabilities, residual


@functools.partial(jax.jit, static_argnames="num_bins")
def _chunk(logits, label, mask, *, num_bins):
    """Returns (Examples [B], float32 [K, R] sums of p_k - [label = k] over rows of mask 1)."""
    num_classes = logits.shape[1]
    examples, probabilities, residual = _rows(logits, label)
    cell = calibration.bin_index(probabilities, num_bins)
    cell = cell + num_bins * jnp.arange(num_classes)
    counted = jnp.where(mask[:, None], residual, 0)
    gap = jax.ops.segment_sum(counted.ravel(), cell.ravel(), num_classes * num_bins)
    return examples, gap.reshape(num_classes, num_bins)


def update(
    state: Metrics, logits: np.ndarray, label: np.ndarray, mask: np.ndarray | None = None
) -> Metrics:
    """Adds a batch; memory on the device is bounded for any B and K.

    Args:
      state: state for K classes.
      logits: float [B, K].
      label: int [B] in [0, K).
      mask: float or bool [B], 0 for rows that do not count.

    Raises:
      ValueError: the shapes do not match, or labels lie outside [0, K).
    """
    logits, label = np.asarray(logits), np.asarray(label)
    num_classes, num_bins = state.sums.class_gap.shape
    if logits.ndim != 2 or logits.shape != (len(label), num_classes) or label.ndim != 1:
        raise ValueError(
            f"logits: got shape {logits.shape} with labels {label.shape}; "
            f"expected [B, {num_classes}] and [B]"
        )
    if len(label) and not (label.min() >= 0 and label.max() < num_classes):
        raise ValueError(
            f"label: got {label.min()} to {label.max()}; expected 0 to {num_classes - 1}, "
            "the columns of the logits"
        )
    if mask is not None:
        keep = np.asarray(mask) > 0
        logits, label = logits[keep], label[keep]
    rows = max(1, min(CHUNK_ROWS, CHUNK_ELEMENTS // num_classes))
    batch = empty(num_classes, num_bins)
    gap, parts = batch.sums.class_gap, [batch.examples]
    waiting = []  # results not fetched yet, so that the device is never idle
    for start in range(0, len(label), rows):
        num = min(rows, len(label) - start)
        chunk = _chunk(
            np.pad(logits[start : start + num], ((0, rows - num), (0, 0))),
            np.pad(label[start : start + num].astype(np.int32), (0, rows - num)),
            np.arange(rows) < num,
            num_bins=num_bins,
        )
        waiting.append((num, chunk))
        if len(waiting) == CHUNKS_WAITING or start + rows >= len(label):
            for num, (part, chunk_gap) in jax.device_get(waiting):
                gap += chunk_gap
                parts.append(jax.tree.map(lambda column, num=num: column[:num], part))
            waiting = []
    return merge(state, _batch(_joined(*parts), gap))


def _batch(examples, gap):
    num_bins = gap.shape[1]
    bins = calibration.bin_index(examples.confidence, num_bins)
    sums = Sums(
        top=pairs.bin_sums(bins[None], examples.confidence, examples.correct, num_bins),
        class_gap=gap,
        nll=examples.nll.sum(dtype=np.float64),
        brier=examples.brier.sum(dtype=np.float64),
    )
    return Metrics(sums=sums, examples=examples)


def _joined(*parts):
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def merge(a: Metrics, b: Metrics) -> Metrics:
    """Merges the states of two sets of examples."""
    return Metrics(
        sums=jax.tree.map(np.add, a.sums, b.sums),
        examples=_joined(a.examples, b.examples),
    )


def compute(state: Metrics) -> dict[str, float]:
    """Computes the metrics of ``NAMES``: fractions, and NLL in nats; NaN without examples.

    - accuracy; ece: ``calibration.ece``, equal-width bins, top label.
    - ece_equal_mass, auroc (positive = correct; NaN where all are correct or all wrong), aurc,
      mce: see ``pairs``.
    - ece_class_wise: (1/K) Σ_k Σ_r |B_kr|/n · |freq(label = k) - mean(p_k)|, where B_kr holds
      the examples whose p_k lies in equal-width bin r, with no threshold on p_k. Kull et al.
      (2019), "Beyond temperature scaling", sec. 2; static calibration error of Nixon et al.
      (2019). It is at most 2/K: small where there are many classes, whatever the model.
    - nll: mean -log p_label. brier: mean Σ_k (p_k - [label = k])² (Brier 1950), in [0, 2].
    """
    sums, rows = state.sums, state.examples
    count = float(sums.top.count.sum())
    num_classes = sums.class_gap.shape[0]

    gap = sums.top.correct - sums.top.confidence

    def mean(total):
        return total / count if count else np.nan

    values = {
        "accuracy": mean(sums.top.correct.sum()),
        # In float32, as in all earlier results.
        "ece": calibration.ece_of_gaps(jnp.asarray(gap), calibration.count(sums.top))[0],
        "ece_equal_mass": pairs.ece_equal_mass(
            rows.confidence, rows.correct, sums.class_gap.shape[1]
        ),
        "ece_class_wise": mean(np.abs(sums.class_gap).sum() / num_classes),
        "mce": pairs.mce(sums.top)[0],
        "nll": mean(sums.nll),
        "brier": mean(sums.brier),
        "auroc": pairs.auroc(rows.confidence, rows.correct),
        "aurc": pairs.aurc(rows.confidence, rows.correct),
    }
    return {name: float(values[name]) for name in NAMES}


def from_logits(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """``compute`` of all examples at once: logits float [n, K], label int [n]."""
    return compute(update(empty(np.shape(logits)[-1]), logits, label))


_examples = jax.jit(lambda logits, label: _rows(logits, label)[0])


def examples(logits: np.ndarray, label: np.ndarray) -> Examples:
    """Computes only the rows, for ``headline`` and for intervals, in few calls of the device.

    Args:
      logits: float [n, K].
      label: int [n] in [0, K).
    """
    logits, label = np.asarray(logits, np.float32), np.asarray(label, np.int32)
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    starts = range(0, len(label), rows)
    parts = [_examples(logits[i : i + rows], label[i : i + rows]) for i in starts]
    return _joined(*jax.device_get(parts))


def headline(rows: Examples) -> dict[str, float]:
    """Computes the metrics of ``HEADLINE``, which need only the rows."""
    return {
        "accuracy": float(rows.correct.mean()),
        "ece": float(pairs.ece(rows.confidence, rows.correct)),
        "nll": float(rows.nll.mean(dtype=np.float64)),
        "brier": float(rows.brier.mean(dtype=np.float64)),
    }
