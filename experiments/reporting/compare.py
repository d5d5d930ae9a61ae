"""Compares cells of a frame over the seeds that they have in common."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from experiments.reporting import columns
from experiments.reporting import frame as frames

LEVEL = 0.95  # confidence level of intervals; 1 - LEVEL is that of the paired t test
MIN_SEEDS = 3  # that the test needs
# Metrics of AutoLabel against temperature scaling and smoothing.
METRICS = ("ece", "nll", "accuracy", "corrupted_ece", "corrupted_accuracy")
HELD_OUT = "calibration_nll"  # in the last line of metrics.jsonl, without a temperature


def interval(values: pd.Series | pd.DataFrame) -> tuple:
    """Returns the mean over rows, and the half width of Student's 95 % interval."""
    half = values.sem() * stats.t.ppf((1 + LEVEL) / 2, values.count() - 1)
    return values.mean(), half


def difference(cell: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Returns cell minus base, each float [seeds, metrics], over common seeds.

    The columns are mean, low, high and count, with NaN in Student's 95 % interval of one seed.
    """
    gaps = cell - base
    mean, half = interval(gaps)
    ends = {"mean": mean, "low": mean - half, "high": mean + half, "count": gaps.count()}
    return pd.DataFrame(ends)


def means(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns mean, sample standard deviation and count over seeds, by cell and metric."""
    runs = frame[["cell", *metrics]].melt("cell", var_name="metric")
    return runs.groupby(["cell", "metric"])["value"].agg(["mean", "std", "count"])


def _by_seed(frame: pd.DataFrame, metrics: Sequence[str]) -> dict[int, pd.DataFrame]:
    """Returns the metrics of each cell, with the seeds as index."""
    runs = frame.set_index("seed")[["cell", *metrics]]
    return {cell: own[list(metrics)] for cell, own in runs.groupby("cell")}


def best(frame: pd.DataFrame, metrics: Sequence[str]) -> set[tuple[int, str]]:
    """Finds the best mean of each block, if a paired t test against the runner-up is passed.

    The test of level 5 % is passed where the 95 % interval of the difference excludes 0. The
    common seeds may rank the two differently than all seeds do, then none is the best.
    """
    found, seeds = set(), _by_seed(frame, metrics)
    means = frame.groupby("cell")[list(metrics)].mean()
    for _, cells in frame.groupby("block")["cell"].unique().items():
        for metric in metrics:
            higher = columns.is_higher_better(metric)
            own = means.loc[cells, metric].dropna()
            ranked = own.sort_values(ascending=not higher, kind="stable").index[:2]
            if len(ranked) == 2:
                gap = difference(*(seeds[cell][[metric]] for cell in ranked)).loc[metric]
                is_better = gap["low"] > 0 if higher else gap["high"] < 0
                if is_better and gap["count"] >= MIN_SEEDS:
                    found.add((ranked[0], metric))
    return found


def to_one_hot(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns the differences, by cell and metric, of cells to the one-hot cell of their block."""
    seeds, gaps = _by_seed(frame, metrics), {}
    for _, block in frame[["block", "cell", "label_rule"]].groupby("block"):
        base = _one_hot(block)
        others = [cell for cell in block["cell"].unique() if base not in (None, cell)]
        gaps |= {cell: difference(seeds[cell], seeds[base]) for cell in others}
    return _stacked(gaps, ["cell", "metric"])


def to_baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns differences by AutoLabel's cell, without a temperature, the baseline, and metric.

    The baselines cost as little: one-hot labels with a temperature, and the best constant
    smoothing. Both use the same held-out images as AutoLabel, and neither the test set to choose
    anything. A temperature does not change accuracy.
    """
    present = frames.present(frame)
    metrics = [metric for metric in METRICS if metric in present]
    seeds, gaps = _by_seed(frame, present), {}
    scaled = [m if m.endswith("accuracy") else f"{m}_ts" for m in metrics]
    names = ["block", "cell", "seed", "label_rule", "rule", "record"]
    for _, block in frame[names].groupby("block"):
        baselines = {}
        if (base := _one_hot(block)) is not None:
            baselines["one_hot (TS)"] = seeds[base].reindex(columns=scaled)
        fixed, best = best_smoothing(block)
        if best is not None:
            cells = block.drop_duplicates("cell").set_index("cell")
            shares = [run.settings["labels.smoothing"] for run in cells.loc[fixed, "record"]]
            choices = ", ".join(f"{share:g}".removeprefix("0") or "0" for share in shares)
            name = cells.loc[best, "rule"] + f" (of {choices})" * (len(fixed) > 1)
            baselines[name] = seeds[best].reindex(columns=metrics)
        for cell in block.loc[block["label_rule"] == "autolabel", "cell"].unique():
            for name, own in baselines.items():
                gaps[cell, name] = difference(seeds[cell][metrics], own.set_axis(metrics, axis=1))
    return _stacked(gaps, ["cell", "minus", "metric"])


def best_smoothing(block: pd.DataFrame) -> tuple[list[int], int | None]:
    """Chooses the smoothing constant with the lowest mean held-out NLL over the common seeds.

    Returns all cells to choose from, and the best; None without one or without a common seed.
    """
    fixed = block[block["label_rule"] == "smoothing"]
    cells = list(fixed["cell"].unique())
    if len(cells) < 2:
        return cells, next(iter(cells), None)
    losses = [run.lines[-1].get(HELD_OUT) if run.lines else None for run in fixed["record"]]
    losses = fixed.assign(loss=np.array(losses, float)).set_index(["seed", "cell"])["loss"]
    common = losses.unstack().dropna()
    return cells, None if common.empty else common.mean().idxmin()


def _one_hot(block: pd.DataFrame) -> int | None:
    return next(iter(block.loc[block["label_rule"] == "one_hot", "cell"]), None)


def _stacked(gaps: dict, names: list[str]) -> pd.DataFrame:
    if gaps:
        return pd.concat(gaps, names=names)
    index = pd.MultiIndex.from_tuples([], names=names)
    return pd.DataFrame(columns=["mean", "low", "high", "count"], index=index, dtype=float)


def at_bound(frame: pd.DataFrame) -> pd.Series:
    """Whether each run's temperature stands for an optimum at 0, at infinity or nowhere.

    Runs before ``temperature_optimum`` was recorded searched from .01 to 100: they count if their
    temperature is at an end of it.
    """
    temperature, kind = (
        frame.get(name, pd.Series(None, frame.index, dtype))
        for name, dtype in (("temperature", float), ("temperature_optimum", object))
    )
    old = kind.isna() & ((temperature < 0.01001) | (temperature > 99.9))
    return old | kind.isin(["zero", "infinite", "none"])
