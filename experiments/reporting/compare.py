"""Compares cells of a frame over the seeds that they have in common, and their label curves."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from experiments.reporting import frame as frames
from experiments.reporting import naming
from experiments.reporting.run_files import CURVES, RunRecord

LEVEL = 0.95  # confidence level of intervals; 1 - LEVEL is that of the paired t test
MIN_SEEDS = 3  # that the test needs
# Metrics of AutoLabel against temperature scaling and smoothing.
METRICS = ("ece", "nll", "accuracy", "corrupted_ece", "corrupted_accuracy")
HELD_OUT = "calibration_nll"  # in the last line of metrics.jsonl, without a temperature
THIRDS = 3  # of training, over which label curves are averaged
EQUAL = 1e-6  # labels and accuracies are written as float32
NONE = pd.DataFrame(columns=["mean", "low", "high", "count"], dtype=float)


def interval(values: pd.Series | pd.DataFrame) -> tuple:
    """Returns the mean over rows, and the half width of Student's 95 % interval."""
    return values.mean(), values.sem() * stats.t.ppf((1 + LEVEL) / 2, values.count() - 1)


def difference(cell: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Returns cell minus base, each [seeds, metrics], over common seeds: mean, low, high, count."""
    mean, half = interval(cell - base)
    ends = {"mean": mean, "low": mean - half, "high": mean + half}
    return pd.DataFrame(ends | {"count": (cell - base).count()})


def means(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns mean, sample standard deviation and count over seeds, by cell and metric."""
    runs = frame[["cell", *metrics]].melt("cell", var_name="metric")
    return runs.groupby(["cell", "metric"])["value"].agg(["mean", "std", "count"])


def _by_seed(frame: pd.DataFrame, metrics: Sequence[str]) -> dict[int, pd.DataFrame]:
    """Returns the metrics of each cell, with the seeds as index."""
    return {cell: own[list(metrics)] for cell, own in frame.set_index("seed").groupby("cell")}


def best(frame: pd.DataFrame, metrics: Sequence[str]) -> set[tuple[int, str]]:
    """Finds the best mean of each block, if a paired t test against the runner-up is passed.

    If the common seeds rank the two differently than all seeds do, none is the best.
    """
    found, seeds = set(), _by_seed(frame, metrics)
    means = frame.groupby("cell")[list(metrics)].mean()
    for cells, metric in itertools.product(frame.groupby("block")["cell"].unique(), metrics):
        sign = 1 if "accuracy" in metric else -1
        own = sign * means.loc[cells, metric].dropna()
        ranked = own.sort_values(ascending=False, kind="stable").index[:2]
        if len(ranked) == 2:
            gap = difference(*(sign * seeds[cell][[metric]] for cell in ranked)).loc[metric]
            if gap["low"] > 0 and gap["count"] >= MIN_SEEDS:
                found.add((ranked[0], metric))
    return found


def to_one_hot(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns the differences, by cell and metric, of cells to the one-hot cell of their block."""
    seeds, gaps = _by_seed(frame, metrics), {}
    for _, block in frame.groupby("block"):
        for base in block.loc[block["label_rule"] == "one_hot", "cell"].unique()[:1]:
            others = block.loc[block["cell"] != base, "cell"].unique()
            gaps |= {cell: difference(seeds[cell], seeds[base]) for cell in others}
    return pd.concat({-1: NONE} | gaps, names=["cell", "metric"])


def to_baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns differences by AutoLabel's cell, without a temperature, the baseline, and metric.

    The baselines are one-hot labels with a temperature, which does not change accuracy, and the
    best constant smoothing. Both use the same held-out images as AutoLabel.
    """
    present = frames.present(frame)
    metrics = [metric for metric in METRICS if metric in present]
    scaled = [m if m.endswith("accuracy") else f"{m}_ts" for m in metrics]
    seeds, gaps = _by_seed(frame, present), {}
    for _, block in frame.groupby("block"):
        first = block.drop_duplicates("cell").set_index("cell")
        cells = {rule: list(own.index) for rule, own in first.groupby("label_rule")}
        fixed, best, baselines = cells.get("smoothing", []), best_smoothing(block), {}
        if one_hot := cells.get("one_hot"):
            baselines["one_hot (TS)"] = seeds[one_hot[0]].reindex(columns=scaled)
        if best is not None:
            shares = [run.settings["labels.smoothing"] for run in first.loc[fixed, "record"]]
            choices = ", ".join(f"{share:g}".removeprefix("0") or "0" for share in shares)
            name = first.loc[best, "rule"] + f" (of {choices})" * (len(fixed) > 1)
            baselines[name] = seeds[best].reindex(columns=metrics)
        for cell in cells.get("autolabel", ()):
            for name, own in baselines.items():
                gaps[cell, name] = difference(seeds[cell][metrics], own.set_axis(metrics, axis=1))
    return pd.concat({(-1, ""): NONE} | gaps, names=["cell", "minus", "metric"])


def best_smoothing(block: pd.DataFrame) -> int | None:
    """Returns the cell of smoothing with the lowest mean held-out NLL over common seeds."""
    fixed = block[block["label_rule"] == "smoothing"]
    if fixed["cell"].nunique() < 2:
        return next(iter(fixed["cell"]), None)
    losses = [run.lines[-1].get(HELD_OUT) if run.lines else None for run in fixed["record"]]
    losses = fixed.assign(loss=losses).pivot(index="seed", columns="cell", values="loss")
    common = losses.astype(float).dropna()
    return None if common.empty else common.mean().idxmin()


def at_bound(frame: pd.DataFrame) -> pd.Series:
    """Whether each run's temperature stands for an optimum at 0, at infinity or nowhere."""
    own = frame.reindex(columns=["temperature", "temperature_optimum"])
    temperature, kind = own["temperature"].astype(float), own["temperature_optimum"]
    # Runs before ``temperature_optimum`` was recorded searched from .01 to 100.
    old = kind.isna() & ((temperature < 0.01001) | (temperature > 99.9))
    return old | kind.isin(["zero", "infinite", "none"])


def courses(frame: pd.DataFrame) -> pd.DataFrame:
    """Averages AutoLabel's curves over buckets and seeds in each third of the epochs, 'of them'.

    Only cells count of which every run has all curves for three epochs or more.
    """
    means = {-1: pd.DataFrame()}
    for cell, runs in frame[frame["label_rule"] == "autolabel"].groupby("cell")["record"]:
        lengths = {len(line.get(name, ())) for run in runs for line in run.lines for name in CURVES}
        if len(lengths) == 1 and all(lengths) and min(len(r.lines) for r in runs) >= THIRDS:
            means[cell] = pd.concat(map(_by_third, runs)).groupby(level=0, sort=False).mean()
    return pd.concat(means, names=["cell", "of them"])


def _by_third(run: RunRecord) -> pd.DataFrame:
    """Averages over the epochs of each third; averaged sums have another accuracy to clip at."""
    curves = (pd.DataFrame([line[name] for line in run.lines], dtype=float) for name in CURVES)
    label, accuracy, confidence, ece = curves
    gap, settings = confidence - accuracy, naming.DEFAULTS | run.config
    turn = gap * gap.shift()
    averaged = settings["labels.momentum"] > 0 or not settings["calibration.exact"]
    clipped = ((label - accuracy).abs() <= EQUAL) & (label < 1 - EQUAL)
    values = {
        "mean change": label.diff().abs(),
        "sign turns": (turn < 0).where(turn.notna()),
        "at the clip": clipped.where(accuracy.notna() & (not averaged)),
        "at 1": label >= 1 - EQUAL,
        "gap": gap.abs(),
        "ECE less gap": ece - gap.abs(),
    }
    rows = {}
    for part in np.array_split(np.arange(len(label)), THIRDS):
        own = label.iloc[part].mean()
        row = {"mean label": own.mean(), "lowest bucket": own.min()}
        row |= {name: value.iloc[part].stack().mean() for name, value in values.items()}
        rows[f"{part[0] + 1}-{part[-1] + 1}"] = row
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float)
