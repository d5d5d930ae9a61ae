"""Draws three charts that sum up several studies, from cells of three seeds or more.

Cells of a rule with other options than its step and α are left out.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from experiments.reporting import cells, comparison_plots, label_names, plots
from experiments.reporting.cells import Cell

OPTION = "labels.alpha"  # may differ from study to study
BASE, BASE_NAME = "one_hot", "one_hot (TS)"
COMPARED = ("one_hot", "smoothing", "autolabel")  # rules of the second and third chart
WIDTH = 8  # inches

Block = dict[str, Cell]


def _blocks(blocks: Sequence[Sequence[Cell]], rules: Sequence[str] | None = None) -> list[Block]:
    """Returns the cells of each block by the short names of their label rules.

    Raises:
      ValueError: two cells of a block differ in α, so that their names would be equal.
    """
    kept = []
    for block in blocks:
        named: Block = {}
        for cell in block:
            options = label_names.options(cell.runs[0])
            few = len(cell.runs) < cells.MIN_SEEDS
            if few or options.keys() - {OPTION} or rules and cell.first["label_rule"] not in rules:
                continue
            name = cell.label.replace(f", {OPTION}={options.get(OPTION)}", "")
            if name in named:
                raise ValueError(f"{OPTION}: {named[name].label} and {cell.label} in one block")
            named[name] = cell
        if named.keys() - {BASE}:
            kept.append(named)
    if not kept:
        raise ValueError(f"no label rule has {cells.MIN_SEEDS} seeds or more")
    return kept
