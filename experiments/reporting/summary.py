"""Makes the tables of runs: metrics by cell, differences between labels, excluded runs."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.reporting import columns, compare, label_course, published
from experiments.reporting import frame as frames
from experiments.reporting.columns import COLUMNS, NO_CONTEST, SETS
from experiments.reporting.frame import NAMES
from experiments.reporting.rendering import Table

KINDS = ("figures", "differences", "intervals", "comparison", "labels")
PUBLISHED = "published"  # a column like the others, always last
BESIDE = ("minus", "of them")  # columns that name a row beside NAMES
HEADERS = {"dataset": "data set", "train_examples": "training images"}
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
DIFFERENCE_NOTE = (
    "n: seeds that both have. Mean difference to the one_hot row of the same block, with "
    "Student's 95 % interval where n is at least 2; per cent columns in points."
)
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


@dataclasses.dataclass(frozen=True)
class Choice:
    """The tables, columns and rows to show; None shows all, in their usual order.

    Attributes:
      kinds: kinds of tables, some of ``KINDS``.
      columns: shown in one table; None makes a table for each set of images.
      rows: names as in the column 'labels'; all rows take part in comparisons.
      augmentations: names of augmentations.
    """

    kinds: tuple[str, ...] = KINDS
    columns: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    augmentations: tuple[str, ...] | None = None


def tables(frame: pd.DataFrame, excluded: pd.DataFrame) -> list[Table]:
    """Makes all tables of some runs that are not empty, see ``frame.load``."""
    return [*chosen(frame, Choice()), *left_out(excluded)]


def left_out(excluded: pd.DataFrame) -> list[Table]:
    """Makes the table of excluded runs; no table if there are none."""
    return [Table("Runs left out", excluded[["run", "reason"]], 2)] * bool(len(excluded))


def chosen(frame: pd.DataFrame, choice: Choice) -> list[Table]:
    """Makes the chosen tables that are not empty.

    Raises:
      ValueError: a kind, column, row or augmentation that does not exist is chosen.
    """
    present = frames.present(frame)
    cells = _cells(frame, choice, present)
    if choice.columns is None:
        groups = {title: [m for m in present if columns.set_of(m) == title] for title in SETS}
    else:
        groups = {"": [m for m in choice.columns if m != PUBLISHED]}
    published = choice.columns is None or PUBLISHED in choice.columns
    frame = frame[frame["block"].isin(cells["block"])]
    make = {
        "figures": lambda: [_figures(frame, cells, *g, published) for g in groups.items()],
        "differences": lambda: [_differences(frame, cells, *g) for g in groups.items()],
        "intervals": lambda: [_intervals(frame, cells, choice.columns or present)],
        "comparison": lambda: [_comparison(frame, cells)],
        "labels": lambda: [_label_courses(frame, cells)],
    }
    kinds = choice.kinds if len(frame) else ()
    return [table for kind in kinds for table in make[kind]() if len(table.body)]


def _cells(frame: pd.DataFrame, choice: Choice, present: Sequence[str]) -> pd.DataFrame:
    """Returns the first runs of the cells to show, in the order of the choice."""
    cells = frame.drop_duplicates("cell").set_index("cell")
    _check("show", choice.kinds, KINDS)
    _check("columns", choice.columns, (*present, PUBLISHED))
    _check("augmentations", choice.augmentations, cells["augmentation"])
    if choice.augmentations is not None:
        cells = pd.concat([cells[cells["augmentation"] == name] for name in choice.augmentations])
    _check("rows", choice.rows, cells["labels"])
    if choice.rows is not None:
        blocks = [block for _, block in cells.groupby("block", sort=False)]
        cells = pd.concat([b[b["labels"] == row] for b in blocks for row in choice.rows])
    return cells


def _check(field: str, asked: Sequence[str] | None, known: Iterable[str]) -> None:
    known = dict.fromkeys(known)
    unknown = [name for name in asked or () if name not in known]
    if unknown or asked == ():
        raise ValueError(
            f"{field}: got {'; '.join(unknown) or 'nothing'}, expected some of: {'; '.join(known)}"
        )


def _table(
    frame: pd.DataFrame,
    cells: pd.DataFrame,
    title: str,
    values: pd.DataFrame,
    notes: Sequence[str],
    bold: pd.DataFrame | None = None,
) -> Table:
    """Makes a table with the names of the cells in front of other columns.

    Args:
      frame: all runs.
      cells: the cells to show, in order.
      title: title of the table.
      values: text, with a cell as index of each row; what is not shown is left out.
      notes: notes below the table.
      bold: bool [cells, metrics].
    """
    values = values.loc[[cell for cell in cells.index if cell in values.index]]
    runs = frame[frame["cell"].isin(cells.index) & frame["revision"].str.endswith("-dirty")]
    revisions, dirty = ", ".join(sorted(runs["revision"].unique())), set(runs["cell"])
    notes = [*notes, *[f"† Made from files that no commit holds: {revisions}."] * bool(dirty)]
    names = cells.loc[values.index, list(NAMES)].astype(str)
    marked = zip(names.index, names["labels"], strict=True)
    names["labels"] = [f"{label} †" if cell in dirty else label for cell, label in marked]
    headers = HEADERS | {metric: header for metric, (header, _, _) in COLUMNS.items()}
    body = pd.concat([part.reset_index(drop=True) for part in (names, values.astype(str))], axis=1)
    num_names = len(NAMES) + sum(name in BESIDE for name in values)
    bold = pd.DataFrame() if bold is None else bold.loc[values.index].rename(columns=headers)
    return Table(title, body.rename(columns=headers), num_names, tuple(notes), bold)


def _texts(long: pd.DataFrame, metrics: Sequence[str], **form: str) -> pd.DataFrame:
    """Formats numbers, a column for each metric, and n, the largest number of seeds.

    Args:
      long: index cell, …, metric; columns of ``columns.shown`` and then the count of seeds. Rows
        without a seed are left out.
      metrics: metrics to show.
      **form: further arguments of ``columns.shown``.
    """
    long = long[long.index.get_level_values(-1).isin(metrics)]
    keys = list(range(long.index.nlevels - 1))
    num = long["count"].groupby(level=keys).transform("max").astype(int)
    long, num = long[num > 0], num[num > 0]
    if long.empty:
        return pd.DataFrame()
    texts = [
        columns.shown(index[-1], *numbers, **form) + (f" (n={count:.0f})" if 0 < count < n else "")
        for index, (*numbers, count), n in zip(long.index, long.to_numpy(), num, strict=True)
    ]
    texts = pd.Series(texts, long.index, dtype=object).unstack(sort=False)
    texts = texts.reindex(columns=list(metrics))
    texts.insert(0, "n", num.groupby(level=keys).first())
    return texts.reset_index(keys[1:])


def _figures(
    frame: pd.DataFrame, cells: pd.DataFrame, title: str, metrics: list[str], with_published: bool
) -> Table:
    """Makes a row for each cell that has any of the metrics."""
    notes = ["n: seeds. Figures: mean ± sample standard deviation over them.", TS]
    means = compare.means(frame, metrics)
    values = _texts(means, metrics, spread="± {}")
    notes += [*[VS] * any(m.endswith("_vs") or m.startswith("extra") for m in metrics)]
    notes += [*[SUPERCLASS] * any(m.startswith("superclass") for m in metrics), BOLD]
    own, footnotes = published.column(cells, {columns.set_of(metric) for metric in metrics})
    if with_published and any(own.get(cell) for cell in values.index):
        values[PUBLISHED] = own
        notes += [*footnotes, PAPER]
    bold = compare.best(frame, [m for m in metrics if m not in NO_CONTEST])
    title = f"Figures on {title}" if title else "Figures"
    return _table(frame, cells, title, values, notes, bold)


def _differences(frame: pd.DataFrame, cells: pd.DataFrame, title: str, metrics: list[str]) -> Table:
    metrics = [m for m in metrics if m not in NO_CONTEST]
    values = _texts(compare.to_one_hot(frame, metrics), metrics, sign="+")
    title = f"{DIFFERENCE}: {title}" if SETS.get(title) else DIFFERENCE
    return _table(frame, cells, title, values, [DIFFERENCE_NOTE])


def _comparison(frame: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """Compares AutoLabel without a temperature with each of its baselines."""
    present = frames.present(frame[frame["cell"].isin(cells.index)])
    metrics = [m for m in compare.METRICS if m in present]
    values = _texts(compare.to_baselines(frame), metrics, sign="+")
    title = "AutoLabel without a temperature against temperature scaling and smoothing"
    return _table(frame, cells, title, values, [COMPARISON])


def _intervals(frame: pd.DataFrame, cells: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """Makes a row for each run with intervals that is alone in its cell and so has no ±."""
    single = frames.single(frame).items()
    results = {cell: result for cell, result in single if "accuracy_interval" in result}
    kept = [m for m in metrics if any(f"{m}_interval" in own for own in results.values())]
    rows = {
        cell: [str(own["seed"]), *(columns.with_interval(own, m, m) for m in kept)]
        for cell, own in results.items()
    }
    values = pd.DataFrame.from_dict(rows, orient="index", columns=["seed", *kept])
    title = "95 % intervals over the test images, of single seeds"
    return _table(frame, cells, title, values, [INTERVALS])


def _label_courses(frame: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """Makes three rows for each AutoLabel cell: how its labels changed in each third."""
    courses = {
        cell: label_course.course(runs)
        for cell, runs in frame[["cell", "record"]].groupby("cell")
        if label_course.has_course(runs)
    }
    values = pd.concat(courses, names=["cell", "of them"]) if courses else pd.DataFrame()
    values = values.map(lambda value: "" if math.isnan(value) else f"{value:.3f}")
    values = values.reset_index("of them") if courses else values
    return _table(frame, cells, "The course of AutoLabel's labels", values, [COURSE])
