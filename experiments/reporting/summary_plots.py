"""Draws three charts that sum up several studies.

They show cells of three seeds or more, of label rules without options other than step and α.
Intervals are Student's, at 95 %, over seeds.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from experiments.reporting import comparison_plots, label_names, plots

MIN_SEEDS = 3
OPTION = "labels.alpha"  # may differ from study to study
BASE = "one_hot"
RULES = (BASE, "smoothing", "autolabel")  # of the second and third chart
BUDGET = ["dataset", "model", "train_examples", "epochs"]


def shown(frame: pd.DataFrame, metric: str, rules: Sequence[str] = ()) -> pd.DataFrame:
    """Returns the runs of a chart, with ``labels`` shortened to the rule and its step.

    Args:
      frame: runs that can be compared.
      metric: a metric that the runs have.
      rules: label rules that are shown, all if empty.

    Raises:
      ValueError: there are none, or cells of a block differ in α alone.
    """
    frame = frame[frame[metric].notna()] if metric in frame else frame[:0]
    if frame.empty:
        raise ValueError(f"no run has {metric}")
    options = [label_names.options(run) for run in frame["record"]]
    plain = pd.Series([own.keys() <= {OPTION} for own in options], frame.index, dtype=bool)
    seeds = frame.groupby("cell")["cell"].transform("size")
    ends = [f", {OPTION}={own[OPTION]}" if OPTION in own else "" for own in options]
    labels = [name.removesuffix(end) for name, end in zip(frame["labels"], ends, strict=True)]
    named = frame["label_rule"].isin(rules or frame["label_rule"])
    kept = frame.assign(labels=labels)[plain & named & (seeds >= MIN_SEEDS)]
    if kept.empty:
        raise ValueError(f"no label rule has {metric} of {MIN_SEEDS} seeds or more")
    same = kept.groupby(["block", "labels"])["cell"].nunique()
    if (same > 1).any():
        name = same.idxmax()[1]
        raise ValueError(f"{name} has several values of {OPTION} in a study; pass runs of one")
    return kept


def interval(values: pd.Series) -> tuple[float, float]:
    """Returns the mean, and the half width of its interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return values.mean(), half


@plots.STYLE
def ece_by_rule(frame: pd.DataFrame) -> Figure:
    """Draws ECE after temperature scaling by label rule, with a panel for each augmentation.

    The axis starts at 0. Data sets of which runs have one augmentation are left out. The vertical
    line is at the mean of one-hot labels.

    Raises:
      ValueError: no data set has runs of several augmentations.
    """
    frame = shown(frame, "ece_ts")
    several = frame.groupby(BUDGET)["augmentation"].transform("nunique") > 1
    if not several.any():
        raise ValueError("no data set has runs of several augmentations")
    budgets = list(frame[several].groupby(BUDGET, sort=False))
    figure = plt.figure(figsize=(plots.WIDTH, 2.9 * len(budgets)))
    parts = figure.subfigures(len(budgets), 1, squeeze=False)[:, 0]
    for part, ((dataset, model, images, epochs), runs) in zip(parts, budgets, strict=True):
        names = list(dict.fromkeys(runs["labels"]))
        blocks = [block for _, block in runs.groupby("block")]
        axes = part.subplots(1, len(blocks), sharex=True, sharey=True)
        for place, block in zip(axes, blocks, strict=True):
            _draw_rules(place, block, names)
        axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axes[0].set_xlim(left=0)
        seeds = comparison_plots.span(runs.groupby("cell").size())
        part.suptitle(f"{dataset}, {model}, {images} images, {epochs} epochs, seeds: {seeds}")
        part.supxlabel("ECE % after temperature scaling", fontsize=9)
    return figure


def _draw_rules(place: Axes, block: pd.DataFrame, names: list[str]) -> None:
    """Draws a point with its interval for each label rule of a block."""
    looks = comparison_plots.looks(names)
    for name, runs in block.groupby("labels", sort=False):
        mean, half = interval(100 * runs["ece_ts"])
        place.errorbar(mean, names.index(name), xerr=half, **looks[name])
        if name == BASE:
            place.axvline(mean, color="0.5", linewidth=0.8, zorder=0)
    place.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    place.set_title(block["augmentation"].iloc[0])


@plots.STYLE
def nll_differences(frame: pd.DataFrame) -> Figure:
    """Draws the NLL of label rules without a temperature minus that of one-hot labels with one.

    Differences are paired over seeds, in a row for each block. Other label rules than those of
    ``RULES`` are left out: some of their differences are ten times as large.

    Raises:
      ValueError: no block has one-hot labels.
    """
    frame = shown(frame, "nll_ts", RULES)
    looks = comparison_plots.looks(frame["labels"])
    blocks = [block for _, block in frame.groupby("block") if BASE in set(block["label_rule"])]
    if not blocks:
        raise ValueError(f"no label rule can be compared with {BASE} of {MIN_SEEDS} seeds or more")
    figure, place = plt.subplots(figsize=(plots.WIDTH, 0.6 * len(blocks) + 0.5))
    for row, block in enumerate(blocks):
        base = block[block["label_rule"] == BASE].set_index("seed")["nll_ts"]
        for name, runs in block.groupby("labels", sort=False):
            gaps = (runs.set_index("seed")["nll"] - base).dropna()
            if len(gaps) < MIN_SEEDS:
                continue
            mean, half = interval(gaps)
            offset = 0.7 * ((list(looks).index(name) + 0.5) / len(looks) - 0.5)
            look = looks[name] | {"linestyle": "none"}
            place.errorbar(mean, row + offset, xerr=half, **look, label=name)
    titles = list(map(comparison_plots.title, blocks))
    place.set(yticks=range(len(blocks)), yticklabels=titles, ylim=(len(blocks) - 0.5, -0.5))
    place.set_xlabel("NLL minus NLL of one_hot after temperature scaling (below 0: better)")
    place.axvline(0, color="black", linewidth=0.8)
    plots.legend(figure, [place])
    return figure


@plots.STYLE
def severity(frame: pd.DataFrame) -> Figure:
    """Draws the mean ECE over corruptions against severity, with a panel for each block."""
    frame = shown(frame, comparison_plots.BY_SEVERITY.format(""), RULES)
    scaled = "one_hot after temperature scaling"
    looks = comparison_plots.looks(frame["labels"])
    looks[scaled] = looks.get(BASE, plots.style(0)) | {"linestyle": ":", "fillstyle": "none"}
    figure, axes = plots.grid(frame["block"].nunique(), height=2.1, sharey=True)
    for place, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        cells = block.groupby("labels", sort=False)
        series = {name: comparison_plots.severities(runs) for name, runs in cells}
        one_hot = block[block["label_rule"] == BASE]
        series[scaled] = comparison_plots.severities(one_hot, "_ts")
        comparison_plots.draw_severities(place, series, looks)
        place.set_title(comparison_plots.title(block))
    for place in axes[::3]:
        place.set_ylabel("ECE %")
    for place in axes[-3:]:
        place.set_xlabel("severity of the corruption")
    plots.legend(figure, axes)
    return figure
