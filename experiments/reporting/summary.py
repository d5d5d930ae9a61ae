"""Run files → the tables: figures by cell, differences to one-hot labels, what was left out."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from experiments.reporting import cells, printing, run_files
from experiments.reporting.cells import Cell
from experiments.reporting.rendering import Entry, Table
from experiments.reporting.run_files import Run

# name: (header, factor, digits), the figures of single runs and those that evaluation adds.
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
    "extra_corrupted_accuracy": ("extra corrupted acc %", 100, 2),
    "extra_corrupted_ece": ("extra corrupted ECE %", 100, 2),
    "extra_corrupted_ece_ts": ("extra corrupted ECE % (TS)", 100, 2),
    "peak_memory_gib": ("memory, GiB", 1, 2),
    "seconds": ("seconds", 1, 0),
}
# What a table is about: how the names of its figures begin; all others are of clean images.
SETS = {
    "the test set": (),
    "corrupted test sets": ("corrupted_", "extra_corrupted_"),
    "attacked test images": ("adversarial_", "fgsm_", "pgd20_", "auto_"),
}
NAMES = ("data set", "model", "augmentation", "labels", "training images", "epochs")
CSV_NAMES = ("dataset", "model", "augmentation", "labels", "settings", "train_examples", "epochs")
CSV_NAMES += ("n", "seeds", "revision")
NO_CONTEST = ("seconds", "peak_memory_gib")  # tell of the machine, not of the labels
TS = "TS: after temperature scaling, fitted on the calibration set; it moves no accuracy."
VS = (
    "VS: after vector scaling, fitted on the calibration set; it may move accuracy. Extra: the "
    "four corruptions that are in no average."
)
BOLD = (
    "Bold: the best mean of its block (same data, model, augmentation and budget) where the "
    "difference to the runner-up passes a paired t test over common seeds (p below .05, n of at "
    "least 3; no correction for the number of comparisons)."
)
INTERVALS = (
    "Percentiles of 1,000 bootstrap resamples of the test images, for one trained model each: they "
    "tell nothing of other seeds. Corrupted figures take the same images out of every set. "
    "Resampling adds to an ECE near 0, so that its interval lies high and may miss it. Accuracy "
    "under attack: the quantiles of its binomial."
)
DIFFERENCE = "Difference to one-hot labels, seed by seed"
PAPER = "The AutoLabel paper's own tables could not be read, so that its cells are empty."


def tables(good: Sequence[Run], apart: Sequence[tuple[Run, str]]) -> list[Table]:
    """The tables of some runs; empty ones are left out.

    Args:
      good: that count.
      apart: those that do not, each with the reason.

    Raises:
      ValueError: two runs of one cell have the same seed.
    """
    blocks = cells.make(good)
    columns = _columns(blocks)
    groups = {title: [m for m in columns if _set_of(m) == title] for title in SETS}
    found = [_figures(blocks, *group) for group in groups.items()]
    found += [_differences(blocks, *group) for group in groups.items()]
    return [t for t in (*found, _intervals(blocks), _left_out(apart)) if t.rows]


def _set_of(metric: str) -> str:
    """Of which of SETS a figure is."""
    return next((t for t, starts in SETS.items() if metric.startswith(starts)), next(iter(SETS)))


def _columns(blocks: Sequence[Sequence[Cell]]) -> list[str]:
    flat = [cell for block in blocks for cell in block]
    return [name for name in COLUMNS if any(cell.values(name) for cell in flat)]


def _is_higher_better(metric: str) -> bool:
    return metric.removesuffix("_vs").endswith("accuracy")


def _names(cell: Cell) -> list[Entry]:
    shown = {name: str(value) for name, value in cell.names.items()}
    shown["labels"] += f", {cell.varied}" if cell.varied else ""
    shown["labels"] += " †" if any(run.dirty for run in cell.runs) else ""
    return [Entry(text) for text in shown.values()]


def _figures(blocks: Sequence[Sequence[Cell]], title: str, columns: Sequence[str]) -> Table:
    """A row for each cell that has any of the columns."""
    footnotes, rows = [], []
    for block in blocks:
        best = {m: cells.winner(block, m, higher=_is_higher_better(m)) for m in columns}
        for cell in block:
            n = max((len(cell.values(m)) for m in columns), default=0)
            if not n:
                continue
            figures = [
                Entry(_estimate(cell, m, n), bold=best[m] is cell and m not in NO_CONTEST)
                for m in columns
            ]
            named = Entry(_published(cell, title, footnotes))
            rows.append((*_names(cell), Entry(str(n)), *figures, named))
    notes = ["n: seeds. Figures: mean ± sample standard deviation over them.", TS]
    notes += [VS] if any(m.endswith("_vs") or m.startswith("extra") for m in columns) else []
    notes += [BOLD]
    notes += [f"[{i + 1}] published: {note}" for i, note in enumerate(footnotes)] + [PAPER]
    return Table(
        title=f"Figures on {title}",
        header=(*NAMES, "n", *(COLUMNS[m][0] for m in columns), "published"),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=tuple(notes + _dirty_note(blocks)),
    )


def _dirty_note(blocks: Sequence[Sequence[Cell]]) -> list[str]:
    dirty = sorted({r.result["revision"] for b in blocks for c in b for r in c.runs if r.dirty})
    return [f"† Made from files that no commit holds: {', '.join(dirty)}."] if dirty else []


def _estimate(cell: Cell, metric: str, n: int) -> str:
    found = cells.estimate(cell, metric)
    if found is None:
        return ""
    _, factor, digits = COLUMNS[metric]
    text = f"{factor * found.mean:.{digits}f}"
    text += f" ± {factor * found.sd:.{digits}f}" if found.sd is not None else ""
    return text + (f" (n={found.n})" if found.n != n else "")


def _published(cell: Cell, title: str, footnotes: list[str]) -> str:
    """The published figures, per cent, with the mark of their footnote, which is added."""
    row = cell.published
    figures = {} if row is None else {m: v for m, v in row.figures.items() if _set_of(m) == title}
    if not figures:
        return ""
    if row.footnote not in footnotes:
        footnotes.append(row.footnote)
    shown = [
        f"{COLUMNS[metric][0].removesuffix(' %')} {value.scaleb(2)}"
        for metric, value in figures.items()
        if metric in COLUMNS
    ]
    return f"{', '.join(shown)} [{footnotes.index(row.footnote) + 1}]"


def _differences(blocks: Sequence[Sequence[Cell]], title: str, columns: Sequence[str]) -> Table:
    columns, rows = [m for m in columns if m not in NO_CONTEST], []
    for block in blocks:
        base = cells.baseline(block)
        for cell in block:
            if base is None or cell is base:
                continue
            found = [cells.difference(cell, base, m) for m in columns]
            n = max((d.n for d in found if d), default=0)
            texts = [_difference(d, m, n) for d, m in zip(found, columns, strict=True)]
            if n:
                rows.append((*_names(cell), Entry(str(n)), *map(Entry, texts)))
    return Table(
        title=f"{DIFFERENCE}: {title}" if SETS[title] else DIFFERENCE,
        header=(*NAMES, "n", *(COLUMNS[m][0] for m in columns)),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=(
            "n: seeds that both have. Mean difference to the one_hot row of the same block, with "
            "Student's 95 % interval where n is at least 2; per cent columns in points.",
            *_dirty_note(blocks),
        ),
    )


def _difference(found: cells.Difference | None, metric: str, n: int) -> str:
    if found is None:
        return ""
    _, factor, digits = COLUMNS[metric]
    text = f"{factor * found.mean:+.{digits}f}"
    if found.low is not None:
        text += f" [{factor * found.low:+.{digits}f}, {factor * found.high:+.{digits}f}]"
    text += f" (n={found.n})" if found.n != n else ""
    return text.replace("-", "−")


def _intervals(blocks: Sequence[Sequence[Cell]]) -> Table:
    """A row for each run with intervals that is alone in its cell, so that no ± tells of it."""
    alone = [cell for block in blocks for cell in block if len(cell.runs) == 1]
    runs = [(cell, cell.runs[0]) for cell in alone]
    runs = [(cell, run) for cell, run in runs if "accuracy_interval" in run.result]
    columns = [m for m in COLUMNS if any(f"{m}_interval" in run.result for _, run in runs)]
    rows = [
        (
            *_names(cell),
            Entry(str(run.result["seed"])),
            *(Entry(printing.with_interval(run.result, m, *COLUMNS[m][1:])) for m in columns),
        )
        for cell, run in runs
    ]
    return Table(
        title="95 % intervals over the test images, of single seeds",
        header=(*NAMES, "seed", *(COLUMNS[m][0] for m in columns)),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=(INTERVALS, *_dirty_note(blocks)) if rows else (),
    )


def _left_out(apart: Sequence[tuple[Run, str]]) -> Table:
    rows = [(Entry(str(run.workdir)), Entry(reason)) for run, reason in apart]
    return Table("Runs left out", ("run", "reason"), tuple(rows), num_names=2)


def as_csv(good: Sequence[Run], apart: Sequence[tuple[Run, str]]) -> str:
    """One row a cell, fractions in full precision; runs left out follow, with the reason.

    ``…_low`` and ``…_high``, of cells of one run, are the 95 % interval over test images.

    Raises:
      ValueError: two runs of one cell have the same seed.
    """
    blocks = cells.make(good)
    columns = _columns(blocks)
    rows = [_csv_row(cell, cells.baseline(b), columns) for b in blocks for cell in b]
    rows += [{"run": str(run.workdir), "left_out": reason} for run, reason in apart]
    suffixes = (
        "mean",
        "sd",
        "low",
        "high",
        "n",
        *(f"minus_one_hot{s}" for s in ("", "_low", "_high", "_n")),
    )
    order = [*CSV_NAMES, *(f"{metric}_{s}" for metric in columns for s in suffixes)]
    order += sorted({n for row in rows for n in row if n.startswith("published_")})
    present = {name for row in rows for name in row}
    header = [name for name in (*order, "run", "left_out") if name in present]
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _csv_row(cell: Cell, base: Cell | None, columns: Sequence[str]) -> dict[str, Any]:
    row = {
        **cell.names,
        "settings": cell.varied,
        "n": len(cell.runs),
        "seeds": " ".join(str(run.result["seed"]) for run in cell.runs),
        "revision": cell.first["revision"],
    }
    for metric in columns:
        found = cells.estimate(cell, metric)
        if found is not None:
            row |= {f"{metric}_mean": found.mean, f"{metric}_sd": found.sd}
            row |= {f"{metric}_n": found.n}
        if len(cell.runs) == 1 and None not in cell.first.get(f"{metric}_interval", [None]):
            low, high = cell.first[f"{metric}_interval"]
            row |= {f"{metric}_low": low, f"{metric}_high": high}
        alone = base is None or base is cell or metric in NO_CONTEST
        gap = None if alone else cells.difference(cell, base, metric)
        if gap is not None:
            row |= {f"{metric}_minus_one_hot": gap.mean, f"{metric}_minus_one_hot_n": gap.n}
            row |= {f"{metric}_minus_one_hot_low": gap.low}
            row |= {f"{metric}_minus_one_hot_high": gap.high}
    if cell.published:
        row |= {f"published_{name}": str(v) for name, v in cell.published.figures.items()}
        row |= {"published_source": cell.published.footnote}
    return row | {"run": " ".join(str(run.workdir) for run in cell.runs)}


def load(arguments: Sequence[str]) -> tuple[list[Run], list[tuple[Run, str]]]:
    """The runs in some folders: those that count, and the others with the reason.

    Raises:
      ValueError: names a folder and what is missing there.
    """
    return run_files.sort_out([run_files.read(workdir) for workdir in run_files.find(arguments)])
