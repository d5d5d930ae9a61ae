"""Groups runs into cells of a table, one per setting, and compares cells seed by seed."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.reporting import label_names, methods, published, run_files
from experiments.reporting.run_files import RunRecord

LEVEL = 0.95  # confidence level of intervals
SIGNIFICANT = 0.05
MIN_SEEDS = 3  # that a t test needs


@dataclasses.dataclass(frozen=True)
class Cell:
    """Runs that differ only in the seed.

    Attributes:
      runs: ordered by seed.
      varied: the settings that distinguish it from cells that would otherwise look the same.
    """

    runs: tuple[RunRecord, ...]
    varied: str = ""

    @property
    def first(self) -> dict[str, Any]:
        """The result of the first seed, for what all seeds share."""
        return self.runs[0].result

    @property
    def names(self) -> dict[str, Any]:
        """Data set, model, augmentation, labels, training images and epochs."""
        return {
            "dataset": self.first["dataset"],
            "model": run_files.model_name(self.runs[0].config),
            "augmentation": methods.title("augment.name", self.first["augmentation"]),
            "labels": label_names.name(self.runs[0]),
            "train_examples": self.first.get("train_examples", ""),
            "epochs": self.first["epochs"],
        }

    @property
    def label(self) -> str:
        """The row's name in tables."""
        return self.names["labels"] + (f", {self.varied}" if self.varied else "")

    @property
    def published(self) -> published.Published | None:
        """The published row to print beside the cell; None if there is none."""
        return published.beside(self.runs[0].config, self.names["model"])

    def values(self, metric: str) -> dict[int, float]:
        """Returns the metric by seed, of the runs that have it."""
        by_seed = {run.result["seed"]: run.result.get(metric) for run in self.runs}
        return {seed: value for seed, value in by_seed.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, with the sample standard deviation; None if n is 1."""

    mean: float
    sd: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over n common seeds, with its interval; None if n is 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


def make(runs: Sequence[RunRecord]) -> list[list[Cell]]:
    """Groups runs into blocks of cells; label rules may be compared within a block.

    Blocks of one data set, model and number of images are adjacent, in the order of
    ``augment.TABLE``; cells have the order of ``label_names``.

    Raises:
      ValueError: two runs of one cell have the same seed.
    """
    blocks: dict[str, dict[str, list[RunRecord]]] = {}
    for run in runs:
        block = blocks.setdefault(_key(run_files.block(run)), {})
        block.setdefault(_key(run_files.settings(run)), []).append(run)
    cells = [[_cell(same) for same in block.values()] for block in blocks.values()]
    cells = _in_order([sorted(b, key=lambda c: label_names.order(c.runs[0])) for b in cells])
    flat = [cell for block in cells for cell in block]
    return [[_name_what_varies(cell, flat) for cell in block] for block in cells]


def _in_order(blocks: Sequence[list[Cell]]) -> list[list[Cell]]:
    def budget(block: list[Cell]) -> tuple:
        return tuple(block[0].names[f] for f in ("dataset", "model", "train_examples"))

    def method(block: list[Cell]) -> int:
        return methods.rank("augment.name", block[0].first["augmentation"])

    budgets = list(dict.fromkeys(map(budget, blocks)))
    return sorted(blocks, key=lambda block: (budgets.index(budget(block)), method(block)))


def block_key(cell: Cell) -> str:
    """Returns a key that is equal for cells that may be compared, and only for those."""
    return _key(run_files.block(cell.runs[0]))


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _cell(runs: list[RunRecord]) -> Cell:
    by_seed = {}
    for run in runs:
        seed = run.result["seed"]
        if seed in by_seed:
            raise ValueError(
                f"seed {seed} twice in one cell: {by_seed[seed].workdir} and {run.workdir} "
                "differ in nothing else; pass one of them"
            )
        by_seed[seed] = run
    return Cell(tuple(by_seed[seed] for seed in sorted(by_seed)))


def _name_what_varies(cell: Cell, others: Sequence[Cell]) -> Cell:
    alike = [run_files.settings(c.runs[0]) for c in others if c.names == cell.names]
    own = run_files.settings(cell.runs[0])
    fields = [f for f in own if any(f not in other or other[f] != own[f] for other in alike)]
    if "revision" in own:
        own["revision"] = own["revision"][:7]
    return dataclasses.replace(cell, varied=", ".join(f"{f}={own[f]}" for f in fields))


def estimate(cell: Cell, metric: str) -> Estimate | None:
    """Returns mean and sample standard deviation over seeds; None if no run has the metric."""
    values = list(cell.values(metric).values())
    if not values:
        return None
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), sd, len(values))


def _paired(a: Cell, b: Cell, metric: str, metric_of_b: str | None = None) -> np.ndarray:
    left, right = a.values(metric), b.values(metric_of_b or metric)
    return np.array([left[seed] - right[seed] for seed in sorted(left.keys() & right.keys())])


def difference(
    cell: Cell, base: Cell, metric: str, metric_of_base: str | None = None
) -> Difference | None:
    """Returns cell minus base over common seeds, with Student's 95 % interval.

    Args:
      cell: the cell to compare.
      base: the cell to compare it with.
      metric: name of the metric.
      metric_of_base: name of the metric of ``base`` if it is another, such as the one after
        temperature scaling.

    Returns:
      None if no seed is common.
    """
    from scipy import stats  # slow to import

    gaps = _paired(cell, base, metric, metric_of_base)
    if not len(gaps):
        return None
    mean, n = float(np.mean(gaps)), len(gaps)
    if n == 1:
        return Difference(mean, None, None, n)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(gaps, ddof=1) / math.sqrt(n)
    return Difference(mean, float(mean - half), float(mean + half), n)


def baseline(block: Sequence[Cell]) -> Cell | None:
    """Returns the one-hot cell of a block; None if there is none."""
    return next((cell for cell in block if cell.first["label_rule"] == "one_hot"), None)


def winner(block: Sequence[Cell], metric: str, *, higher: bool) -> Cell | None:
    """Returns the cell with the best mean, if a paired t test against the runner-up is passed.

    Args:
      block: cells that may be compared.
      metric: name of the metric.
      higher: whether higher is better.

    Returns:
      None if the test is not passed, or fewer than three seeds are common to both.
    """
    from scipy import stats  # slow to import

    estimates = [(estimate(cell, metric), cell) for cell in block]
    means = [(own.mean, cell) for own, cell in estimates if own is not None]
    ranked = [cell for _, cell in sorted(means, key=lambda pair: pair[0], reverse=higher)]
    if len(ranked) < 2:
        return None
    gaps = _paired(ranked[0], ranked[1], metric)
    if len(gaps) < MIN_SEEDS:
        return None
    mean, error = np.mean(gaps), np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    # The common seeds may rank the two differently than all seeds do.
    if mean == 0 or (mean > 0) != higher:
        return None
    t = abs(mean) / error if error else math.inf
    return ranked[0] if 2 * stats.t.sf(t, len(gaps) - 1) < SIGNIFICANT else None
