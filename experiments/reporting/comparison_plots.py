"""Draws figures that compare label rules, with panels for each block of runs of a frame."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import frame as frame_lib
from experiments.reporting import plots

SCALINGS = {"": "before temperature scaling", "_ts": "after temperature scaling"}
BY_SEVERITY = "corrupted_ece{}_by_severity"
SEVERITIES = ("clean", "1", "2", "3", "4", "5")
MIN_ECE, MIN_ACCURACY = 5, 10  # smallest spans of the axes, in points


def looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Gives each series one look for all panels."""
    return {name: plots.style(i) for i, name in enumerate(dict.fromkeys(names))}


def title(runs: pd.DataFrame) -> str:
    """Names data set, model, augmentation and budget of some runs, in two lines."""
    seeds = runs.groupby("cell").size()
    names = {name: span(runs[name]) for name in frame_lib.NAMES} | {"seeds": span(seeds)}
    return (
        "{dataset}, {model}, {augmentation}\n"
        "{train_examples} images, {epochs} epochs, seeds: {seeds}".format_map(names)
    )


def span(values: pd.Series) -> str:
    """Writes values as '3', or as '2 to 5' if they differ."""
    found = sorted(values.unique())
    return " to ".join(map(str, found[:: max(len(found) - 1, 1)]))


@plots.STYLE
def accuracy_against_ece(frame: pd.DataFrame) -> Figure:
    """Draws ECE against accuracy, a mark for each run.

    So that small differences do not look large, the ECE axis starts at 0 and ends at 5 % or above,
    and the accuracy axis spans ten points at least.
    """
    look = looks(frame["labels"])
    figure, axes = plots.grid(frame["block"].nunique())
    for place, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        for name, runs in block.groupby("labels", sort=False):
            style = look[name] | {"linestyle": "none"}
            place.plot(100 * runs["accuracy"], 100 * runs["ece"], **style, label=name)
        low, high = place.get_xlim()
        high = min(high + max(MIN_ACCURACY - (high - low), 0) / 2, 100)
        place.set_xlim(min(low, high - MIN_ACCURACY), high)
        place.set_ylim(0, max(place.get_ylim()[1], MIN_ECE))
        place.set(xlabel="accuracy %", ylabel="ECE %", title=title(block))
    plots.legend(figure, axes)
    return figure


def has_severities(frame: pd.DataFrame) -> bool:
    """Whether any run was evaluated on corrupted images by severity."""
    return BY_SEVERITY.format("") in frame and bool(frame[BY_SEVERITY.format("")].notna().any())


def severities(frame: pd.DataFrame, scaling: str = "") -> np.ndarray:
    """Returns ECE % of clean images and at severities 1 to 5 of each run that has them.

    Args:
      frame: runs.
      scaling: key of ``SCALINGS``.

    Returns:
      float [runs, 6], NaN where a metric of clean images is missing.
    """
    columns = [f"ece{scaling}", BY_SEVERITY.format(scaling)]
    found = frame.reindex(columns=columns).dropna(subset=columns[1:])
    return 100 * np.array([[clean, *by] for clean, by in found.values], float).reshape(-1, 6)


def draw_severities(
    place: Axes, series: Mapping[str, np.ndarray], look: Mapping[str, dict[str, str]]
) -> None:
    """Draws mean curves ± standard deviation over seeds, with a logarithmic axis for the ECE.

    Args:
      place: the axes.
      series: name → ``severities``; one without a run is left out.
      look: name → colour, marker and line.
    """
    series = {name: curves for name, curves in series.items() if len(curves)}
    shifts = np.linspace(-1, 1, len(series)) * min(0.03 * len(series), 0.2)  # no bar hides another
    for shift, (name, curves) in zip(shifts, series.items(), strict=True):
        sd = curves.std(0, ddof=1) if len(curves) > 1 else None
        place.errorbar(np.arange(6) + shift, curves.mean(0), sd, **look[name], label=name)
    first = 0 if any(np.isfinite(curves[:, 0]).any() for curves in series.values()) else 1
    place.set_xticks(range(first, 6), SEVERITIES[first:])
    plots.log_percent(place)


@plots.STYLE
def ece_against_severity(frame: pd.DataFrame) -> Figure:
    """Draws the mean ECE over corruptions against severity, ± standard deviation over seeds."""
    frame = frame[frame[BY_SEVERITY.format("")].notna()]
    look = looks(frame["labels"])
    figure, axes = plots.panels(frame["block"].nunique(), 2, 2.9, sharex=True, sharey="row")
    for row, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        for place, (scaling, when) in zip(row, SCALINGS.items(), strict=True):
            cells = block.groupby("labels", sort=False)
            draw_severities(place, {n: severities(runs, scaling) for n, runs in cells}, look)
            place.set_title(f"{title(block)}\n{when}")
        row[0].set_ylabel("ECE %")
    for place in axes[-1]:
        place.set_xlabel("severity of the corruption")
    plots.legend(figure, axes.flat)
    return figure
