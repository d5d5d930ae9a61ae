"""Reads runs into one tidy pandas frame, from which tables, figures and the report are made.

One row is one run, in the order of tables: blocks of one data set, model and number of images are
adjacent, in the order of ``augment.TABLE``; then cells in the order of ``label_names``, then seeds.
The columns:

- ``cell``: int, runs that differ only in the seed; ``block``: int, cells that may be compared.
- ``dataset``, ``model`` ('mlp-256'), ``augmentation``, ``labels`` (the row's name in tables),
  ``train_examples``, ``epochs``: the names of the cell, see ``NAMES``.
- ``rule``: name of the label rule with its own options, without the settings that only tell
  apart cells of equal names; those are in ``varied`` and in ``labels``.
- ``settings_key``, ``block_key``: JSON texts that are equal in a cell, and in a block.
- ``run``: its folder; ``record``: its ``run_files.RunRecord``, for config and metrics.jsonl.
- every entry of ``result.json`` that has no column above: ``seed``, ``label_rule``, ``revision``,
  all metrics as float (NaN if a run lacks one), ``…_interval`` and ``…_by_severity`` as lists.

So ``frame.groupby("cell")["ece"].agg(["mean", "std", "count"])`` is a column of a table.
``run_files.find``, ``run_files.read`` and ``exclusions.split_comparable`` do the reading.
"""

from collections.abc import Sequence

import pandas as pd

from experiments.reporting import exclusions, label_names, methods, run_files
from experiments.reporting.columns import COLUMNS
from experiments.reporting.run_files import RunRecord

NAMES = ("dataset", "model", "augmentation", "labels", "train_examples", "epochs")
BUDGET = ["dataset", "model", "train_examples"]


def load(arguments: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the runs in some folders or packed studies.

    Returns:
      The frame of those that can be compared, and the others, with columns run, reason, record.

    Raises:
      ValueError: a folder does not exist, or holds no run.
    """
    runs = [run_files.read(workdir) for workdir in run_files.find(arguments)]
    comparable, excluded = exclusions.split_comparable(runs)
    rows = [(str(run.workdir), reason, run) for run, reason in excluded]
    return make(comparable), pd.DataFrame(rows, columns=["run", "reason", "record"])


def make(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Makes the frame of runs that can be compared, see ``load``; empty if there are none."""
    if not runs:
        return pd.DataFrame(columns=[*NAMES, "cell", "block", "rule", "varied", "run", "record"])
    frame = pd.DataFrame([_row(run) for run in runs])
    frame = frame.astype(dict.fromkeys(COLUMNS.keys() & frame.columns, float))
    first = {name: pd.factorize(frame[name])[0] for name in ("block_key", "settings_key")}
    budget = frame.groupby(BUDGET, sort=False).ngroup()
    rank = [methods.rank("augment.name", run.result["augmentation"]) for run in runs]
    order = [label_names.order(run) for run in runs]
    places = zip(
        *(budget, rank, first["block_key"], order, first["settings_key"], frame["seed"]),
        range(len(runs)),
        strict=True,
    )
    frame = frame.iloc[[place[-1] for place in sorted(places)]].reset_index(drop=True)
    frame["block"] = pd.factorize(frame["block_key"])[0]
    frame["cell"] = pd.factorize(frame["settings_key"])[0]
    frame["varied"] = _varied(frame)
    ends = frame["varied"].map(lambda varied: f", {varied}" if varied else "")
    return frame.assign(labels=frame["rule"] + ends)


def present(frame: pd.DataFrame) -> list[str]:
    """Returns the metrics of tables that any run has."""
    named = [name for name in COLUMNS if name != "temperature" and name in frame]
    return [name for name in named if frame[name].notna().any()]


def single(frame: pd.DataFrame) -> dict[int, dict]:
    """Returns the results of the cells that have one run alone."""
    alone = frame.drop_duplicates("cell", keep=False)
    return {cell: run.result for cell, run in zip(alone["cell"], alone["record"], strict=True)}


def _row(run: RunRecord) -> dict:
    names = {
        "model": methods.model_name(run.config),
        "augmentation": methods.title("augment.name", run.result["augmentation"]),
        "rule": label_names.name(run),
        "settings_key": run_files.key(run.settings),
        "block_key": run_files.key(run.block),
        "run": str(run.workdir),
        "record": run,
    }
    return {"train_examples": "", **run.result, **names}


def _varied(frame: pd.DataFrame) -> pd.Series:
    """Returns the settings of each run that tell its cell from others of the same names."""
    varied = pd.Series("", index=frame.index)
    for _, alike in frame.groupby([*BUDGET, "augmentation", "rule", "epochs"], sort=False):
        owns = [cell["record"].iloc[0].settings for _, cell in alike.groupby("cell", sort=False)]
        for (_, cell), own in zip(alike.groupby("cell", sort=False), owns, strict=True):
            differing = [n for n in own if any(n not in o or o[n] != own[n] for o in owns)]
            own = own | {"revision": own.get("revision", "")[:7]}
            varied[cell.index] = ", ".join(f"{n}={own[n]}" for n in differing)
    return varied
