"""The comparison that decides: AutoLabel alone against what costs a practitioner as little.

That is one-hot labels with a temperature, and the best constant smoothing; both may use the
held-out images that AutoLabel uses, and neither sees the test set before it is judged by it.
"""

from collections.abc import Sequence

import numpy as np

from experiments.reporting import cells, label_names
from experiments.reporting.cells import Cell

METRICS = ("ece", "nll", "accuracy", "corrupted_ece", "corrupted_accuracy")
HELD_OUT = "calibration_nll"  # in the last line of metrics.jsonl, without a temperature


def rivals(block: Sequence[Cell]) -> list[tuple[str, Cell, str]]:
    """(What it is called, its cell, the ending of its figures) for both; those that are there."""
    one_hot, (best, others) = cells.baseline(block), best_smoothing(block)
    found = [] if one_hot is None else [("one_hot (TS)", one_hot, "_ts")]
    if best is not None:
        known = f" (of {', '.join(label_names.smoothing(c.runs[0]) for c in others)})"
        found.append((best.names["labels"] + (known if len(others) > 1 else ""), best, ""))
    return found


def best_smoothing(block: Sequence[Cell]) -> tuple[Cell | None, list[Cell]]:
    """The constant with the lowest mean held-out NLL, of seeds common to all, and all of them.

    None where there is no constant, or where several have no common seed with that figure.
    """
    fixed = [cell for cell in block if cell.first["label_rule"] == "smoothing"]
    if len(fixed) < 2:
        return (fixed[0] if fixed else None), fixed
    figures = [_held_out(cell) for cell in fixed]
    seeds = sorted(set.intersection(*map(set, figures)))
    if not seeds:
        return None, fixed
    means = [np.mean([values[seed] for seed in seeds]) for values in figures]
    return fixed[int(np.argmin(means))], fixed


def _held_out(cell: Cell) -> dict[int, float]:
    found = {run.result["seed"]: run.lines[-1].get(HELD_OUT) for run in cell.runs if run.lines}
    return {seed: value for seed, value in found.items() if value is not None}


def difference(cell: Cell, rival: Cell, ending: str, metric: str) -> cells.Difference | None:
    """Cell without a temperature minus a rival, which has one where the ending is '_ts'.

    A temperature moves no accuracy, so that of the rival is as it is.
    """
    ending = "" if metric.endswith("accuracy") else ending
    return cells.difference(cell, rival, metric, metric + ending)
