"""Compares AutoLabel without a temperature with two baselines that cost as little.

The baselines are one-hot labels with a temperature and the best constant smoothing. Both use the
same held-out images as AutoLabel, and neither uses the test set to choose anything.
"""

from collections.abc import Sequence

import numpy as np

from experiments.reporting import cells, label_names
from experiments.reporting.cells import Cell

METRICS = ("ece", "nll", "accuracy", "corrupted_ece", "corrupted_accuracy")
HELD_OUT = "calibration_nll"  # in the last line of metrics.jsonl, without a temperature


def baselines(block: Sequence[Cell]) -> list[tuple[str, Cell, str]]:
    """Returns (name, cell, suffix of its metrics) of each baseline that the block holds."""
    one_hot, (best, others) = cells.baseline(block), best_smoothing(block)
    rows = [] if one_hot is None else [("one_hot (TS)", one_hot, "_ts")]
    if best is not None:
        choices = f" (of {', '.join(label_names.smoothing(c.runs[0]) for c in others)})"
        rows.append((best.names["labels"] + (choices if len(others) > 1 else ""), best, ""))
    return rows


def best_smoothing(block: Sequence[Cell]) -> tuple[Cell | None, list[Cell]]:
    """Chooses the smoothing constant with the lowest mean held-out NLL over the common seeds.

    Returns:
      The best cell and all cells to choose from. The best is None if there is no smoothing cell,
      or if several have no common seed with that metric.
    """
    fixed = [cell for cell in block if cell.first["label_rule"] == "smoothing"]
    if len(fixed) < 2:
        return (fixed[0] if fixed else None), fixed
    losses = [_held_out(cell) for cell in fixed]
    seeds = sorted(set.intersection(*map(set, losses)))
    if not seeds:
        return None, fixed
    means = [np.mean([values[seed] for seed in seeds]) for values in losses]
    return fixed[int(np.argmin(means))], fixed


def _held_out(cell: Cell) -> dict[int, float]:
    by_seed = {run.result["seed"]: run.lines[-1].get(HELD_OUT) for run in cell.runs if run.lines}
    return {seed: value for seed, value in by_seed.items() if value is not None}


def difference(cell: Cell, baseline: Cell, suffix: str, metric: str) -> cells.Difference | None:
    """Returns cell without a temperature minus a baseline, which has one if the suffix is '_ts'.

    A temperature does not change accuracy, so accuracy is compared without the suffix.
    """
    suffix = "" if metric.endswith("accuracy") else suffix
    return cells.difference(cell, baseline, metric, metric + suffix)
