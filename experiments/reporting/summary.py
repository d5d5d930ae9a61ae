"""Makes the tables of runs: metrics by cell, differences between labels, excluded runs; CSV."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from experiments.reporting import columns, compare, run_files
from experiments.reporting import frame as frames
from experiments.reporting.columns import HEADERS, IMAGES, NO_CONTEST, NOTES
from experiments.reporting.frame import NAMES
from experiments.reporting.rendering import BOLD, END, Table

PUBLISHED = "published"  # a column like the others, always last
BESIDE = ("minus", "of them")  # columns that name a row beside NAMES
NAMED = HEADERS | {"dataset": "data set", "train_examples": "training images"}
MEANS = {"mean": "mean", "std": "sd", "count": "n"}
GAPS = {"mean": "minus_one_hot", "low": "minus_one_hot_low", "high": "minus_one_hot_high"}
GAPS |= {"count": "minus_one_hot_n"}
CSV = ["dataset", "model", "augmentation", "labels", "settings", "train_examples", "epochs", "n"]
CSV += ["seeds", "revision", "numerics_version"]
ENDS = ("mean", "sd", "low", "high", "n", *GAPS.values())
CSV += [f"{name}_{end}" for name in HEADERS for end in ENDS]
CSV += [f"published_{name}" for name in (*columns.PUBLISHED_METRICS, "source")]
CSV += ["run", "left_out"]
# What a spreadsheet would run, which is not a number: an apostrophe goes before it.
FORMULA = r"^(?=[=+\-@\t\r])(?![+-]?\.?\d[\d.]*(?:[eE][+-]?\d+)?$)"
Groups = dict[str, list[str]]  # set of images → metrics
Made = Iterator[tuple]  # title, text by cell, and notes of each table


def tables(
    frame: pd.DataFrame,
    excluded: pd.DataFrame,
    *,
    show: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    augmentations: Sequence[str] | None = None,
) -> list[Table]:
    """Makes the tables of ``frame.load`` that are not empty: of cells, and of the excluded runs.

    ``show`` has some of ``KINDS``; ``columns`` are of one table, None makes a table for each set
    of images; ``rows`` (labels) and ``augmentations`` are in the order wanted.
    """
    shown = [*frames.present(frame), PUBLISHED]
    cells = frame.drop_duplicates("cell").set_index("cell")
    known = {"show": KINDS, "columns": shown, "augmentations": cells["augmentation"]}
    shown_cells = cells["augmentation"].isin(augmentations or cells["augmentation"])
    known["rows"] = cells.loc[shown_cells, "labels"]
    for field, asked in zip(known, (show, columns, augmentations, rows), strict=True):
        expected = dict.fromkeys(known[field])
        unknown = [name for name in asked or () if name not in expected]
        if unknown or (asked is not None and not asked):
            got = "; ".join(unknown) or "nothing"
            raise ValueError(f"{field}: got {got}, expected some of: {'; '.join(expected)}")
    if augmentations is not None:
        cells = pd.concat([cells[cells["augmentation"] == name] for name in augmentations])
    if rows is not None:
        blocks = [block for _, block in cells.groupby("block", sort=False)]
        cells = pd.concat([b[b["labels"] == row] for b in blocks for row in rows])
    groups = {} if columns is None else {"": columns}
    for title in IMAGES.values() if columns is None else ():
        groups[title] = [m for m in shown if m == PUBLISHED or IMAGES[m] == title]
    frame = frame[frame["block"].isin(cells["block"])]
    makers = [KINDS[kind] for kind in show or KINDS if len(frame)]
    made = [_table(frame, cells, *own) for make in makers for own in make(frame, cells, groups)]
    apart = excluded[["run", "reason"]].set_index(["run", "reason"])
    return [table for table in (*made, Table("Runs left out", apart)) if len(table.body)]


def _table(
    frame: pd.DataFrame, cells: pd.DataFrame, title: str, values: pd.DataFrame, *notes: str
) -> Table:
    """Puts the names of cells in front of text by cell, in the order of the cells."""
    values = values.loc[[cell for cell in cells.index if cell in values.index]]
    runs = frame[frame["cell"].isin(cells.index) & frame["revision"].str.endswith("-dirty")]
    revisions, dirty = ", ".join(sorted(runs["revision"].unique())), set(runs["cell"])
    notes += (f"† Made from files that no commit holds: {revisions}.",) * bool(dirty)
    names = cells.loc[values.index, list(NAMES)]
    names["labels"] = names["labels"].mask(names.index.isin(dirty), names["labels"] + " †")
    body = pd.concat([part.astype(str).reset_index(drop=True) for part in (names, values)], axis=1)
    body = body.set_index([*NAMES, *(name for name in BESIDE if name in values)])
    return Table(title, body.rename(columns=NAMED).rename_axis(index=NAMED), notes)


def _texts(
    long: pd.DataFrame, metrics: Sequence[str], bold: Iterable = (), **form: str
) -> pd.DataFrame:
    """Formats numbers by cell, …, metric, a column for each metric, and n, the most seeds.

    Columns of ``long`` are those of ``columns.shown``, and last the count of seeds.
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


def _figures(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    for title, shown in groups.items():
        metrics = [metric for metric in shown if metric != PUBLISHED]
        bold = compare.best(frame, [m for m in metrics if m not in NO_CONTEST])
        values = _texts(compare.means(frame, metrics), metrics, bold, spread="± {}")
        runs = frame[frame["cell"].isin(values.index)]
        num = int(compare.at_bound(runs).sum())
        notes = [NOTES["seeds"], NOTES["ts"]]
        notes += [NOTES["no_optimum"].format(num=num, total=len(runs))] * bool(num)
        notes += [NOTES["vs"]] * any(m.endswith("_vs") or m.startswith("extra") for m in metrics)
        notes += [NOTES["superclass"]] * any(m.startswith("superclass") for m in metrics)
        own, footnotes = columns.published(cells, {IMAGES[metric] for metric in metrics})
        if has_published := PUBLISHED in shown and any(own.get(cell) for cell in values.index):
            values[PUBLISHED] = own
        notes += [NOTES["bold"], *[*footnotes, NOTES["paper"]] * has_published]
        yield f"Figures on {title}" if title else "Figures", values, *notes


def _differences(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    for title, shown in groups.items():
        metrics = [m for m in shown if m not in (*NO_CONTEST, PUBLISHED)]
        values = _texts(compare.to_one_hot(frame, metrics), metrics, sign="+")
        images = "" if title in ("", IMAGES["accuracy"]) else f": {title}"
        title = f"Difference to one-hot labels, seed by seed{images}"
        yield title, values, NOTES["differences"]


def _comparison(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    present = frames.present(frame[frame["cell"].isin(cells.index)])
    metrics = [m for m in compare.METRICS if m in present]
    values = _texts(compare.to_baselines(frame), metrics, sign="+")
    title = "AutoLabel without a temperature against temperature scaling and smoothing"
    yield title, values, NOTES["comparison"]


def _intervals(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    """Makes a row for each run with intervals that is alone in its cell and so has no ±."""
    alone = frame.drop_duplicates("cell", keep=False).set_index("cell")["record"]
    results = {c: r.result for c, r in alone.items() if "accuracy_interval" in r.result}
    metrics = groups.get("") or frames.present(frame)
    kept = [m for m in metrics if any(f"{m}_interval" in own for own in results.values())]
    rows = {
        cell: [str(own["seed"]), *(columns.with_interval(own, m, m) for m in kept)]
        for cell, own in results.items()
    }
    values = pd.DataFrame.from_dict(rows, orient="index", columns=["seed", *kept])
    title = "95 % intervals over the test images, of single seeds"
    yield title, values, NOTES["intervals"]


def _labels(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    courses = compare.courses(frame)
    values = courses.map("{:.3f}".format, na_action="ignore").fillna("")
    values = values.reset_index("of them") if len(courses) else values
    yield "The course of AutoLabel's labels", values, NOTES["labels"]


KINDS = {
    "figures": _figures,
    "differences": _differences,
    "intervals": _intervals,
    "comparison": _comparison,
    "labels": _labels,
}


def as_csv(frame: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Writes one row per cell, then the excluded runs with the reasons, see ``frame.load``.

    ``…_low`` and ``…_high`` hold the 95 % interval over test images, for cells of one run.
    """
    excluded = left_out[["run", "reason"]].rename(columns={"reason": "left_out"})
    table = pd.concat([own for own in (_csv_cells(frame), excluded) if len(own)])
    table = table.reindex(columns=[name for name in CSV if name in table])
    return table.replace(FORMULA, "'", regex=True).to_csv(index=False, lineterminator="\n")


def _csv_cells(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    metrics, cells = frames.present(frame), frame.groupby("cell")
    first = frame.drop_duplicates("cell").set_index("cell")
    table = first.assign(labels=first["rule"], settings=first["varied"], n=cells.size())
    versions = [run_files.numerics(run.result)["numerics_version"] for run in first["record"]]
    table["numerics_version"] = versions
    for name, own in {"seeds": "seed", "revision": "revision", "run": "run"}.items():
        table[name] = cells[own].agg(lambda values: " ".join(map(str, values.unique())))
    contests = [metric for metric in metrics if metric not in NO_CONTEST]
    means, gaps = compare.means(frame, metrics), compare.to_one_hot(frame, contests)
    for long, names in ((means, MEANS), (gaps, GAPS)):
        long = long[long["count"] > 0].astype({"count": "Int64"}).rename(columns=names)
        wide = long.unstack()
        table = table.join(wide.set_axis([f"{name}_{end}" for end, name in wide], axis=1))
    more = {}
    for cell, run in first["record"].items():
        own, note = columns.published_beside(run.config, first.loc[cell, "model"])
        own = own | {"source": note} if note else {}
        more[cell] = {f"published_{name}": str(value) for name, value in own.items()}
        for metric in metrics if table.loc[cell, "n"] == 1 else ():
            ends = (f"{metric}_low", f"{metric}_high")
            more[cell] |= zip(ends, run.result.get(f"{metric}_interval", ()), strict=False)
    table = table.join(pd.DataFrame.from_dict(more, orient="index"))
    return table.astype(object)
