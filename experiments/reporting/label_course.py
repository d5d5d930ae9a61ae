"""Summarises how AutoLabel's labels changed in each third of training, from ``metrics.jsonl``.

The values show whether labels were low early, oscillated, or reached the clip; see
docs/results/remedies.md.
"""

import math

import numpy as np

from experiments.reporting.cells import Cell
from experiments.reporting.run_files import DEFAULTS, RunRecord

THIRDS = 3
CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")
EQUAL = 1e-6  # labels and accuracies are written as float32
CLIP = "at the clip"
COLUMNS = ("mean label", "lowest bucket", "mean change", "sign turns", CLIP, "at 1")
COLUMNS += ("gap", "ECE less gap")


def has_course(cell: Cell) -> bool:
    """Whether every run of the cell uses AutoLabel and has all curves for three epochs or more."""
    return all(
        run.result["label_rule"] == "autolabel"
        and len(run.lines) >= THIRDS
        and all(name in line for line in run.lines for name in CURVES)
        for run in cell.runs
    )


def course(cell: Cell) -> list[tuple[str, dict[str, float | None]]]:
    """Averages over buckets and seeds in each third of the epochs.

    Returns:
      ('1-20', value by header) per third. A value is None if no run has it. ``at the clip`` is
      also None with momentum, where the clip is the accuracy of averaged sums, which is not logged.
    """
    thirds = np.array_split(np.arange(len(cell.runs[0].lines)), THIRDS)
    runs = [_means_by_third(run, thirds) for run in cell.runs]
    return [
        (
            f"{epochs[0] + 1}-{epochs[-1] + 1}",
            {name: _mean(np.array([run[i][name] for run in runs])) for name in COLUMNS},
        )
        for i, epochs in enumerate(thirds)
    ]


def _means_by_third(run: RunRecord, thirds: list[np.ndarray]) -> list[dict[str, float]]:
    label, accuracy, confidence, ece = (_curve(run, name) for name in CURVES)
    gap = confidence - accuracy
    clipped = (np.abs(label - accuracy) <= EQUAL) & (label < 1 - EQUAL)
    averaged = run.config.get("labels.momentum", DEFAULTS["labels.momentum"]) > 0
    parts = {
        "mean label": label,
        "mean change": _from_second(np.abs(np.diff(label, axis=0))),
        "sign turns": _from_second(_where_known(gap[1:] * gap[:-1] < 0, gap[1:] * gap[:-1])),
        CLIP: np.full_like(gap, np.nan) if averaged else _where_known(clipped, accuracy),
        "at 1": label >= 1 - EQUAL,
        "gap": np.abs(gap),
        "ECE less gap": ece - np.abs(gap),
    }
    return [
        {
            **{name: _mean(values[third], missing=math.nan) for name, values in parts.items()},
            "lowest bucket": label[third].mean(0).min(),
        }
        for third in thirds
    ]


def _curve(run: RunRecord, name: str) -> np.ndarray:
    """Returns float [epochs, buckets]; NaN if a bucket was empty."""
    rows = [[np.nan if value is None else value for value in line[name]] for line in run.lines]
    return np.array(rows, np.float64)


def _where_known(is_so: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, is_so)


def _from_second(values: np.ndarray) -> np.ndarray:
    """Pads [epochs - 1, buckets] to [epochs, buckets]: the first epoch has no change."""
    return np.concatenate([np.full_like(values[:1], np.nan), values])


def _mean(values: np.ndarray, missing: float | None = None) -> float | None:
    """Returns the mean of the values that are not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else missing
