"""Draws metrics against one setting: a panel per metric, a curve per way to vary the setting."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from experiments.reporting import plots, varied
from experiments.reporting.varied import Block, Curve, Study

# Name of a metric: (label of its axis, factor).
PANELS = {
    "ece": ("ECE %", 100),
    "nll": ("NLL", 1),
    "accuracy": ("accuracy %", 100),
    "corrupted_ece": ("corrupted ECE %", 100),
    varied.LABEL: ("learned label, mean over\nbuckets, last fifth of epochs", 1),
}
COLUMNS = 3
SIZE = (7.5, 4.4)  # inches per block: 900 pixels of a page at 120 dots per inch
COLORS, REFERENCE_COLORS = plots.COLORS[:3], plots.COLORS[:2:-1]
BESIDE = 0.03  # offset of single seeds to the right of their mean, as a fraction of the axis
NOTE = "mean ± sample standard deviation\nover n seeds; faint: single seeds;\n"
NOTE += "TS: after temperature scaling"
NAME_WIDTH, TITLE_WIDTH = 34, 100  # characters per line in the legend and above a block
LEGEND = {"loc": "center left", "frameon": False, "title_fontsize": 7, "alignment": "left"}
LEGEND |= {"title": NOTE, "borderaxespad": 0}


def draw(study: Study) -> Figure:
    """Draws ECE, NLL, accuracy, corrupted ECE if runs have it, and labels against the setting."""
    with plt.rc_context(plots.FONT):
        size = (SIZE[0], SIZE[1] * len(study.blocks))
        figure = plt.figure(figsize=size, layout="constrained")
        parts = figure.subfigures(len(study.blocks), 1, squeeze=False)[:, 0]
        for part, block in zip(parts, study.blocks, strict=True):
            _draw_block(part, block, study.field)
        return figure


def shown(block: Block) -> list[str]:
    """Returns the metrics that any curve of the block has."""
    own = [cell for curve in block.curves for cell in curve.cells.values()]
    return [name for name in PANELS if any(varied.values(cell, name) for cell in own)]


def _draw_block(part: FigureBase, block: Block, field: str) -> None:
    metrics = shown(block)
    axes = part.subplots(math.ceil((len(metrics) + 1) / COLUMNS), COLUMNS, squeeze=False)
    several = [curve for curve in (*block.curves, *block.references) if len(curve.cells) > 1]
    scale = Scale([value for curve in several for value in curve.cells])
    for place, metric in zip(axes.flat, metrics, strict=False):
        _draw_panel(place, block, metric, scale)
        place.set(xlabel=field, ylabel=PANELS[metric][0], title=_lacking(block, metric))
    for place in axes.flat[len(metrics) :]:
        place.set_axis_off()
    lines, names = axes[0, 0].get_legend_handles_labels()
    names = [textwrap.fill(name, NAME_WIDTH) for name in names]
    legend = axes.flat[len(metrics)].legend(lines, names, **LEGEND)
    legend.set_in_layout(False)  # it may extend over the free space beside it
    part.suptitle(textwrap.fill(block.name, TITLE_WIDTH))


def _lacking(block: Block, metric: str) -> str:
    """Returns how many of AutoLabel's runs have the metric, if not all do."""
    own = [cell for curve in block.curves for cell in curve.cells.values()]
    num = sum(len(cell.runs) for cell in own)
    have = sum(len(varied.values(cell, metric)) for cell in own)
    return f"{have} of {num} runs" if have < num else ""


class Scale:
    """Places the values of a setting on an axis: log beyond a decade, evenly spaced for words."""

    def __init__(self, values: Sequence[Any]):
        self.values = sorted(set(values), key=varied.place)
        self.words = any(isinstance(value, str) for value in self.values)
        low, high = self.values[0], self.values[-1]
        self.log = not self.words and low > 0 and high > 10 * low
        self.span = self._even(high) - self._even(low)

    def _even(self, value: Any) -> float:
        """Returns the position of a value on a linear axis."""
        if self.words:
            return self.values.index(value)
        return math.log10(value) if self.log else value

    def at(self, value: Any, shift: float = 0.0) -> float:
        """Returns the x of a value, shifted by a fraction of the axis."""
        moved = self._even(value) + shift * self.span
        return 10**moved if self.log else moved

    def apply(self, place: Axes) -> None:
        """Sets ticks at the values, without the labels that would overlap the one before."""
        place.set_xscale("log" if self.log else "linear")
        labels, end = [], -math.inf
        for value in self.values:
            name = value if isinstance(value, str) else f"{value:.4g}"
            half = 0.015 * len(name)  # fraction of the axis at this font size
            middle = (self._even(value) - self._even(self.values[0])) / self.span
            fits = self.words or middle - half > end + 0.03
            labels.append(name if fits else "")
            end = middle + half if fits else end
        place.set_xticks([self.at(value) for value in self.values], labels)
        place.set_xticks([], minor=True)
        place.margins(x=0.3 / len(self.values) if self.words else 0.08)


def _draw_panel(place: Axes, block: Block, metric: str, scale: Scale) -> None:
    num = len(block.curves)
    for i, curve in enumerate(block.curves):
        _draw_curve(place, curve, metric, scale, i=i, shift=0.02 * (i - (num - 1) / 2))
    if metric != varied.LABEL:  # the references learn no labels
        for i, curve in enumerate(block.references):
            for scaling in plots.SCALINGS:
                _draw_reference(place, curve, metric, scale, i=i, scaling=scaling)
    scale.apply(place)


def _statistics(
    curve: Curve, metric: str, factor: float
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Returns values of the setting, means, and sample standard deviations (0 for one seed)."""
    by_value = {v: factor * np.array(varied.values(c, metric)) for v, c in curve.cells.items()}
    by_value = {value: seeds for value, seeds in by_value.items() if len(seeds)}
    sd = [seeds.std(ddof=1) if len(seeds) > 1 else 0.0 for seeds in by_value.values()]
    mean = [seeds.mean() for seeds in by_value.values()]
    return list(by_value), np.array(mean), np.array(sd)


def _draw_curve(
    place: Axes, curve: Curve, metric: str, scale: Scale, *, i: int, shift: float
) -> None:
    factor = PANELS[metric][1]
    style = {"color": COLORS[i % len(COLORS)], "marker": plots.MARKERS[i % len(plots.MARKERS)]}
    for value, cell in curve.cells.items():
        seeds = [factor * seed for seed in varied.values(cell, metric)]
        x = [scale.at(value, shift + BESIDE)] * len(seeds)
        place.plot(x, seeds, **style, linestyle="none", markersize=3, alpha=0.35, markeredgewidth=0)
    values, mean, sd = _statistics(curve, metric, factor)
    bars = place.errorbar(
        [scale.at(value, shift) for value in values],
        mean,
        sd,
        **style,
        linestyle=plots.LINES[i % len(plots.LINES)],
        markersize=4.5,
        capsize=2,
        elinewidth=1,
    )
    bars.lines[0].set_label(f"{curve.name} ({_seeds(curve)})")  # among lines: first in legends


def _draw_reference(
    place: Axes, curve: Curve, metric: str, scale: Scale, *, i: int, scaling: str
) -> None:
    """Draws a line with its band, horizontal if there is only one value."""
    if scaling and metric == "accuracy":  # temperature scaling does not change it
        return
    values, mean, sd = _statistics(curve, metric + scaling, PANELS[metric][1])
    if not values:
        return
    color = REFERENCE_COLORS[(2 * i + bool(scaling)) % len(REFERENCE_COLORS)]
    name = f"{curve.name}{plots.SCALINGS[scaling][2]} ({_seeds(curve)})"
    style = {"color": color, "linestyle": plots.LINES[1 + bool(scaling)], "label": name}
    band = {"color": color, "alpha": 0.12, "linewidth": 0}
    if len(curve.cells) == 1:
        place.axhline(mean[0], **style)
        place.axhspan(mean[0] - sd[0], mean[0] + sd[0], **band)
        return
    x = [scale.at(value) for value in values]
    place.plot(x, mean, **style)
    place.fill_between(x, mean - sd, mean + sd, **band)


def _seeds(curve: Curve) -> str:
    """Returns 'n=3', or 'n=2 to 3' if cells have different numbers of seeds."""
    numbers = sorted({len(cell.runs) for cell in curve.cells.values()})
    return f"n={numbers[0]}" if len(numbers) == 1 else f"n={numbers[0]} to {numbers[-1]}"


def in_words(study: Study) -> str:
    """Describes the mean ECE of each curve: 'autolabel 9.1 % at 0.1, 8.0 % at 1; one_hot 9.8 %'."""
    curves = []
    for block in study.blocks:
        for curve in (*block.curves, *block.references):
            values, mean, _ = _statistics(curve, "ece", 100)
            ats = ["" if value is None else f" at {value}" for value in values]
            points = ", ".join(f"{m:.1f} %{at}" for m, at in zip(mean, ats, strict=True))
            curves.append(f"{', '.join(filter(None, [block.name, curve.name]))} {points}")
    return "; ".join(curves)
