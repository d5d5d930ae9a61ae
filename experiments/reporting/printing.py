"""Prints results as small tables of plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reporting import methods

COLUMNS = {
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
    "noisy_accuracy": ("noisy acc %", 100, 2),
    "noisy_ece": ("noisy ECE %", 100, 2),
    "noisy_ece_ts": ("noisy ECE % (TS)", 100, 2),
}

# Prefix of metric names in result.json → set of test images.
SETS = {
    "": "clean",
    "corrupted_": "corrupted (15 x 5)",
    "extra_corrupted_": "extra corrupted (4 x 5)",
    "fgsm_": "FGSM",
    "pgd20_": "PGD-20",
    "auto_": "ensemble",
}
SCALINGS = {"": "", "_ts": " (TS)", "_vs": " (VS)"}
SET_METRICS = {"accuracy": ("accuracy %", 100, 2), "ece": ("ECE %", 100, 2), "nll": ("NLL", 1, 4)}


def result_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Makes a table with one row per result and the columns of ``COLUMNS`` that any result has.

    TS means after temperature scaling, fitted on the calibration set, which does not change
    accuracy.
    """
    columns = [name for name in COLUMNS if any(name in result for result in results)]
    rows = [["augmentation", "labels", "seed", *(COLUMNS[name][0] for name in columns)]]
    for result in results:
        values = []
        for name in columns:
            _, factor, digits = COLUMNS[name]
            value = result.get(name)
            values.append("" if value is None else f"{factor * value:.{digits}f}")
        name = methods.title("augment.name", result["augmentation"])
        rows.append([name, rule_name(result), str(result["seed"]), *values])
    return aligned(rows, num_names=2)


def evaluation_table(result: Mapping[str, Any]) -> str:
    """Makes a table with one row per set of test images: metrics before and after scaling.

    TS means after temperature scaling, VS after vector scaling, which may change accuracy.
    Brackets hold the 95 % interval over the test images, if the result has it.
    """
    sets = {prefix: name for prefix, name in SETS.items() if f"{prefix}accuracy" in result}
    columns = [
        (f"{metric}{end}", f"{header}{scaling}", factor, digits)
        for metric, (header, factor, digits) in SET_METRICS.items()
        for end, scaling in SCALINGS.items()
        if (metric, end) != ("accuracy", "_ts")
        and any(f"{prefix}{metric}{end}" in result for prefix in sets)
    ]
    rows = [["test images", *(header for _, header, _, _ in columns)]]
    for prefix, name in sets.items():
        values = [
            with_interval(result, f"{prefix}{metric}", factor, digits)
            for metric, _, factor, digits in columns
        ]
        rows.append([name, *values])
    return aligned(rows, num_names=1)


def with_interval(result: Mapping[str, Any], name: str, factor: float, digits: int) -> str:
    """Returns '93.10 [92.61, 93.58]', or '93.10' without an interval, or '' without a value."""
    value, interval = result.get(name), result.get(f"{name}_interval")
    if value is None:
        return ""
    text = f"{factor * value:.{digits}f}"
    if interval is None or None in interval:
        return text
    low, high = (f"{factor * end:.{digits}f}" for end in interval)
    return f"{text} [{low}, {high}]"


def aligned(rows: Sequence[Sequence[str]], num_names: int) -> str:
    """Aligns a header and rows: the first ``num_names`` columns left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i < num_names else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def rule_name(result: Mapping[str, Any]) -> str:
    """Returns the label rule and, for AutoLabel, its step if that is not 'ece'."""
    step = result.get("label_step")
    settings = {} if step is None else {"step": step}
    return methods.row_name(result["label_rule"], settings)
