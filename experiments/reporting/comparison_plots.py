"""Draws figures that compare label rules, with a panel for each block of runs.

Before and after temperature scaling are beside each other, on one axis.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import plots
from experiments.reporting.cells import Cell

SCALINGS = {"": "before temperature scaling", "_ts": "after temperature scaling"}
MIN_ECE, MIN_ACCURACY = 5, 10  # smallest spans of the axes, in points
SEVERITIES = ("clean", "1", "2", "3", "4", "5")


def block_title(cell: Cell) -> str:
    """Names data set, model, augmentation and budget of the block of a cell, in two lines."""
    names = cell.names
    return (
        f"{names['dataset']}, {names['model']}, {names['augmentation']},\n"
        f"{names['train_examples']} training images, {names['epochs']} epochs"
    )


def _looks(shown: Iterable[Cell]) -> dict[str, dict[str, str]]:
    """Gives each label rule one look for all panels."""
    names = dict.fromkeys(cell.label for cell in shown)
    return {name: plots.style(i) for i, name in enumerate(names)}


@plots.STYLE
def accuracy_against_ece(blocks: Sequence[Sequence[Cell]]) -> Figure:
    """Draws ECE against accuracy, a mark for each run.

    So that small differences do not look large, the ECE axis starts at 0 and ends at 5 % or above,
    and the accuracy axis spans ten points at least.
    """
    looks = _looks(cell for block in blocks for cell in block)
    figure, axes = plots.grid(len(blocks))
    for place, block in zip(axes, blocks, strict=True):
        for cell in block:
            xy = ([100 * v for v in cell.values(name).values()] for name in ("accuracy", "ece"))
            place.plot(*xy, **looks[cell.label] | {"linestyle": "none"}, label=cell.label)
        low, high = place.get_xlim()
        high = min(high + max(MIN_ACCURACY - (high - low), 0) / 2, 100)
        place.set_xlim(min(low, high - MIN_ACCURACY), high)
        place.set_ylim(0, max(place.get_ylim()[1], MIN_ECE))
        place.set(xlabel="accuracy %", ylabel="ECE %", title=block_title(block[0]))
    plots.legend(figure, axes)
    return figure


def severity_curves(cell: Cell, scaling: str = "") -> np.ndarray | None:
    """Returns ECE % on clean images and at severities 1 to 5, float [seeds, 6].

    Args:
      cell: the runs.
      scaling: key of ``SCALINGS``.

    Returns:
      NaN for clean images without a metric; None if no run was evaluated by severity.
    """
    name = f"ece{scaling}"
    rows = [
        [run.result.get(name), *run.result[f"corrupted_{name}_by_severity"]]
        for run in cell.runs
        if run.result.get(f"corrupted_{name}_by_severity")
    ]
    return 100 * np.array(rows, np.float64) if rows else None


def draw_severities(place: Axes, series: dict[str, tuple[np.ndarray, dict[str, str]]]) -> None:
    """Draws mean curves ± standard deviation over seeds, on a logarithmic axis.

    Args:
      place: the axes.
      series: name → curves [seeds, 6] and their look.
    """
    for i, (name, (curves, look)) in enumerate(series.items()):
        x = np.arange(6) + 0.06 * (i - (len(series) - 1) / 2)  # so that no bar hides another
        sd = curves.std(0, ddof=1) if len(curves) > 1 else None
        place.errorbar(x, curves.mean(0), sd, **look, label=name)
    first = 0 if any(np.isfinite(curves[:, 0]).any() for curves, _ in series.values()) else 1
    place.set_xticks(range(first, 6), SEVERITIES[first:])
    plots.log_percent(place)


def has_severities(blocks: Sequence[Sequence[Cell]]) -> bool:
    """Whether any run was evaluated on corrupted images by severity."""
    return any(severity_curves(cell) is not None for block in blocks for cell in block)


@plots.STYLE
def ece_against_severity(blocks: Sequence[Sequence[Cell]]) -> Figure:
    """Draws the mean ECE over corruptions against severity, ± standard deviation over seeds."""
    kept = [block for block in blocks if has_severities([block])]
    looks = _looks(cell for block in kept for cell in block)
    figure, axes = plots.panels(len(kept), 2, (3.9, 2.9), sharex=True, sharey="row")
    for row, block in zip(axes, kept, strict=True):
        for place, (scaling, title) in zip(row, SCALINGS.items(), strict=True):
            found = {cell.label: (severity_curves(cell, scaling), cell) for cell in block}
            series = {
                f"{name} (n={len(curves)})": (curves, looks[name])
                for name, (curves, _) in found.items()
                if curves is not None
            }
            draw_severities(place, series)
            place.set_title(f"{block_title(block[0])}\n{title}")
        row[0].set_ylabel("ECE %")
    for place in axes[-1]:
        place.set_xlabel("severity of the corruption")
    plots.legend(figure, axes.flat)
    return figure
