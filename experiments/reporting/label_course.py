"""How AutoLabel's labels moved, from ``metrics.jsonl``: in each third of training.

The figures tell whether labels were low early, swung, or met the clip; docs/studies.md.
"""

import math

import numpy as np

from experiments.reporting.cells import Cell
from experiments.reporting.run_files import DEFAULTS, Run

THIRDS = 3
CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")
EQUAL = 1e-6  # labels and accuracies are written as float32
CLIP = "at the clip"
FIGURES = ("mean label", "lowest bucket", "mean change", "sign turns", CLIP, "at 1")
FIGURES += ("gap", "ECE less gap")


def has_course(cell: Cell) -> bool:
    """Whether every run of the cell is AutoLabel's and has lines of all curves, three or more."""
    return all(
        run.result["label_rule"] == "autolabel"
        and len(run.lines) >= THIRDS
        and all(name in line for line in run.lines for name in CURVES)
        for run in cell.runs
    )


def course(cell: Cell) -> list[tuple[str, dict[str, float | None]]]:
    """('1-20', figure by header) of each third of the epochs: means over buckets and seeds.

    None where no run has the figure; ``at the clip`` also with momentum, where the clip is at
    the accuracy of averaged sums, which is not written.
    """
    thirds = np.array_split(np.arange(len(cell.runs[0].lines)), THIRDS)
    runs = [_figures(run, thirds) for run in cell.runs]
    return [
        (
            f"{epochs[0] + 1}-{epochs[-1] + 1}",
            {name: _mean(np.array([run[i][name] for run in runs])) for name in FIGURES},
        )
        for i, epochs in enumerate(thirds)
    ]


def _figures(run: Run, thirds: list[np.ndarray]) -> list[dict[str, float]]:
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


def _curve(run: Run, name: str) -> np.ndarray:
    """float [T, N]; NaN where a bucket was empty."""
    rows = [[np.nan if value is None else value for value in line[name]] for line in run.lines]
    return np.array(rows, np.float64)


def _where_known(is_so: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, is_so)


def _from_second(values: np.ndarray) -> np.ndarray:
    """[T - 1, N] → [T, N]: the first epoch has none before it."""
    return np.concatenate([np.full_like(values[:1], np.nan), values])


def _mean(values: np.ndarray, missing: float | None = None) -> float | None:
    """Of what is not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else missing
