"""Draws figures that compare the runs of a frame, with panels for each block or metric."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import compare, methods, plots
from experiments.reporting import frame as frames
from experiments.reporting.columns import HEADERS, TABLE

SCALINGS = {"": "before temperature scaling", "_ts": "after temperature scaling"}
BY_SEVERITY = "corrupted_ece{}_by_severity"
SEVERITY = BY_SEVERITY.format("")
SEVERITIES = ("clean", "1", "2", "3", "4", "5")
MIN_ECE, MIN_ACCURACY = 5, 10  # smallest spans of the axes, in points
DIFFERENCES = ("ece", "nll", "corrupted_ece")
ALL_IF_0 = ("calibration.images", "calibration.images_per_update")
VARIED = ("ece", "nll", "accuracy", "corrupted_ece", "label")
LABEL = "learned label, mean over\nbuckets, last fifth of epochs"


def _blocks(axes: Iterable[Axes], frame: pd.DataFrame) -> Iterator[tuple]:
    """Yields the axes, label, runs and look of each cell; a label has one look in all blocks."""
    looks = {name: plots.style(i) for i, name in enumerate(frame["labels"].unique())}
    for place, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        place.set_title(plots.block_title(block))
        for name, runs in block.groupby("labels", sort=False):
            yield place, name, runs, looks[name]


@plots.STYLE
def accuracy_against_ece(frame: pd.DataFrame) -> Figure:
    """Draws ECE against accuracy, a mark a run; axes have least spans, so as not to exaggerate."""
    figure, axes = plots.grid(frame["block"].nunique())
    for place, name, runs, look in _blocks(axes, frame):
        points = 100 * runs["accuracy"], 100 * runs["ece"]
        place.plot(*points, **look | {"linestyle": "none"}, label=name)
    for place in axes:
        low, high = place.get_xlim()
        high = min(high + max(MIN_ACCURACY - (high - low), 0) / 2, 100)
        place.set_xlim(min(low, high - MIN_ACCURACY), high)
        place.set_ylim(0, max(place.get_ylim()[1], MIN_ECE))
        place.set(xlabel="accuracy %", ylabel="ECE %")
    return plots.finish(figure, axes)


@plots.STYLE
def ece_against_severity(frame: pd.DataFrame) -> Figure:
    """Draws mean ECE ± standard deviation against severity, before and after a temperature."""
    frame = frame[frame[SEVERITY].notna()]
    figure, axes = plots.panels(frame["block"].nunique(), 2, 2.9, sharex=True, sharey="row")
    num = frame["labels"].nunique()
    shifts = np.linspace(-1, 1, num) * min(0.03 * num, 0.2)  # no bar hides another
    shifts = dict(zip(frame["labels"].unique(), shifts, strict=True))
    for column, (scaling, when) in zip(axes.T, SCALINGS.items(), strict=True):
        for place, name, runs, look in _blocks(column, frame):
            found = runs.reindex(columns=[f"ece{scaling}", BY_SEVERITY.format(scaling)])
            found = found.dropna(subset=found.columns[1:])
            curves = 100 * np.array([[clean, *by] for clean, by in found.values], float)
            if len(curves):
                sd = curves.std(0, ddof=1) if len(curves) > 1 else None
                place.errorbar(np.arange(6) + shifts[name], curves.mean(0), sd, **look, label=name)
        for place in column:
            place.set_title(f"{place.get_title()}\n{when}")
            place.set_xticks(range(6), SEVERITIES)
            place.set_yscale("log", nonpositive="clip")
            place.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            place.yaxis.set_major_formatter("{x:g}")
            place.yaxis.set_minor_formatter(ticker.NullFormatter())
        column[-1].set_xlabel("severity of the corruption")
    for place in axes[:, 0]:
        place.set_ylabel("ECE %")
    return plots.finish(figure, axes.ravel())


@plots.STYLE
def differences(frame: pd.DataFrame) -> Figure:
    """Draws ``compare.to_baselines`` with its intervals: a row a cell, a panel a metric."""
    gaps = compare.to_baselines(frame).query("count > 1").reset_index()
    if gaps.empty:
        raise ValueError("no AutoLabel run has a baseline with two seeds in common")
    cells = frame.drop_duplicates("cell").set_index("cell").loc[gaps["cell"].unique()]
    names = cells[["dataset", "model", "augmentation"]].agg(", ".join, axis=1)
    names += "\n" + cells["train_examples"].astype(str) + " images, " + cells["labels"]
    gaps["minus"] = gaps["minus"].replace("smoothing.*", "best smoothing", regex=True)
    metrics = [metric for metric in DIFFERENCES if metric in set(gaps["metric"])]
    figure, (axes,) = plots.panels(1, len(metrics), 0.4 * len(cells) + 1, sharey=True)
    for place, metric in zip(axes, metrics, strict=True):
        factor, own = TABLE.at[metric, "factor"], gaps[gaps["metric"] == metric]
        for i, minus in enumerate(sorted(gaps["minus"].unique())):
            rows = own[own["minus"] == minus]
            mean, half = factor * rows["mean"], factor * (rows["high"] - rows["mean"])
            at, look = cells.index.get_indexer(rows["cell"]) + 0.3 * i - 0.15, plots.style(i)
            place.errorbar(mean, at, xerr=half, **look | {"linestyle": "none"}, label=minus)
        place.axvline(0, color="black", linewidth=0.8)
        place.set_xlabel(HEADERS[metric])
    axes[0].set(yticks=range(len(cells)), yticklabels=names, ylim=(len(cells) - 0.5, -0.5))
    return plots.finish(figure, axes, "AutoLabel without a temperature, minus (below 0: better)")


def _varied(frame: pd.DataFrame, field: str) -> pd.DataFrame:
    """Returns the AutoLabel runs that differ in a field of the config alone.

    Columns are added: ``value`` of the field, and ``curve``, the other settings that differ.
    """
    runs = frame[frame["label_rule"] == "autolabel"]
    others = frames.settings_of(runs)
    value = others.get(field, pd.Series(dtype=object))
    value = value.replace("0", "all") if field in ALL_IF_0 else value
    # The sizes of the splits follow from the config.
    others["train_examples"] = [str(run.config.get("train_examples")) for run in runs["record"]]
    others = others.drop(columns=[field, "calibration_examples"], errors="ignore")
    curve = others.apply(tuple, axis=1).astype(str)
    several = value.groupby(curve).transform("nunique") > 1
    if not several.any():
        raise ValueError(f"--vary={field}: no two AutoLabel runs differ in it alone")
    runs, names = runs[several], frames.told_apart(others[several]).replace("", "autolabel")
    last = [run.lines[-math.ceil(len(run.lines) / 5) :] for run in runs["record"]]
    label = [pd.DataFrame(own)["label_confidence"].explode().astype(float).mean() for own in last]
    return runs.assign(value=value[several], curve=names, label=label)


@plots.STYLE
def vary(frame: pd.DataFrame, field: str) -> Figure:
    """Draws metrics of AutoLabel against a field of the config, mean ± standard deviation."""
    runs = _varied(frame, field)
    values = sorted(runs["value"].unique(), key=methods.natural)
    metrics = [name for name in VARIED if name in runs and runs[name].notna().any()]
    figure, axes = plots.grid(len(metrics))
    for place, metric in zip(axes, metrics, strict=True):
        factor = TABLE["factor"].get(metric, 1)
        for i, (name, own) in enumerate(runs.groupby("curve", sort=False)):
            table = factor * own.groupby("value")[metric].agg(["mean", "std"]).reindex(values)
            at = np.arange(len(values)) + 0.08 * i
            place.errorbar(at, table["mean"], table["std"], **plots.style(i), label=name)
        rotation = 90 * (len("  ".join(values)) > 30)
        place.set_xticks(range(len(values)), values, rotation=rotation)
        place.set(xlabel=field, ylabel=HEADERS.get(metric, LABEL))
    return plots.finish(figure, axes, plots.block_title(runs).replace("\n", ", "))
