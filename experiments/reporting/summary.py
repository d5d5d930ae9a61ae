"""Makes the tables of runs: metrics by cell, differences between labels, excluded runs."""

from collections.abc import Iterator, Sequence

from experiments.reporting import (
    cells,
    choices,
    columns,
    comparison,
    label_course,
    printing,
    run_files,
)
from experiments.reporting.cells import Cell
from experiments.reporting.choices import PUBLISHED, Choice, View
from experiments.reporting.columns import COLUMNS, NO_CONTEST, SETS
from experiments.reporting.rendering import Entry, Table
from experiments.reporting.run_files import RunRecord

NAMES = ("data set", "model", "augmentation", "labels", "training images", "epochs")
TS = "TS: after temperature scaling, fitted on the calibration set; it moves no accuracy."
VS = (
    "VS: after vector scaling, fitted on the calibration set; it may move accuracy. Extra: the "
    "four corruptions that are in no average."
)
SUPERCLASS = "Superclass: the probabilities of the classes of each of the superclasses added up."
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
COMPARISON = (
    "n: seeds that both have. AutoLabel without a temperature minus one-hot labels with one "
    "(one_hot (TS)), and minus the constant smoothing, without one, whose NLL on the held-out "
    "calibration images after the last epoch has the lowest mean (in brackets those to choose "
    "from), with Student's 95 % interval where n is at least 2; per cent columns in points."
)
COURSE = (
    "Of the labels after each epoch, and of accuracy and confidence on the held-out images that "
    "moved them: means over epochs, buckets and seeds. Lowest bucket: its mean. Mean change: of a "
    "label from one epoch to the next. Sign turns: share of epochs in which that of Conf - Acc is "
    "another than before. At the clip, at 1: shares of labels at their bucket's accuracy and at 1. "
    "Gap: |Conf - Acc|."
)
PAPER = "The AutoLabel paper's own tables could not be read, so that its cells are empty."


def tables(
    comparable: Sequence[RunRecord], excluded: Sequence[tuple[RunRecord, str]]
) -> list[Table]:
    """Makes all tables of some runs that are not empty.

    Args:
      comparable: runs that can be compared.
      excluded: the other runs, each with the reason.
    """
    return [*chosen(cells.make(comparable), Choice()), *left_out(excluded)]


def chosen(blocks: Sequence[list[Cell]], choice: Choice) -> list[Table]:
    """Makes the chosen tables of some blocks that are not empty.

    Raises:
      ValueError: a kind, column, row or augmentation that does not exist is chosen.
    """
    present = columns.present(cell for block in blocks for cell in block)
    views = choices.views(blocks, choice, present)
    with_published = choice.columns is None or PUBLISHED in choice.columns
    if choice.columns is None:
        groups = {title: [m for m in present if columns.set_of(m) == title] for title in SETS}
    else:
        groups = {"": [m for m in choice.columns if m != PUBLISHED]}
    footnotes: list[str] = []
    make = {
        "figures": lambda: [_metrics(views, *g, footnotes, with_published) for g in groups.items()],
        "differences": lambda: [_differences(views, *group) for group in groups.items()],
        "intervals": lambda: [_intervals(views, choice.columns or present)],
        "comparison": lambda: [_comparison(views)],
        "labels": lambda: [_label_courses(views)],
    }
    return [table for kind in choice.kinds for table in make[kind]() if table.rows]


def _names(cell: Cell) -> list[Entry]:
    shown = {name: str(value) for name, value in cell.names.items()}
    shown["labels"] = cell.label + (" †" if any(run.dirty for run in cell.runs) else "")
    return [Entry(text) for text in shown.values()]


def _pairs(views: Sequence[View]) -> Iterator[tuple[list[Cell], Cell]]:
    return ((view.block, cell) for view in views for cell in view.shown)


def _metrics(
    views: Sequence[View],
    title: str,
    metrics: Sequence[str],
    footnotes: list[str],
    with_published: bool,
) -> Table:
    """Makes a row for each cell that has any of the metrics; appends new footnotes."""
    rows, marks = [], set()
    for view in views:
        best = _winners(view.block, metrics)
        for cell in view.shown:
            n = max((len(cell.values(m)) for m in metrics), default=0)
            if not n:
                continue
            row = [*_names(cell), Entry(str(n))]
            row += [Entry(columns.estimate(cell, m, n), bold=best.get(m) is cell) for m in metrics]
            if with_published:
                text, mark = _published(cell, {columns.set_of(m) for m in metrics}, footnotes)
                row.append(Entry(text))
                marks.add(mark)
            rows.append(tuple(row))
    return Table(
        title=f"Figures on {title}" if title else "Figures",
        header=(*NAMES, "n", *(COLUMNS[m][0] for m in metrics), *[PUBLISHED] * with_published),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=tuple(_metric_notes(metrics, footnotes, marks, with_published) + _dirty_note(views)),
    )


def _winners(block: Sequence[Cell], metrics: Sequence[str]) -> dict[str, Cell | None]:
    contests = [m for m in metrics if m not in NO_CONTEST]
    return {m: cells.winner(block, m, higher=columns.is_higher_better(m)) for m in contests}


def _metric_notes(
    metrics: Sequence[str], footnotes: Sequence[str], marks: set[int], with_published: bool
) -> list[str]:
    notes = ["n: seeds. Figures: mean ± sample standard deviation over them.", TS]
    notes += [VS] if any(m.endswith("_vs") or m.startswith("extra") for m in metrics) else []
    notes += [SUPERCLASS] if any(m.startswith("superclass") for m in metrics) else []
    notes += [BOLD]
    notes += [f"[{i}] published: {note}" for i, note in enumerate(footnotes, 1) if i in marks]
    return notes + ([PAPER] if with_published else [])


def _dirty_note(views: Sequence[View]) -> list[str]:
    dirty = {run.result["revision"] for _, c in _pairs(views) for run in c.runs if run.dirty}
    return [f"† Made from files that no commit holds: {', '.join(sorted(dirty))}."] if dirty else []


def _published(cell: Cell, sets: set[str], footnotes: list[str]) -> tuple[str, int]:
    """Returns published metrics in per cent with their footnote's number, and that number.

    Appends the footnote if it is new. The number is 0 if there is nothing to show.
    """
    row = cell.published
    published = {} if row is None else row.metrics
    shown = [
        f"{COLUMNS[metric][0].removesuffix(' %')} {value.scaleb(2)}"
        for metric, value in published.items()
        if metric in COLUMNS and columns.set_of(metric) in sets
    ]
    if not shown:
        return "", 0
    if row.footnote not in footnotes:
        footnotes.append(row.footnote)
    mark = footnotes.index(row.footnote) + 1
    return f"{', '.join(shown)} [{mark}]", mark


def _differences(views: Sequence[View], title: str, metrics: Sequence[str]) -> Table:
    metrics, rows = [m for m in metrics if m not in NO_CONTEST], []
    for block, cell in _pairs(views):
        base = cells.baseline(block)
        if base is None or cell is base:
            continue
        gaps = {m: cells.difference(cell, base, m) for m in metrics}
        rows += _difference_row(_names(cell), gaps)
    return Table(
        title=f"{DIFFERENCE}: {title}" if SETS.get(title) else DIFFERENCE,
        header=(*NAMES, "n", *(COLUMNS[m][0] for m in metrics)),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=(
            "n: seeds that both have. Mean difference to the one_hot row of the same block, with "
            "Student's 95 % interval where n is at least 2; per cent columns in points.",
            *_dirty_note(views),
        ),
    )


def _difference_row(names: list[Entry], gaps: dict[str, cells.Difference | None]) -> list[tuple]:
    """Returns the row, or no row if no seed is common."""
    n = max((d.n for d in gaps.values() if d), default=0)
    texts = [columns.difference(d, m, n) for m, d in gaps.items()]
    return [(*names, Entry(str(n)), *map(Entry, texts))] if n else []


def _comparison(views: Sequence[View]) -> Table:
    """Compares AutoLabel without a temperature with each of its baselines."""
    present = columns.present(cell for _, cell in _pairs(views))
    metrics, rows = [m for m in comparison.METRICS if m in present], []
    for block, cell in _pairs(views):
        if cell.first["label_rule"] != "autolabel":
            continue
        for name, baseline, suffix in comparison.baselines(block):
            gaps = {m: comparison.difference(cell, baseline, suffix, m) for m in metrics}
            rows += _difference_row([*_names(cell), Entry(name)], gaps)
    return Table(
        title="AutoLabel without a temperature against temperature scaling and smoothing",
        header=(*NAMES, "minus", "n", *(COLUMNS[m][0] for m in metrics)),
        rows=tuple(rows),
        num_names=len(NAMES) + 1,
        notes=(COMPARISON, *_dirty_note(views)),
    )


def _intervals(views: Sequence[View], metrics: Sequence[str]) -> Table:
    """Makes a row for each run with intervals that is alone in its cell and so has no ±."""
    alone = [(cell, cell.runs[0]) for _, cell in _pairs(views) if len(cell.runs) == 1]
    runs = [(cell, run) for cell, run in alone if "accuracy_interval" in run.result]
    metrics = [m for m in metrics if any(f"{m}_interval" in run.result for _, run in runs)]
    rows = [
        (
            *_names(cell),
            Entry(str(run.result["seed"])),
            *(Entry(printing.with_interval(run.result, m, *COLUMNS[m][1:])) for m in metrics),
        )
        for cell, run in runs
    ]
    return Table(
        title="95 % intervals over the test images, of single seeds",
        header=(*NAMES, "seed", *(COLUMNS[m][0] for m in metrics)),
        rows=tuple(rows),
        num_names=len(NAMES),
        notes=(INTERVALS, *_dirty_note(views)) if rows else (),
    )


def _label_courses(views: Sequence[View]) -> Table:
    """Makes three rows for each AutoLabel cell: how its labels changed in each third."""
    rows = [
        (*_names(cell), Entry(epochs), *(Entry(_short(v)) for v in values.values()))
        for _, cell in _pairs(views)
        if label_course.has_course(cell)
        for epochs, values in label_course.course(cell)
    ]
    return Table(
        title="The course of AutoLabel's labels",
        header=(*NAMES, "of them", *label_course.COLUMNS),
        rows=tuple(rows),
        num_names=len(NAMES) + 1,
        notes=(COURSE, *_dirty_note(views)),
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def left_out(excluded: Sequence[tuple[RunRecord, str]]) -> list[Table]:
    """Makes the table of excluded runs; no table if there are none."""
    rows = [(Entry(str(run.workdir)), Entry(reason)) for run, reason in excluded]
    return [Table("Runs left out", ("run", "reason"), tuple(rows), num_names=2)] if rows else []


def load(arguments: Sequence[str]) -> tuple[list[RunRecord], list[tuple[RunRecord, str]]]:
    """Reads the runs in some folders: those that can be compared, and the others with the reason.

    Raises:
      ValueError: a folder holds no run, or a run cannot be read.
    """
    return run_files.split_comparable(
        [run_files.read(workdir) for workdir in run_files.find(arguments)]
    )
