"""Makes the tables of runs: metrics by cell, differences between labels, excluded runs."""

from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.reporting import columns, compare, label_course, published
from experiments.reporting import frame as frames
from experiments.reporting.columns import HEADERS, IMAGES, NO_CONTEST
from experiments.reporting.frame import NAMES
from experiments.reporting.rendering import BOLD, END, Table
from experiments.reporting.texts import NOTES

KINDS = ("figures", "differences", "intervals", "comparison", "labels")
PUBLISHED = "published"  # a column like the others, always last
BESIDE = ("minus", "of them")  # columns that name a row beside NAMES
NAMED = HEADERS | {"dataset": "data set", "train_examples": "training images"}
DIFFERENCE = "Difference to one-hot labels, seed by seed"


def tables(
    frame: pd.DataFrame,
    excluded: pd.DataFrame,
    *,
    kinds: Sequence[str] = KINDS,
    chosen: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    augmentations: Sequence[str] | None = None,
) -> list[Table]:
    """Makes the tables of some runs that are not empty, and one of the excluded runs.

    Args:
      frame: runs that can be compared, see ``frame.load``.
      excluded: the other runs.
      kinds: kinds of tables, some of ``KINDS``.
      chosen: metrics shown in one table; None makes a table for each set of images.
      rows: names as in the column 'labels', in order; all rows take part in comparisons.
      augmentations: names of augmentations, in order.

    Raises:
      ValueError: something that does not exist is chosen.
    """
    present = frames.present(frame)
    _check("show", kinds, KINDS)
    _check("columns", chosen, (*present, PUBLISHED))
    cells = _cells(frame, rows, augmentations)
    groups = {title: [m for m in present if IMAGES[m] == title] for title in IMAGES.values()}
    groups = groups if chosen is None else {"": [m for m in chosen if m != PUBLISHED]}
    has_published = chosen is None or PUBLISHED in chosen
    frame = frame[frame["block"].isin(cells["block"])]
    make = {
        "figures": lambda: [_figures(frame, cells, *g, has_published) for g in groups.items()],
        "differences": lambda: [_differences(frame, cells, *g) for g in groups.items()],
        "intervals": lambda: [_intervals(frame, cells, chosen or present)],
        "comparison": lambda: [_comparison(frame, cells)],
        "labels": lambda: [_label_courses(frame, cells)],
    }
    made = [table for kind in kinds if len(frame) for table in make[kind]() if len(table.body)]
    apart = excluded[["run", "reason"]].set_index(["run", "reason"])
    return [*made, *[Table("Runs left out", apart)] * bool(len(apart))]


def _cells(
    frame: pd.DataFrame, rows: Sequence[str] | None, augmentations: Sequence[str] | None
) -> pd.DataFrame:
    """Returns the first runs of the cells to show, in order."""
    cells = frame.drop_duplicates("cell").set_index("cell")
    _check("augmentations", augmentations, cells["augmentation"])
    if augmentations is not None:
        cells = pd.concat([cells[cells["augmentation"] == name] for name in augmentations])
    _check("rows", rows, cells["labels"])
    if rows is not None:
        blocks = [block for _, block in cells.groupby("block", sort=False)]
        cells = pd.concat([b[b["labels"] == row] for b in blocks for row in rows])
    return cells


def _check(field: str, asked: Sequence[str] | None, known: Iterable[str]) -> None:
    known = dict.fromkeys(known)
    unknown = [name for name in asked or () if name not in known]
    if unknown or (asked is not None and not asked):
        raise ValueError(
            f"{field}: got {'; '.join(unknown) or 'nothing'}, expected some of: {'; '.join(known)}"
        )


def _table(
    frame: pd.DataFrame, cells: pd.DataFrame, title: str, values: pd.DataFrame, *notes: str
) -> Table:
    """Makes a table of text with cells as index, with their names in front, in the given order."""
    values = values.loc[[cell for cell in cells.index if cell in values.index]]
    runs = frame[frame["cell"].isin(cells.index) & frame["revision"].str.endswith("-dirty")]
    revisions, dirty = ", ".join(sorted(runs["revision"].unique())), set(runs["cell"])
    notes += (f"† Made from files that no commit holds: {revisions}.",) * bool(dirty)
    names = cells.loc[values.index, list(NAMES)]
    names["labels"] = names["labels"].mask(names.index.isin(dirty), names["labels"] + " †")
    body = pd.concat([part.astype(str).reset_index(drop=True) for part in (names, values)], axis=1)
    index = [*NAMES, *(name for name in BESIDE if name in values)]
    body = body.rename(columns=NAMED).set_index([NAMED.get(name, name) for name in index])
    return Table(title, body, notes)


def _texts(
    long: pd.DataFrame, metrics: Sequence[str], bold: Iterable = (), **form: str
) -> pd.DataFrame:
    """Formats numbers, a column for each metric, and n, the largest number of seeds.

    The index of ``long`` is cell, …, metric, of which some are ``bold``; its columns are those of
    ``columns.shown`` and then the count of seeds. Rows without a seed are left out.
    """
    long = long[long.index.get_level_values(-1).isin(metrics)]
    keys = list(range(long.index.nlevels - 1))
    num = long["count"].groupby(level=keys).transform("max").astype(int)
    long, num = long[num > 0], num[num > 0]
    if long.empty:
        return pd.DataFrame()
    texts = []
    for index, (*numbers, count), n in zip(long.index, long.to_numpy(), num, strict=True):
        text = columns.shown(index[-1], *numbers, **form)
        text += f" (n={count:.0f})" if 0 < count < n else ""
        texts.append(f"{BOLD}{text}{END}" if index in bold else text)
    texts = pd.Series(texts, long.index, dtype=object).unstack(sort=False)
    texts = texts.reindex(columns=list(metrics))
    texts.insert(0, "n", num.groupby(level=keys).first())
    return texts.reset_index(keys[1:])


def _figures(
    frame: pd.DataFrame, cells: pd.DataFrame, title: str, metrics: list[str], has_published: bool
) -> Table:
    """Makes a row for each cell that has any of the metrics."""
    bold = compare.best(frame, [m for m in metrics if m not in NO_CONTEST])
    values = _texts(compare.means(frame, metrics), metrics, bold, spread="± {}")
    vector = any(m.endswith("_vs") or m.startswith("extra") for m in metrics)
    superclass = any(m.startswith("superclass") for m in metrics)
    notes = ["seeds", "ts", *["vs"] * vector, *["superclass"] * superclass, "bold"]
    notes = [NOTES[name] for name in notes]
    runs = frame[frame["cell"].isin(values.index)]
    if num := int(compare.at_bound(runs).sum()):
        notes.insert(2, NOTES["no_optimum"].format(num=num, total=len(runs)))
    own, footnotes = published.column(cells, {IMAGES[metric] for metric in metrics})
    if has_published and any(own.get(cell) for cell in values.index):
        values[PUBLISHED] = own
        notes += [*footnotes, NOTES["paper"]]
    return _table(frame, cells, f"Figures on {title}" if title else "Figures", values, *notes)


def _differences(frame: pd.DataFrame, cells: pd.DataFrame, title: str, metrics: list[str]) -> Table:
    metrics = [m for m in metrics if m not in NO_CONTEST]
    values = _texts(compare.to_one_hot(frame, metrics), metrics, sign="+")
    title = DIFFERENCE if title in ("", IMAGES["accuracy"]) else f"{DIFFERENCE}: {title}"
    return _table(frame, cells, title, values, NOTES["differences"])


def _comparison(frame: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """Compares AutoLabel without a temperature with each of its baselines."""
    present = frames.present(frame[frame["cell"].isin(cells.index)])
    metrics = [m for m in compare.METRICS if m in present]
    values = _texts(compare.to_baselines(frame), metrics, sign="+")
    title = "AutoLabel without a temperature against temperature scaling and smoothing"
    return _table(frame, cells, title, values, NOTES["comparison"])


def _intervals(frame: pd.DataFrame, cells: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """Makes a row for each run with intervals that is alone in its cell and so has no ±."""
    results = {c: own for c, own in frames.single(frame).items() if "accuracy_interval" in own}
    kept = [m for m in metrics if any(f"{m}_interval" in own for own in results.values())]
    rows = {
        cell: [str(own["seed"]), *(columns.with_interval(own, m, m) for m in kept)]
        for cell, own in results.items()
    }
    values = pd.DataFrame.from_dict(rows, orient="index", columns=["seed", *kept])
    title = "95 % intervals over the test images, of single seeds"
    return _table(frame, cells, title, values, NOTES["intervals"])


def _label_courses(frame: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """Makes three rows for each AutoLabel cell: how its labels changed in each third."""
    courses = label_course.courses(frame)
    values = courses.map("{:.3f}".format, na_action="ignore").fillna("")
    values = values.reset_index("of them") if len(courses) else values
    return _table(frame, cells, "The course of AutoLabel's labels", values, NOTES["labels"])
