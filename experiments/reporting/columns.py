"""The metrics shown in tables: their headers, the images they are measured on, their format."""

from collections.abc import Iterable

from experiments.reporting import cells, printing
from experiments.reporting.cells import Cell, Difference

# name: (header, factor, digits), metrics of single runs and those that evaluation adds.
COLUMNS = {
    **{name: shown for name, shown in printing.COLUMNS.items() if name != "temperature"},
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


def present(shown: Iterable[Cell]) -> list[str]:
    """Returns the columns for which any cell has a value."""
    shown = list(shown)
    return [name for name in COLUMNS if any(cell.values(name) for cell in shown)]


def estimate(cell: Cell, metric: str, n: int) -> str:
    """Returns '93.12 ± 0.20', with (n=2) if not all n seeds have it; '' if none has."""
    value = cells.estimate(cell, metric)
    if value is None:
        return ""
    _, factor, digits = COLUMNS[metric]
    text = f"{factor * value.mean:.{digits}f}"
    text += f" ± {factor * value.sd:.{digits}f}" if value.sd is not None else ""
    return text + (f" (n={value.n})" if value.n != n else "")


def difference(value: Difference | None, metric: str, n: int) -> str:
    """Returns '−0.12 [−0.20, −0.04]', with (n=2) if not n seeds are common; '' if none is."""
    if value is None:
        return ""
    _, factor, digits = COLUMNS[metric]
    text = f"{factor * value.mean:+.{digits}f}"
    if value.low is not None:
        text += f" [{factor * value.low:+.{digits}f}, {factor * value.high:+.{digits}f}]"
    text += f" (n={value.n})" if value.n != n else ""
    return text.replace("-", "−")
