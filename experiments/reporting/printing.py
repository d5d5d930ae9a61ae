"""Results as a small table of plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

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

# Sets of test images, by the prefix of their figures' names in result.json.
SETS = {
    "": "clean",
    "corrupted_": "corrupted (15 x 5)",
    "extra_corrupted_": "extra corrupted (4 x 5)",
    "fgsm_": "FGSM",
    "pgd20_": "PGD-20",
    "auto_": "ensemble",
}
SCALINGS = {"": "", "_ts": " (TS)", "_vs": " (VS)"}
SET_FIGURES = {"accuracy": ("accuracy %", 100, 2), "ece": ("ECE %", 100, 2), "nll": ("NLL", 1, 4)}


def result_table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row per result, the columns of ``COLUMNS`` that any of them has.

    TS: after temperature scaling, fitted on the calibration set. It moves no
    accuracy.
    """
    columns = [name for name in COLUMNS if any(name in result for result in results)]
    rows = [["augmentation", "labels", "seed", *(COLUMNS[name][0] for name in columns)]]
    for result in results:
        figures = []
        for name in columns:
            _, factor, digits = COLUMNS[name]
            value = result.get(name)
            figures.append("" if value is None else f"{factor * value:.{digits}f}")
        rows.append([result["augmentation"], rule_name(result), str(result["seed"]), *figures])
    return aligned(rows, num_names=2)


def evaluation_table(result: Mapping[str, Any]) -> str:
    """One row per set of test images of a run, its figures before and after scaling.

    TS: after temperature scaling, VS: after vector scaling, which may move accuracy too.
    In brackets the 95 % interval over the test images, where the result has it.
    """
    sets = {prefix: name for prefix, name in SETS.items() if f"{prefix}accuracy" in result}
    columns = [
        (f"{figure}{end}", f"{header}{scaling}", factor, digits)
        for figure, (header, factor, digits) in SET_FIGURES.items()
        for end, scaling in SCALINGS.items()
        if (figure, end) != ("accuracy", "_ts")
        and any(f"{prefix}{figure}{end}" in result for prefix in sets)
    ]
    rows = [["test images", *(header for _, header, _, _ in columns)]]
    for prefix, name in sets.items():
        figures = [
            with_interval(result, f"{prefix}{figure}", factor, digits)
            for figure, _, factor, digits in columns
        ]
        rows.append([name, *figures])
    return aligned(rows, num_names=1)


def with_interval(result: Mapping[str, Any], name: str, factor: float, digits: int) -> str:
    """'93.10 [92.61, 93.58]', without brackets where there is no interval; '' for no figure."""
    value, interval = result.get(name), result.get(f"{name}_interval")
    if value is None:
        return ""
    text = f"{factor * value:.{digits}f}"
    if interval is None or None in interval:
        return text
    low, high = (f"{factor * end:.{digits}f}" for end in interval)
    return f"{text} [{low}, {high}]"


def aligned(rows: Sequence[Sequence[str]], num_names: int) -> str:
    """A header, a rule and rows; the first columns to the left, figures to the right."""
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
    """The label rule and, of AutoLabel, its step where that is not the usual one."""
    step = result.get("label_step")
    return result["label_rule"] + (
        f", {step}".replace("_", " ") if step not in (None, "ece") else ""
    )
