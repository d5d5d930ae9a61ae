"""Reads runs into one tidy pandas frame, and compares its cells over the seeds both have.

A row is a run, in the order of tables: by data set, model and number of images, augmentation,
block, labels, cell and seed. The columns are all entries of ``result.json``, metrics as float, and:

- ``cell``: int, runs that differ only in the seed; ``block``: int, cells that may be compared.
- ``model`` ('mlp-256'), ``augmentation``, ``labels``: names in tables, see ``NAMES``.
- ``rule``: ``labels`` without the settings that tell apart equal names.
- ``run``: its folder; ``record``: its ``run_files.RunRecord``, for config and metrics.jsonl.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.reporting import naming, run_files
from experiments.reporting.run_files import CURVES, RESTORE, SIZES, RunRecord

NAMES = ("dataset", "model", "augmentation", "labels", "train_examples", "epochs")
BUDGET = ["dataset", "model", "train_examples"]
# What every result holds, and what a config and lines of metrics.jsonl must.
TEXTS = ("dataset", "model", "augmentation", "label_rule", "revision")
METRICS = ("accuracy", "ece", "nll", "brier")
NUMBERS = ("seed", "epochs", *METRICS)
NUMERIC = (*NUMBERS, *SIZES, *naming.HEADERS)
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")
LEVEL = 0.95  # confidence level of intervals; 1 - LEVEL is that of the paired t test
MIN_SEEDS = 3  # that the test needs
# Metrics of AutoLabel against temperature scaling and smoothing.
COMPARED = ("ece", "nll", "accuracy", "corrupted_ece", "corrupted_accuracy")
HELD_OUT = "calibration_nll"  # in the last line of metrics.jsonl, without a temperature
THIRDS = 3  # of training, over which label curves are averaged
EQUAL = 1e-6  # labels and accuracies are written as float32
NONE = pd.DataFrame(columns=["mean", "low", "high", "count"], dtype=float)


def load(arguments: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads runs: the frame of those that compare, and the others, as run, reason and record."""
    records = run_files.load(arguments)
    runs = pd.DataFrame({"run": [str(run.workdir) for run in records], "record": records})
    runs["reason"] = [next(filter(None, _reasons(run)), "") for run in records]
    sound = runs.loc[runs["reason"] == "", "record"]
    # A folder's runs compare in its most common numerics version, of equally common the newest.
    for _, own in sound.groupby(sound.map(lambda run: run.workdir.resolve().parent)):
        versions = own.map(lambda run: tuple(run_files.numerics(run.result).items()))
        texts = versions.map(lambda one: ", ".join(f"{n.replace('_', ' ')} {v}" for n, v in one))
        usual = texts[max(own.index, key=lambda i: (list(texts).count(texts[i]), versions[i]))]
        others = texts[texts != usual]
        runs.loc[others.index, "reason"] = "of " + others + f", the others are of {usual}"
    sound = runs.loc[runs["reason"] == "", "record"]
    seeded = sound.map(lambda run: json.dumps([run.settings, run.result["seed"]], sort_keys=True))
    for i, first in sound.groupby(seeded).transform("first")[seeded.duplicated()].items():
        same = all(sound[i].result[name] == first.result[name] for name in METRICS)
        what = f"with {'the same' if same else 'other'} metrics; counted once"
        runs.loc[i, "reason"] = f"repeats config and seed of {first.workdir}, {what}"
    apart = runs["reason"] != ""
    return make(list(runs.loc[~apart, "record"])), runs[apart].reset_index(drop=True)


def _reasons(run: RunRecord) -> Iterator[str]:
    """Yields why a run cannot be compared, '' for a passed check; later ones need earlier ones."""

    def about(what: str, names: Sequence[str]) -> str:
        return f"{what} {', '.join(names)}; {RESTORE}" if names else ""

    result, needed = run.result or {}, (*TEXTS, *NUMBERS)
    epochs = (run.result or run.config).get("epochs")
    yield run.fault
    done = f"{len(run.lines)} of {epochs} epochs in metrics.jsonl; run its command again"
    yield f"not finished: no result.json; {done}" if run.result is None else ""
    yield about("result.json lacks", [n for n in needed if n not in result])
    yield about("config.json lacks", [n for n in NEEDED_CONFIG if n not in run.config])
    kinds = {n: (str,) * (n not in NUMERIC) + (NoneType,) * (n not in needed) for n in result}
    wrong = [name for name, own in kinds.items() if not _is_finite(result[name], own)]
    yield about("not finite, or of a wrong type, in result.json:", wrong)
    yield f"not finished: {done}" if len(run.lines) < epochs else ""
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer stores null, which a curve also has for an empty bucket.
        wrong = [n for n in LINE_METRICS if n in line and not _is_finite(line[n])]
        wrong += [n for n in CURVES[1:] if not _is_finite(line.get(n), NoneType)]
        yield about(f"not finite in epoch {i + 1} of metrics.jsonl:", wrong)


def _is_finite(value: Any, other: type | tuple[type, ...] = ()) -> bool:
    """Whether all numbers in a value are finite, and all else in it is of the ``other`` types."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return all(_is_finite(v, other) for v in inside)
    return isinstance(value, other) or (isinstance(value, int | float) and math.isfinite(value))


def make(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Makes the frame of runs that can be compared, see ``load``; empty if there are none."""
    if not runs:
        return pd.DataFrame(columns=[*NAMES, "cell", "block", "label_rule", "run", "record"])
    labels = [naming.label_names(run.result["label_rule"], run.settings) for run in runs]
    rules, orders = zip(*labels, strict=True)
    frame = pd.DataFrame([{"train_examples": ""} | run.result for run in runs])
    ranks = [naming.rank("augment.name", name) for name in frame["augmentation"]]
    # The copy joins the columns that astype took apart, about which pandas would warn.
    frame = frame.astype(dict.fromkeys(naming.HEADERS.keys() & frame.columns, float)).copy()
    frame = frame.assign(
        model=[naming.model_name(run.config) for run in runs],
        augmentation=[naming.title("augment.name", name) for name in frame["augmentation"]],
        rule=rules,
        run=[str(run.workdir) for run in runs],
        record=runs,
    )
    settings = pd.DataFrame([run.settings for run in runs], dtype=object)
    settings = settings.map(str, na_action="ignore")
    of_data = [name for name in settings if not name.startswith(run_files.OF_LABELS)]
    for name, own in {"block": of_data, "cell": list(settings)}.items():
        frame[name] = settings.groupby(own, sort=False, dropna=False).ngroup()
    budget = frame.groupby(BUDGET, sort=False).ngroup()
    keys = budget, ranks, frame["block"], orders, frame["cell"], frame["seed"], range(len(runs))
    order = [key[-1] for key in sorted(zip(*keys, strict=True))]
    frame, settings = (own.iloc[order].reset_index(drop=True) for own in (frame, settings))
    frame[["block", "cell"]] = frame[["block", "cell"]].apply(lambda own: pd.factorize(own)[0])
    alike = frame.groupby([*BUDGET, "augmentation", "rule", "epochs"], sort=False)
    varied = pd.concat([_told_apart(settings.loc[own.index]) for _, own in alike])
    return frame.assign(labels=frame["rule"] + varied)


def _told_apart(settings: pd.DataFrame) -> pd.Series:
    """Returns ', labels.alpha=0.5', in which rows differ; defaults of methods are left out."""
    own = settings.loc[:, settings.nunique(dropna=False) > 1]
    if "revision" in own:
        own = own.assign(revision=own["revision"].str[:7])
    usual = {n: {str(naming.DEFAULTS.get(n)): np.nan} for n in own.filter(regex="^(augment|loss)")}
    rows = [row.dropna().items() for _, row in own.replace(usual).iterrows()]
    return pd.Series(["".join(map(", {0[0]}={0[1]}".format, row)) for row in rows], settings.index)


def present(frame: pd.DataFrame) -> list[str]:
    """Returns the metrics of tables that any run has."""
    shown = [name for name in naming.HEADERS if name != "temperature"]
    return list(frame.reindex(columns=shown).dropna(axis=1, how="all"))


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


def best(frame: pd.DataFrame, metrics: Sequence[str]) -> set[tuple[int, str]]:
    """Finds the best mean of each block, if it passes a paired t test against the runner-up."""
    found, seeds = set(), frame.set_index(["cell", "seed"])[list(metrics)]
    seeds *= [1 if "accuracy" in metric or "auroc" in metric else -1 for metric in metrics]
    means = seeds.groupby(level="cell").mean()
    for cells in frame.groupby("block")["cell"].unique():
        ranked = {m: own.dropna().nlargest(2).index for m, own in means.loc[cells].items()}
        pairs = {metric: pair for metric, pair in ranked.items() if len(pair) == 2}
        if pairs:
            own = seeds.loc[cells].unstack("cell")
            first, second = (
                own[[(metric, pair[i]) for metric, pair in pairs.items()]].droplevel(1, axis=1)
                for i in range(2)
            )
            gaps = difference(first, second)
            won = gaps.index[(gaps["low"] > 0) & (gaps["count"] >= MIN_SEEDS)]
            found |= {(pairs[metric][0], metric) for metric in won}
    return found


def to_one_hot(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns the differences, by cell and metric, of cells to the one-hot cell of their block."""
    seeds, gaps = frame.set_index(["cell", "seed"])[list(metrics)], {}
    for _, block in frame.groupby("block"):
        for base in block.loc[block["label_rule"] == "one_hot", "cell"].unique()[:1]:
            others = block.loc[block["cell"] != base, "cell"].unique()
            gaps |= {cell: difference(seeds.loc[cell], seeds.loc[base]) for cell in others}
    return pd.concat({-1: NONE} | gaps, names=["cell", "metric"])


def to_baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns AutoLabel's differences to baselines, by cell, baseline and metric."""
    # One-hot labels with a temperature, and the best smoothing, both from held-out images too.
    shown, seeds, gaps = present(frame), frame.set_index(["cell", "seed"]), {}
    metrics = [metric for metric in COMPARED if metric in shown]
    scaled = [m if m.endswith("accuracy") else f"{m}_ts" for m in metrics]
    for _, block in frame.groupby("block"):
        first = block.drop_duplicates("cell").set_index("cell")
        cells = {rule: list(own.index) for rule, own in first.groupby("label_rule")}
        fixed, best, baselines = cells.get("smoothing", []), best_smoothing(block), {}
        if one_hot := cells.get("one_hot"):
            baselines["one_hot (TS)"] = seeds.loc[one_hot[0]].reindex(columns=scaled)
        if best is not None:
            shares = [run.settings["labels.smoothing"] for run in first.loc[fixed, "record"]]
            choices = ", ".join(f"{share:g}".removeprefix("0") or "0" for share in shares)
            name = first.loc[best, "rule"] + f" (of {choices})" * (len(fixed) > 1)
            baselines[name] = seeds.loc[best, metrics]
        for cell, (name, own) in itertools.product(cells.get("autolabel", ()), baselines.items()):
            gaps[cell, name] = difference(seeds.loc[cell, metrics], own.set_axis(metrics, axis=1))
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
    """Whether a run has no finite best temperature, so that its own is at a bound."""
    own = frame.reindex(columns=["temperature", "temperature_optimum"])
    temperature, kind = own["temperature"].astype(float), own["temperature_optimum"]
    # Runs before ``temperature_optimum`` was recorded searched from .01 to 100.
    old = kind.isna() & ((temperature < 0.01001) | (temperature > 99.9))
    return old | kind.isin(["zero", "infinite", "none"])


def courses(frame: pd.DataFrame) -> pd.DataFrame:
    """Averages AutoLabel's whole curves over buckets and seeds in each third of the epochs."""
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
