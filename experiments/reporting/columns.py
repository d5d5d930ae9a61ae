"""The metrics shown in tables: their headers, the images they are measured on, their format."""

import math
from collections.abc import Mapping
from typing import Any

METRICS = {"accuracy": ("accuracy %", 100, 2), "ece": ("ECE %", 100, 2)}  # header, factor, digits
METRICS |= {"nll": ("NLL", 1, 4), "brier": ("Brier", 1, 4)}
# Prefix of metrics that are not of clean images → how the header begins.
CORRUPTED = {"corrupted_": "corrupted", "extra_corrupted_": "extra corrupted"}
ATTACKED = {"adversarial_": "adversarial", "fgsm_": "FGSM", "pgd20_": "PGD-20"}
ATTACKED |= {"auto_": "ensemble"}
# Title of a table → prefixes of its metrics; all other metrics are of clean images.
SETS = {"the test set": (), "corrupted test sets": tuple(CORRUPTED)}
SETS |= {"attacked test images": tuple(ATTACKED)}
OTHERS = {"temperature": ("T", 1, 3), "peak_memory_gib": ("memory, GiB", 1, 2)}
OTHERS |= {"seconds": ("seconds", 1, 0)}
NO_CONTEST = ("seconds", "peak_memory_gib")  # describe the machine, not the labels
OF_RUN = ("accuracy", "ece", "nll", "brier", "temperature", "ece_ts", "nll_ts", "brier_ts")
OF_RUN += ("corrupted_accuracy", "corrupted_ece", "corrupted_ece_ts")
OF_RUN += ("fgsm_accuracy", "pgd20_accuracy", "auto_accuracy")
OF_EVALUATION = ("adversarial_accuracy", "fgsm_ece", "fgsm_ece_ts", "pgd20_ece", "pgd20_ece_ts")
OF_EVALUATION += ("auto_ece", "auto_ece_ts", "accuracy_vs", "ece_vs", "nll_vs")
OF_EVALUATION += ("corrupted_accuracy_vs", "corrupted_ece_vs")
OF_EVALUATION += ("superclass_accuracy", "superclass_ece", "superclass_ece_ts")
OF_EVALUATION += ("extra_corrupted_accuracy", "extra_corrupted_ece", "extra_corrupted_ece_ts")


def _column(name: str) -> tuple[str, float, int]:
    starts = CORRUPTED | ATTACKED | {"superclass_": "superclass"}
    start = next((start for start in starts if name.startswith(start)), "")
    metric, _, scaling = name.removeprefix(start).partition("_")
    header, factor, digits = METRICS[metric]
    header = f"{starts[start]} {header.replace('accuracy', 'acc')}" if start else header
    return f"{header} ({scaling.upper()})" if scaling else header, factor, digits


# All metrics of tables, in order.
COLUMNS = {name: OTHERS.get(name) or _column(name) for name in (*OF_RUN, *OF_EVALUATION)}
COLUMNS |= {name: OTHERS[name] for name in ("peak_memory_gib", "seconds")}


def set_of(metric: str) -> str:
    """Returns the key of ``SETS`` that a metric belongs to."""
    return next((t for t, starts in SETS.items() if metric.startswith(starts)), next(iter(SETS)))


def is_higher_better(metric: str) -> bool:
    """Whether higher is better, as for accuracies."""
    return "accuracy" in metric


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
    """Returns '93.10 [92.61, 93.58]' of a result, '93.10' without an interval, '' without a value.

    ``like`` is the key of COLUMNS with the format of the metric ``name``.
    """
    return shown(like, result.get(name), *result.get(f"{name}_interval", ()))
