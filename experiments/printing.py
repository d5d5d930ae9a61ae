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
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def rule_name(result: Mapping[str, Any]) -> str:
    """The label rule as tables name it."""
    step = result.get("label_step")
    return result["label_rule"] + (f" ({step})" if step not in (None, "ece") else "")
