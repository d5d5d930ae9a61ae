"""Draws figures that compare label rules, with panels for each block of runs of a frame.

Three of them sum up several studies. These show cells of three seeds or more, of label rules
without options other than step and α; intervals are Student's, at 95 %, over seeds.
"""

from collections.abc import Iterable, Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import compare, methods, plots
from experiments.reporting.compare import MIN_SEEDS

SCALINGS = {"": "before temperature scaling", "_ts": "after temperature scaling"}
BY_SEVERITY = "corrupted_ece{}_by_severity"
SEVERITY = BY_SEVERITY.format("")
SEVERITIES = ("clean", "1", "2", "3", "4", "5")
MIN_ECE, MIN_ACCURACY = 5, 10  # smallest spans of the axes, in points
OPTION = "labels.alpha"  # may differ from study to study
BASE = "one_hot"
RULES = (BASE, "smoothing", "autolabel")  # of the second and third chart
BUDGET = ["dataset", "model", "train_examples", "epochs"]
Cell = tuple[str, pd.DataFrame, dict[str, str]]  # name, runs and look


def _blocks(axes: Iterable[Axes], frame: pd.DataFrame) -> Iterator[tuple[Axes, list[Cell]]]:
    """Yields axes with a title, and the cells, for each block; a name has one look in all."""
    looks = {name: plots.style(i) for i, name in enumerate(frame["labels"].unique())}
    for place, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        place.set_title(plots.block_title(block))
        cells = block.groupby("labels", sort=False)
        yield place, [(name, runs, looks[name]) for name, runs in cells]


@plots.STYLE
def accuracy_against_ece(frame: pd.DataFrame) -> Figure:
    """Draws ECE against accuracy, a mark a run; axes have least spans, so as not to exaggerate."""
    figure, axes = plots.grid(frame["block"].nunique())
    for place, cells in _blocks(axes, frame):
        for name, runs, look in cells:
            points = 100 * runs["accuracy"], 100 * runs["ece"]
            place.plot(*points, **look | {"linestyle": "none"}, label=name)
        low, high = place.get_xlim()
        high = min(high + max(MIN_ACCURACY - (high - low), 0) / 2, 100)
        place.set_xlim(min(low, high - MIN_ACCURACY), high)
        place.set_ylim(0, max(place.get_ylim()[1], MIN_ECE))
        place.set(xlabel="accuracy %", ylabel="ECE %")
    return plots.finish(figure, axes)


def _draw_severities(place: Axes, series: Sequence[tuple[str, pd.DataFrame, dict, str]]) -> None:
    """Draws mean ECE % ± standard deviation over seeds: name, runs, look and scaling of each."""
    drawn, columns = [], ("ece{}", BY_SEVERITY)
    for name, runs, look, scaling in series:
        found = runs.reindex(columns=[c.format(scaling) for c in columns])
        found = found.dropna(subset=found.columns[1:])
        curves = 100 * np.array([[clean, *by] for clean, by in found.values], float).reshape(-1, 6)
        drawn += [(name, curves, look)] * bool(len(curves))
    shifts = np.linspace(-1, 1, len(drawn)) * min(0.03 * len(drawn), 0.2)  # no bar hides another
    for shift, (name, curves, look) in zip(shifts, drawn, strict=True):
        sd = curves.std(0, ddof=1) if len(curves) > 1 else None
        place.errorbar(np.arange(6) + shift, curves.mean(0), sd, **look, label=name)
    first = 0 if any(np.isfinite(curves[:, 0]).any() for _, curves, _ in drawn) else 1
    place.set_xticks(range(first, 6), SEVERITIES[first:])
    place.set_yscale("log", nonpositive="clip")
    place.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    place.yaxis.set_major_formatter("{x:g}")
    place.yaxis.set_minor_formatter(ticker.NullFormatter())


@plots.STYLE
def ece_against_severity(frame: pd.DataFrame) -> Figure:
    """Draws the mean ECE over corruptions against severity, before and after a temperature."""
    frame = frame[frame[SEVERITY].notna()]
    figure, axes = plots.panels(frame["block"].nunique(), 2, 2.9, sharex=True, sharey="row")
    for column, (scaling, when) in zip(axes.T, SCALINGS.items(), strict=True):
        for place, cells in _blocks(column, frame):
            _draw_severities(place, [(*cell, scaling) for cell in cells])
            place.set_title(f"{place.get_title()}\n{when}")
        column[-1].set_xlabel("severity of the corruption")
    for place in axes[:, 0]:
        place.set_ylabel("ECE %")
    return plots.finish(figure, axes.ravel())


@plots.STYLE
def severity(frame: pd.DataFrame) -> Figure:
    """Draws the mean ECE over corruptions against severity, with a panel for each block."""
    frame = _shown(frame, SEVERITY, RULES)
    figure, axes = plots.grid(frame["block"].nunique(), height=2.1, sharey=True)
    for i, (place, cells) in enumerate(_blocks(axes, frame)):
        series = [(*cell, "") for cell in cells]
        hollow = {"linestyle": ":", "fillstyle": "none"}
        for name, runs, look in cells:
            if name == BASE:
                series.append((f"{name} {SCALINGS['_ts']}", runs, look | hollow, "_ts"))
        _draw_severities(place, series)
        place.set_ylabel("" if i % 3 else "ECE %")
        place.set_xlabel("severity of the corruption" if i >= len(axes) - 3 else "")
    return plots.finish(figure, axes)


def _shown(frame: pd.DataFrame, metric: str, rules: Sequence[str] = ()) -> pd.DataFrame:
    """Returns the runs of a summary, with ``labels`` shortened to the rule and its step."""
    frame = frame[frame[metric].notna()] if metric in frame else frame[:0]
    if frame.empty:
        raise ValueError(f"no run has {metric}")
    pairs = zip(frame["label_rule"], frame["record"], strict=True)
    options = [methods.options(rule, run.settings) for rule, run in pairs]
    ends = [f", {OPTION}={own[OPTION]}" if OPTION in own else "" for own in options]
    labels = [name.removesuffix(end) for name, end in zip(frame["labels"], ends, strict=True)]
    plain = np.array([own.keys() <= {OPTION} for own in options])
    seeds = frame.groupby("cell")["cell"].transform("size")
    named = frame["label_rule"].isin(rules or frame["label_rule"])
    kept = frame.assign(labels=labels)[plain & named & (seeds >= MIN_SEEDS)]
    if kept.empty:
        raise ValueError(f"no label rule has {metric} of {MIN_SEEDS} seeds or more")
    same = kept.groupby(["block", "labels"])["cell"].nunique()
    if (same > 1).any():
        name = same.idxmax()[1]
        raise ValueError(f"{name} has several values of {OPTION} in a study; pass runs of one")
    return kept


@plots.STYLE
def ece_by_rule(frame: pd.DataFrame) -> Figure:
    """Draws ECE after temperature scaling by label rule, with a panel for each augmentation.

    Budgets with one augmentation are left out. A line is at the mean of one-hot labels.
    """
    frame = _shown(frame, "ece_ts")
    several = frame.groupby(BUDGET)["augmentation"].transform("nunique") > 1
    if not several.any():
        raise ValueError("no data set has runs of several augmentations")
    budgets = list(frame[several].groupby(BUDGET, sort=False))
    figure = plt.figure(figsize=(plots.WIDTH, 2.9 * len(budgets)))
    parts = figure.subfigures(len(budgets), 1, squeeze=False)[:, 0]
    for part, ((dataset, model, images, epochs), runs) in zip(parts, budgets, strict=True):
        names = list(runs["labels"].unique())
        axes = part.subplots(1, runs["block"].nunique(), sharex=True, sharey=True)
        for place, cells in _blocks(axes, runs):
            for name, own, look in cells:
                mean, half = compare.interval(100 * own["ece_ts"])
                place.errorbar(mean, names.index(name), xerr=half, **look)
                if name == BASE:
                    place.axvline(mean, color="0.5", linewidth=0.8, zorder=0)
            place.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
            place.set_title(own["augmentation"].iloc[0])
        axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axes[0].set_xlim(left=0)
        seeds = plots.span(runs.groupby("cell").size())
        part.suptitle(f"{dataset}, {model}, {images} images, {epochs} epochs, seeds: {seeds}")
        part.supxlabel("ECE % after temperature scaling", fontsize=9)
    return figure


@plots.STYLE
def nll_differences(frame: pd.DataFrame) -> Figure:
    """Draws the NLL of rules without a temperature minus that of one-hot labels with one, paired.

    Other rules than ``RULES`` are left out: some of their differences are ten times as large.
    """
    frame = _shown(frame, "nll_ts", RULES)
    blocks = [block for _, block in frame.groupby("block") if BASE in set(block["label_rule"])]
    if not blocks:
        raise ValueError(f"no label rule can be compared with {BASE} of {MIN_SEEDS} seeds or more")
    figure, place = plt.subplots(figsize=(plots.WIDTH, 0.6 * len(blocks) + 0.5))
    names = list(frame["labels"].unique())
    for row, block in enumerate(blocks):
        base = block[block["label_rule"] == BASE].set_index("seed")["nll_ts"]
        for name, runs in block.groupby("labels", sort=False):
            gaps = (runs.set_index("seed")["nll"] - base).dropna()
            if len(gaps) >= MIN_SEEDS:
                mean, half = compare.interval(gaps)
                at = row + 0.7 * ((names.index(name) + 0.5) / len(names) - 0.5)
                look = plots.style(names.index(name)) | {"linestyle": "none"}
                place.errorbar(mean, at, xerr=half, **look, label=name)
    titles = list(map(plots.block_title, blocks))
    place.set(yticks=range(len(blocks)), yticklabels=titles, ylim=(len(blocks) - 0.5, -0.5))
    place.set_xlabel("NLL minus NLL of one_hot after temperature scaling (below 0: better)")
    place.axvline(0, color="black", linewidth=0.8)
    return plots.finish(figure, [place])
