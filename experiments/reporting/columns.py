"""The metrics shown in tables: their headers, the images they are measured on, their format."""

import math
from collections.abc import Mapping
from typing import Any

# name: (header, factor, digits), of a single run
OF_RUN = {
    "accuracy": ("accuracy %", 100, 2),
    "ece": ("ECE %", 100, 2),
    "nll": ("NLL", 1, 4),
    "brier": ("Brier", 1, 4),
    "temperature": ("T", 1, 3),
    "ece_ts": ("ECE % (TS)", 100, 2),
    "nll_ts": ("NLL (TS)", 1, 4),
    "brier_ts": ("Brier (TS)", 1, 4),
    "corrupted_accuracy": ("corrupted acc %", 100, 2),
    "corrupted_ece": ("corrupted ECE %", 100, 2),
    "corrupted_ece_ts": ("corrupted ECE % (TS)", 100, 2),
    "fgsm_accuracy": ("FGSM acc %", 100, 2),
    "pgd20_accuracy": ("PGD-20 acc %", 100, 2),
    "auto_accuracy": ("ensemble acc %", 100, 2),
}
# All metrics, with those that evaluation adds.
COLUMNS = OF_RUN | {
    "adversarial_accuracy": ("adversarial acc %", 100, 2),
    "fgsm_ece": ("FGSM ECE %", 100, 2),
    "fgsm_ece_ts": ("FGSM ECE % (TS)", 100, 2),
    "pgd20_ece": ("PGD-20 ECE %", 100, 2),
    "pgd20_ece_ts": ("PGD-20 ECE % (TS)", 100, 2),
    "auto_ece": ("ensemble ECE %", 100, 2),
    "auto_ece_ts": ("ensemble ECE % (TS)", 100, 2),
    "accuracy_vs": ("accuracy % (VS)", 100, 2),
    "ece_vs": ("ECE % (VS)", 100, 2),
    "nll_vs": ("NLL (VS)", 1, 4),
    "corrupted_accuracy_vs": ("corrupted acc % (VS)", 100, 2),
    "corrupted_ece_vs": ("corrupted ECE % (VS)", 100, 2),
    "superclass_accuracy": ("superclass acc %", 100, 2),
    "superclass_ece": ("superclass ECE %", 100, 2),
    "superclass_ece_ts": ("superclass ECE % (TS)", 100, 2),
    "extra_corrupted_accuracy": ("extra corrupted acc %", 100, 2),
    "extra_corrupted_ece": ("extra corrupted ECE %", 100, 2),
    "extra_corrupted_ece_ts": ("extra corrupted ECE % (TS)", 100, 2),
    "peak_memory_gib": ("memory, GiB", 1, 2),
    "seconds": ("seconds", 1, 0),
}
# Title of a table → prefixes of its metrics; all other metrics are of clean images.
SETS = {
    "the test set": (),
    "corrupted test sets": ("corrupted_", "extra_corrupted_"),
    "attacked test images": ("adversarial_", "fgsm_", "pgd20_", "auto_"),
}
NO_CONTEST = ("seconds", "peak_memory_gib")  # describe the machine, not the labels


def set_of(metric: str) -> str:
    """Returns the key of ``SETS`` that a metric belongs to."""
    return next((t for t, starts in SETS.items() if metric.startswith(starts)), next(iter(SETS)))


def is_higher_better(metric: str) -> bool:
    """Whether higher is better, as for accuracies."""
    return metric.removesuffix("_vs").removesuffix("_ts").endswith("accuracy")


def shown(name: str, *values: float | None, sign: str = "", spread: str = "[{}, {}]") -> str:
    """Formats a metric and what it is known to: '93.12 ± 0.20', '93.10 [92.61, 93.58]', ''.

    Args:
      name: key of COLUMNS.
      *values: the value, and the numbers for ``spread``; without these if one is None or NaN.
      sign: '+' for differences.
      spread: format of the other numbers.
    """
    _, factor, digits = COLUMNS[name]
    first, *others = (
        "" if value is None or math.isnan(value) else f"{factor * value:{sign}.{digits}f}"
        for value in values
    )
    text = f"{first} {spread.format(*others)}" if others and first and all(others) else first
    return text.replace("-", "−") if sign else text


def with_interval(result: Mapping[str, Any], name: str, like: str) -> str:
    """Returns '93.10 [92.61, 93.58]', or '93.10' without an interval, or '' without a value.

    Args:
      result: a result.
      name: name of the metric in it.
      like: key of COLUMNS with the format of the metric.
    """
    return shown(like, result.get(name), *result.get(f"{name}_interval", ()))
