"""Draws metrics against one setting: a panel per metric, a curve per way to vary the setting.

The values of the setting that were tried are evenly spaced.
"""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from experiments.reporting import comparison_plots, plots, varied

# Name of a metric: (label of its axis, factor).
METRICS = {
    "ece": ("ECE %", 100),
    "nll": ("NLL", 1),
    "accuracy": ("accuracy %", 100),
    "corrupted_ece": ("corrupted ECE %", 100),
    varied.LABEL: ("learned label, mean over\nbuckets, last fifth of epochs", 1),
}
NOTE = "mean ± sample standard deviation over seeds; faint: single seeds; "
NOTE += "TS: after temperature scaling"
COLORS, REFERENCE_COLORS = plots.COLORS[:3], plots.COLORS[:2:-1]
NAME_WIDTH, TITLE_WIDTH = 48, 100  # characters per line
ASIDE = 0.08  # from a mean to its seeds, and on to the next curve; values are 1 apart


@plots.STYLE
def draw(drawn: pd.DataFrame, field: str) -> Figure:
    """Draws ECE, NLL, accuracy, corrupted ECE if runs have it, and labels against the setting.

    Args:
      drawn: runs of the curves, from ``varied.make``.
      field: the setting, such as 'labels.alpha'.
    """
    parts = list(drawn.groupby("panel", sort=False))
    figure = plt.figure(figsize=(8, 4.8 * len(parts)))
    places = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
    for part, (name, runs) in zip(places, parts, strict=True):
        _draw_part(part, runs, field)
        title = ", ".join(filter(None, [comparison_plots.title(runs).replace("\n", ", "), name]))
        part.suptitle(textwrap.fill(title, TITLE_WIDTH))
    return figure


def _draw_part(part: FigureBase, runs: pd.DataFrame, field: str) -> None:
    own = runs[~runs["is_reference"]]
    metrics = [name for name in METRICS if name in own and own[name].notna().any()]
    columns = 2 if len(metrics) < 5 else 3
    axes = part.subplots(math.ceil(len(metrics) / columns), columns, squeeze=False)
    for place, metric in zip(axes.flat, metrics, strict=False):
        _draw_metric(place, runs, metric)
        have = own[metric].notna().sum()
        place.set_title("" if have == len(own) else f"{have} of {len(own)} runs")
        place.set(xlabel=field, ylabel=METRICS[metric][0])
    for place in axes.flat[len(metrics) :]:
        place.remove()
    plots.legend(part, axes.flat[:1], title=NOTE)


def _draw_metric(place: Axes, runs: pd.DataFrame, metric: str) -> None:
    curves = list(runs[~runs["is_reference"]].groupby("curve", sort=False))
    references = list(runs[runs["is_reference"]].groupby("curve", sort=False))
    values = sorted(runs["value"].dropna().unique(), key=varied.place)
    x = {value: i for i, value in enumerate(values)}
    for i, (name, curve) in enumerate(curves):
        _draw_curve(place, curve, metric, x, i, ASIDE * (2 * i - len(curves) + 1), name)
    if metric != varied.LABEL:  # the references learn no labels
        for i, (name, curve) in enumerate(references):
            _draw_reference(place, curve, metric, x, 2 * i, name)
            if metric != "accuracy":  # temperature scaling does not change it
                _draw_reference(place, curve, f"{metric}_ts", x, 2 * i + 1, f"{name} (TS)")
    if metric.endswith("ece"):
        place.set_ylim(bottom=0)
    names = [value if isinstance(value, str) else f"{value:.4g}" for value in values]
    place.set_xticks(range(len(names)), names, rotation=90 if len("  ".join(names)) > 30 else 0)
    place.set_xlim(-0.5, len(names) - 0.5)


def _statistics(curve: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns mean and sample standard deviation (0 for one seed) by value of the setting."""
    factor = METRICS[metric.removesuffix("_ts")][1]
    seeds = factor * curve.reindex(columns=[metric])[metric].astype(float)
    table = seeds.groupby(curve["value"], sort=False, dropna=False).agg(["mean", "std"])
    return table.dropna(subset="mean").fillna(0)


def _draw_curve(
    place: Axes, curve: pd.DataFrame, metric: str, x: dict, i: int, shift: float, name: str
) -> None:
    """Draws the means of a curve, and its seeds to the right of them."""
    style = plots.style(i) | {"color": COLORS[i % len(COLORS)]}
    table = _statistics(curve, metric)
    at = [x[value] + shift for value in table.index]
    bars = place.errorbar(at, table["mean"], table["std"], **style)
    bars.lines[0].set_label(textwrap.fill(name, NAME_WIDTH))  # among lines: first in legends
    style |= {"linestyle": "none", "alpha": 0.35, "markeredgewidth": 0, "markersize": 3}
    at = [x[value] + shift + ASIDE for value in curve["value"]]
    place.plot(at, METRICS[metric][1] * curve[metric], **style)


def _draw_reference(
    place: Axes, curve: pd.DataFrame, metric: str, x: dict, i: int, name: str
) -> None:
    """Draws a line with its band, over the whole axis if there is only one value."""
    table = _statistics(curve, metric)
    if table.empty:
        return
    color = REFERENCE_COLORS[i % len(REFERENCE_COLORS)]
    style = {"color": color, "linestyle": plots.LINES[1 + i % 3]}
    band = {"color": color, "alpha": 0.12, "linewidth": 0}
    at = [x[v] for v in table.index] if len(table) > 1 else (-0.5, len(x) - 0.5)
    mean, sd = (np.resize(table[column], len(at)) for column in ("mean", "std"))
    place.plot(at, mean, **style, label=textwrap.fill(name, NAME_WIDTH))
    place.fill_between(at, mean - sd, mean + sd, **band)


def in_words(drawn: pd.DataFrame) -> str:
    """Describes the mean ECE of each curve: 'autolabel 9.1 % at 0.1, 8.0 % at 1; one_hot 9.8 %'."""
    curves = []
    for (panel, name), curve in drawn.groupby(["panel", "curve"], sort=False):
        means = _statistics(curve, "ece")["mean"]
        ats = ["" if pd.isna(value) else f" at {value}" for value in means.index]
        points = ", ".join(f"{m:.1f} %{at}" for m, at in zip(means, ats, strict=True))
        curves.append(f"{', '.join(filter(None, [panel, name]))} {points}")
    return "; ".join(curves)
