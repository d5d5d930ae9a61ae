"""What tables show: metrics from ``columns.csv``, texts from ``texts.toml``, published results.

Every number in ``published.csv`` was read in its source or recomputed from the source's files;
metrics are fractions. ``augmentation`` is empty if no run of ours is made in this way; a run must
also have the ``settings``. The AutoLabel paper's tables (arXiv 2302.11188) could not be read.
"""

import json
import math
import pathlib
import tomllib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

HERE = pathlib.Path(__file__).parent
TEXTS = tomllib.loads((HERE / "texts.toml").read_text(encoding="utf-8"))
NOTES, FIGURES = TEXTS["notes"], TEXTS["figures"]
TABLE = pd.read_csv(HERE / "columns.csv", index_col="name")
HEADERS, IMAGES = TABLE["header"].to_dict(), TABLE["images"].to_dict()
OF_RUN = tuple(TABLE.index[TABLE["printed"] == "run"])  # shown after a run
NO_CONTEST = ("seconds", "peak_memory_gib")  # describe the machine, not the labels
PUBLISHED = pd.read_csv(HERE / "published.csv", dtype=str, keep_default_na=False)
PUBLISHED_METRICS = tuple(PUBLISHED.columns[PUBLISHED.columns.get_loc("settings") + 1 :])


def shown(name: str, *values: float | None, sign: str = "", spread: str = "[{}, {}]") -> str:
    """Formats a metric and what it is known to: '93.12 ± 0.20', '93.10 [92.61, 93.58]', ''.

    The values after the first fill ``spread``, which is left out if one of them is None or NaN.
    """
    factor, digits = TABLE.at[name, "factor"], TABLE.at[name, "digits"]
    first, *others = (
        "" if value is None or math.isnan(value) else f"{factor * value:{sign}.{digits}f}"
        for value in values
    )
    text = f"{first} {spread.format(*others)}" if others and first and all(others) else first
    return text.replace("-", "−") if sign else text


def with_interval(result: Mapping[str, Any], name: str, like: str) -> str:
    """Returns '93.10 [92.61, 93.58]' of a result, in the format of the metric ``like``."""
    return shown(like, result.get(name), *result.get(f"{name}_interval", ()))


def published_beside(config: Mapping[str, Any], model: str) -> pd.Series | None:
    """Returns the row of ``published.csv`` that may stand beside a run of a whole split."""
    own = [config["dataset"], model, config["augment.name"], config["labels.rule"]]
    same = (PUBLISHED[["dataset", "model", "augmentation", "label_rule"]] == own).all(axis=1)
    for _, row in PUBLISHED[same].iterrows() if not config.get("train_examples") else ():
        if json.loads(row["settings"] or "{}").items() <= config.items():
            return row
    return None


def published(cells: pd.DataFrame, sets: Collection[str]) -> tuple[dict[int, str], list[str]]:
    """Returns 'accuracy 96.0, ECE 2.31 [1]' by cell, of sets of images, and footnotes."""
    texts, footnotes = {}, []
    for cell, run in cells["record"].items():
        row = published_beside(run.config, cells.loc[cell, "model"])
        metrics = [m for m in PUBLISHED_METRICS if row is not None and IMAGES.get(m) in sets]
        own = {HEADERS[m].removesuffix(" %"): row[m] for m in metrics if row[m]}
        if own:
            note = "{row} ({dataset}, {model}): {source}".format_map(row)
            footnotes += [note] * (note not in footnotes)
            text = ", ".join(f"{name} {Decimal(value).scaleb(2)}" for name, value in own.items())
            texts[cell] = f"{text} [{footnotes.index(note) + 1}]"
    return texts, [f"[{i}] published: {note}" for i, note in enumerate(footnotes, 1)]
