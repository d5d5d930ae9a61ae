"""Summarises how AutoLabel's labels changed in each third of training, from ``metrics.jsonl``.

The values show whether labels were low early, oscillated, or reached the clip; see
docs/results/remedies.md.
"""

import numpy as np
import pandas as pd

from experiments.reporting import methods
from experiments.reporting.run_files import CURVES, RunRecord

THIRDS = 3
EQUAL = 1e-6  # labels and accuracies are written as float32
CLIP = "at the clip"


def courses(frame: pd.DataFrame) -> pd.DataFrame:
    """Averages over buckets and seeds in each third of the epochs, 'of them', of each cell.

    Only cells count of which every run uses AutoLabel and has all curves for three epochs or more.
    ``at the clip`` is NaN with momentum, where the clip is the accuracy of averaged sums, which is
    not logged.
    """
    by_cell = frame.groupby("cell")["record"]
    kept = {cell: pd.concat(map(_by_third, runs)) for cell, runs in by_cell if all(map(_has, runs))}
    means = {cell: own.groupby(level=0, sort=False).mean() for cell, own in kept.items()}
    return pd.concat(means, names=["cell", "of them"]) if means else pd.DataFrame()


def _has(run: RunRecord) -> bool:
    return (
        run.result["label_rule"] == "autolabel"
        and len(run.lines) >= THIRDS
        and all(name in line for line in run.lines for name in CURVES)
        and len({len(line[name]) for line in run.lines for name in CURVES}) == 1
    )


def _by_third(run: RunRecord) -> pd.DataFrame:
    parts = np.array_split(np.arange(1, len(run.lines) + 1), THIRDS)
    thirds = [f"{part[0]}-{part[-1]}" for part in parts for _ in part]
    curves = pd.DataFrame([[line[name] for name in CURVES] for line in run.lines], columns=CURVES)
    long = curves.assign(third=thirds).explode(list(CURVES)).reset_index(drop=True)
    bucket = long.index % len(run.lines[0][CURVES[0]])
    label, accuracy, confidence, ece = (long[name].astype(float) for name in CURVES)
    gap = confidence - accuracy
    turn = gap * gap.groupby(bucket).shift()
    settings = methods.DEFAULTS | run.config
    averaged = settings["labels.momentum"] > 0 or not settings["calibration.exact"]
    clipped = ((label - accuracy).abs() <= EQUAL) & (label < 1 - EQUAL)
    values = pd.DataFrame(
        {
            "mean label": label,
            "lowest bucket": label.groupby([long["third"], bucket]).transform("mean"),
            "mean change": label.groupby(bucket).diff().abs(),
            "sign turns": (turn < 0).astype(float).where(turn.notna()),
            CLIP: clipped.astype(float).where(accuracy.notna() & (not averaged)),
            "at 1": (label >= 1 - EQUAL).astype(float),
            "gap": gap.abs(),
            "ECE less gap": ece - gap.abs(),
        }
    ).groupby(long["third"], sort=False)
    return values.mean().assign(**{"lowest bucket": values["lowest bucket"].min()})
