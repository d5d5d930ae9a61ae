"""The metrics shown in tables, from ``columns.csv``: headers, formats, sets of images."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

TABLE = pd.read_csv(pathlib.Path(__file__).with_name("columns.csv"), index_col="name")
HEADERS, IMAGES = TABLE["header"].to_dict(), TABLE["images"].to_dict()
OF_RUN = tuple(TABLE.index[TABLE["printed"] == "run"])  # shown after a run
NO_CONTEST = ("seconds", "peak_memory_gib")  # describe the machine, not the labels


def is_higher_better(metric: str) -> bool:
    """Whether higher is better, as for accuracies."""
    return "accuracy" in metric


def shown(name: str, *values: float | None, sign: str = "", spread: str = "[{}, {}]") -> str:
    """Formats a metric and what it is known to: '93.12 ± 0.20', '93.10 [92.61, 93.58]', ''.

    Args:
      name: row of ``TABLE``.
      *values: the value, and the numbers for ``spread``; without these if one is None or NaN.
      sign: '+' for differences.
      spread: format of the other numbers.
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
