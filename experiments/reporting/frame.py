"""Reads runs into one tidy pandas frame, from which tables, figures and the report are made.

A row is a run, in the order of tables: by data set, model and number of images, augmentation,
block, labels, cell and seed. The columns are all entries of ``result.json``, metrics as float, and:

- ``cell``: int, runs that differ only in the seed; ``block``: int, cells that may be compared.
- ``model`` ('mlp-256'), ``augmentation``, ``labels``: names in tables, see ``NAMES``.
- ``rule``: ``labels`` without the settings that tell apart equal names.
- ``run``: its folder; ``record``: its ``run_files.RunRecord``, for config and metrics.jsonl.

So ``frame.groupby("cell")["ece"].agg(["mean", "std", "count"])`` is a column of a table.
"""

import json
import math
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import pandas as pd

from experiments.reporting import naming, run_files
from experiments.reporting.naming import HEADERS
from experiments.reporting.run_files import CURVES, RESTORE, SIZES, RunRecord

NAMES = ("dataset", "model", "augmentation", "labels", "train_examples", "epochs")
BUDGET = ["dataset", "model", "train_examples"]
# What every result holds, and what a config and lines of metrics.jsonl must.
TEXTS = ("dataset", "model", "augmentation", "label_rule", "revision")
METRICS = ("accuracy", "ece", "nll", "brier")
NUMBERS = ("seed", "epochs", *METRICS)
NUMERIC = (*NUMBERS, *SIZES, *HEADERS)
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")


def load(arguments: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads runs, see ``run_files.load``: the frame of those that can be compared, and the others.

    The second has columns run, reason and record. All comparable runs of a folder have the same
    numerics version, the most common one there or, of equally common ones, the newest. Of runs
    with the same settings and seed the first one counts.
    """
    records = run_files.load(arguments)
    runs = pd.DataFrame({"run": [str(run.workdir) for run in records], "record": records})
    runs["reason"] = [next(filter(None, _reasons(run)), "") for run in records]
    sound = runs.loc[runs["reason"] == "", "record"]
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
    frame = frame.astype(dict.fromkeys(HEADERS.keys() & frame.columns, float)).copy()
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
    """Returns ', labels.alpha=0.5, buckets.num=3', the settings in which the rows differ."""
    differing = settings.loc[:, settings.nunique(dropna=False) > 1]
    if "revision" in differing:
        differing = differing.assign(revision=differing["revision"].str[:7])
    rows = [row.dropna().items() for _, row in differing.iterrows()]
    return pd.Series(["".join(map(", {0[0]}={0[1]}".format, row)) for row in rows], settings.index)


def present(frame: pd.DataFrame) -> list[str]:
    """Returns the metrics of tables that any run has."""
    shown = [name for name in HEADERS if name != "temperature"]
    return list(frame.reindex(columns=shown).dropna(axis=1, how="all"))
