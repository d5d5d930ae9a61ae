"""Reads runs into one tidy pandas frame, from which tables, figures and the report are made.

A row is a run, in the order of tables: by data set, model and number of images, augmentation,
block, labels, cell and seed. The columns are all entries of ``result.json``, metrics as float, and:

- ``cell``: int, runs that differ only in the seed; ``block``: int, cells that may be compared.
- ``model`` ('mlp-256'), ``augmentation``, ``labels``: names in tables, see ``NAMES``.
- ``rule`` and ``varied``: ``labels`` without, and only, the settings that tell apart equal names.
- ``run``: its folder; ``record``: its ``run_files.RunRecord``, for config and metrics.jsonl.

So ``frame.groupby("cell")["ece"].agg(["mean", "std", "count"])`` is a column of a table.
"""

from collections.abc import Sequence

import pandas as pd

from experiments.reporting import exclusions, methods, run_files
from experiments.reporting.columns import HEADERS
from experiments.reporting.run_files import RunRecord

NAMES = ("dataset", "model", "augmentation", "labels", "train_examples", "epochs")
BUDGET = ["dataset", "model", "train_examples"]


def load(arguments: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads runs, see ``run_files.load``: the frame of those that can be compared, and the others.

    The second has columns run, reason and record.
    """
    comparable, excluded = exclusions.split_comparable(run_files.load(arguments))
    rows = [(str(run.workdir), reason, run) for run, reason in excluded]
    return make(comparable), pd.DataFrame(rows, columns=["run", "reason", "record"])


def make(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Makes the frame of runs that can be compared, see ``load``; empty if there are none."""
    if not runs:
        return pd.DataFrame(columns=[*NAMES, "cell", "block", "rule", "varied", "run", "record"])
    frame = pd.DataFrame([_row(run) for run in runs])
    # The copy joins the columns that astype took apart, about which pandas would warn.
    frame = frame.astype(dict.fromkeys(HEADERS.keys() & frame.columns, float)).copy()
    settings = settings_of(frame)
    of_data = [name for name in settings if not name.startswith(run_files.OF_LABELS)]
    frame["block"] = settings.groupby(of_data, sort=False, dropna=False).ngroup()
    frame["cell"] = settings.groupby(list(settings), sort=False, dropna=False).ngroup()
    frame["budget"] = frame.groupby(BUDGET, sort=False).ngroup()
    order = frame[["budget", "rank", "block", "order", "cell", "seed"]].itertuples(name=None)
    order = [i for i, *_ in sorted(order, key=lambda places: (*places[1:], places[0]))]
    frame = frame.loc[order].reset_index(drop=True).drop(columns=["budget", "rank", "order"])
    frame[["block", "cell"]] = frame[["block", "cell"]].apply(lambda own: pd.factorize(own)[0])
    alike = frame.groupby([*BUDGET, "augmentation", "rule", "epochs"], sort=False)
    frame["varied"] = pd.concat([told_apart(settings_of(own)) for _, own in alike])
    return frame.assign(
        labels=frame["rule"] + (", " + frame["varied"]).where(frame["varied"] != "", "")
    )


def settings_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the settings of each run as text, a column each; NaN where a run reads none."""
    settings = pd.DataFrame([run.settings for run in frame["record"]], frame.index, dtype=object)
    return settings.map(str, na_action="ignore")


def told_apart(settings: pd.DataFrame) -> pd.Series:
    """Returns 'labels.alpha=0.5, buckets.num=3', the settings in which the rows differ."""
    differing = settings.loc[:, settings.nunique(dropna=False) > 1]
    if "revision" in differing:
        differing = differing.assign(revision=differing["revision"].str[:7])
    rows = [row.dropna().items() for _, row in differing.iterrows()]
    return pd.Series([", ".join(map("=".join, row)) for row in rows], settings.index)


def present(frame: pd.DataFrame) -> list[str]:
    """Returns the metrics of tables that any run has."""
    named = [name for name in HEADERS if name != "temperature" and name in frame]
    return [name for name in named if frame[name].notna().any()]


def single(frame: pd.DataFrame) -> dict[int, dict]:
    """Returns the results of the cells that have one run alone."""
    alone = frame.drop_duplicates("cell", keep=False).set_index("cell")["record"]
    return {cell: run.result for cell, run in alone.items()}


def _row(run: RunRecord) -> dict:
    augmentation = run.result["augmentation"]
    rule, order = methods.label_names(run.result["label_rule"], run.settings)
    names = {
        "model": methods.model_name(run.config),
        "augmentation": methods.title("augment.name", augmentation),
        "rank": methods.rank("augment.name", augmentation),
        **{"rule": rule, "order": order, "run": str(run.workdir), "record": run},
    }
    return {"train_examples": "", **run.result, **names}
