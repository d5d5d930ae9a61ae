"""Reads results that others published, each with its source, to print beside ours.

Every number in ``published.csv`` was read in the source itself or recomputed from its files, and
has the digits that were printed; metrics are fractions. ``model`` is named as in our tables if the
model is the same. ``augmentation`` is empty if no run of ours is made in this way; a run must also
have the ``settings``. The tables of the AutoLabel paper (arXiv 2302.11188) could not be read, so
its cells stay empty.
"""

import json
import pathlib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

from experiments.reporting import columns

FILE = pathlib.Path(__file__).with_name("published.csv")
ROWS = pd.read_csv(FILE, dtype=str, keep_default_na=False)
METRICS = tuple(ROWS.columns[ROWS.columns.get_loc("settings") + 1 :])


def beside(config: Mapping[str, Any], model: str) -> tuple[dict[str, Decimal], str]:
    """Returns the published metrics beside a run of this config and model, and their footnote.

    Both are empty if there is no such row. Only whole training splits are compared.
    """
    own = [config["dataset"], model, config["augment.name"], config["labels.rule"]]
    same = (ROWS[["dataset", "model", "augmentation", "label_rule"]] == own).all(axis=1)
    for _, row in ROWS[same].iterrows() if not config.get("train_examples") else ():
        if json.loads(row["settings"] or "{}").items() <= config.items():
            metrics = {name: Decimal(row[name]) for name in METRICS if row[name]}
            return metrics, f"{row['row']} ({row['dataset']}, {row['model']}): {row['source']}"
    return {}, ""


def column(cells: pd.DataFrame, sets: Collection[str]) -> tuple[dict[int, str], list[str]]:
    """Returns 'accuracy 96.0, ECE 2.31 [1]' or '' for each cell, and the footnotes.

    Args:
      cells: the first run of each cell, with the cells as index.
      sets: the images to show metrics of, some of ``columns.IMAGES``.
    """
    texts, footnotes = {}, []
    for cell, run in cells["record"].items():
        metrics, footnote = beside(run.config, cells.loc[cell, "model"])
        shown = [
            f"{columns.HEADERS[metric].removesuffix(' %')} {value.scaleb(2)}"
            for metric, value in metrics.items()
            if columns.IMAGES.get(metric) in sets
        ]
        if shown and footnote not in footnotes:
            footnotes.append(footnote)
        texts[cell] = f"{', '.join(shown)} [{footnotes.index(footnote) + 1}]" if shown else ""
    return texts, [f"[{i}] published: {note}" for i, note in enumerate(footnotes, 1)]
