"""Makes the tables of runs, as CSV too, and updates them in documents, between hidden comments.

    <!-- tables results/a results/b columns="accuracy ece nll" -->
    …
    <!-- end of tables -->

The fields of a marker are described in docs/sweeps.md.
"""

import difflib
import functools
import pathlib
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence

import pandas as pd

from autolabel_jax import files
from autolabel_jax.evaluation import ood
from experiments.reporting import frame as frames
from experiments.reporting import naming, rendering, run_files
from experiments.reporting.naming import HEADERS, IMAGES, NO_CONTEST, NOTES
from experiments.reporting.rendering import BOLD, END, Table

PUBLISHED = "published"  # a column like the others, always last
BESIDE = ("minus", "of them")  # columns that name a row beside frames.NAMES
SETS = tuple(dict.fromkeys(IMAGES.values()))  # a table for each
NAMED = HEADERS | {"dataset": "data set", "train_examples": "training images"}
# What a spreadsheet would run, which is not a number: an apostrophe goes before it.
FORMULA = r"^(?=[=+\-@\t\r])(?![+-]?\.?\d[\d.]*(?:[eE][+-]?\d+)?$)"
Groups = dict[str, list[str]]  # set of images → metrics
Made = Iterator[tuple]  # title, text by cell, and notes of each table
START, STOP = "<!-- tables", "<!-- end of tables -->"
MARKER = re.compile(rf"^((?:{START}|{STOP}).*)$", re.MULTILINE)
# Arguments of ``tables`` → their separator.
LISTS = {"show": None, "columns": None, "augmentations": None, "rows": ";"}
FIELDS = (*LISTS, "title", "notes")
EXAMPLE = f'{START} results/FOLDER columns="accuracy ece" -->'


def tables(frame: pd.DataFrame, excluded: pd.DataFrame, **asked: Sequence[str]) -> list[Table]:
    """Makes tables that are not empty; asked: show (``KINDS``), columns, augmentations, rows."""
    shown = [*frames.present(frame), PUBLISHED]
    cells = frame.drop_duplicates("cell").set_index("cell")
    beside = cells["augmentation"].isin(asked.get("augmentations", cells["augmentation"]))
    known = {"show": KINDS, "columns": shown, "augmentations": cells["augmentation"]}
    known["rows"] = cells.loc[beside, "labels"]
    for field, names in asked.items():
        unknown = "; ".join(name for name in names if name not in list(known[field]))
        if unknown or not names:
            expected = "; ".join(dict.fromkeys(known[field]))
            raise ValueError(f"{field}: got {unknown or 'nothing'}, expected some of: {expected}")
    if "augmentations" in asked:
        cells = pd.concat([cells[cells["augmentation"] == a] for a in asked["augmentations"]])
    if "rows" in asked:
        blocks = [block for _, block in cells.groupby("block", sort=False)]
        cells = pd.concat([b[b["labels"] == row] for b in blocks for row in asked["rows"]])
    groups = {title: [m for m in shown if IMAGES.get(m, title) == title] for title in SETS}
    groups = {"": list(asked["columns"])} if "columns" in asked else groups
    frame = frame[frame["block"].isin(cells["block"])]
    makers = [KINDS[kind] for kind in asked.get("show", KINDS) if len(frame)]
    made = [_table(frame, cells, *own) for make in makers for own in make(frame, cells, groups)]
    apart = Table("Runs left out", excluded[["run", "reason"]].set_index(["run", "reason"]))
    return [table for table in (*made, apart) if len(table.body)]


def _table(
    frame: pd.DataFrame, cells: pd.DataFrame, title: str, values: pd.DataFrame, *notes: str
) -> Table:
    """Puts the names of cells in front of text by cell, in the order of the cells."""
    values = values.loc[[cell for cell in cells.index if cell in values.index]]
    runs = frame[frame["cell"].isin(cells.index) & frame["revision"].str.endswith("-dirty")]
    if len(runs):
        revisions = ", ".join(sorted(runs["revision"].unique()))
        notes += (f"† Made from files that no commit holds: {revisions}.",)
    names = cells.loc[values.index, list(frames.NAMES)].astype(str)
    names.loc[names.index.isin(runs["cell"]), "labels"] += " †"
    body = pd.concat([part.reset_index(drop=True) for part in (names, values)], axis=1)
    body = body.set_index([*frames.NAMES, *(name for name in BESIDE if name in values)])
    return Table(title, body.rename(columns=NAMED).rename_axis(index=NAMED), notes)


def _texts(
    long: pd.DataFrame, metrics: Sequence[str], bold: Collection = (), **form: str
) -> pd.DataFrame:
    """Formats arguments of ``naming.shown`` and count by cell, …, metric: a column a metric."""
    long = long[long.index.get_level_values(-1).isin(metrics)].query("count > 0")
    if long.empty:
        return pd.DataFrame()
    keys = list(range(long.index.nlevels - 1))
    num = long["count"].astype(int).groupby(level=keys).max()
    texts = {}
    for index, (*numbers, count) in zip(long.index, long.to_numpy(), strict=True):
        text = naming.shown(index[-1], *numbers, **form)
        text += f" (n={count:.0f})" * bool(count < num.loc[index[:-1]])
        texts[index] = f"{BOLD}{text}{END}" if index in bold else text
    table = pd.Series(texts).rename_axis(long.index.names).unstack(sort=False)
    table = table.reindex(columns=list(metrics)).fillna("")
    table.insert(0, "n", num.astype(str))
    return table.reset_index(keys[1:])


def _figures(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    for title, shown in groups.items():
        metrics = [metric for metric in shown if metric != PUBLISHED]
        bold = frames.best(frame, [m for m in metrics if m not in NO_CONTEST])
        values = _texts(frames.means(frame, metrics), metrics, bold, spread="± {}")
        runs = frame[frame["cell"].isin(values.index)]
        num = int(frames.at_bound(runs).sum())
        notes = [NOTES["seeds"], NOTES["ts"]]
        notes += [NOTES["no_optimum"].format(num=num, total=len(runs))] * bool(num)
        notes += [NOTES["vs"]] * any(m.endswith("_vs") or m.startswith("extra") for m in metrics)
        notes += [NOTES["superclass"]] * any(m.startswith("superclass") for m in metrics)
        notes += [NOTES["ood"]] * any(m.startswith(ood.PREFIX) for m in metrics)
        own, footnotes = naming.published(cells, {IMAGES[metric] for metric in metrics})
        if has_published := PUBLISHED in shown and any(cell in values.index for cell in own):
            values[PUBLISHED] = pd.Series(own).reindex(values.index, fill_value="")
        notes += [NOTES["bold"], *[*footnotes, NOTES["paper"]] * has_published]
        yield f"Figures on {title}" if title else "Figures", values, *notes


def _differences(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    for title, shown in groups.items():
        metrics = [m for m in shown if m not in (*NO_CONTEST, PUBLISHED)]
        values = _texts(frames.to_one_hot(frame, metrics), metrics, sign="+")
        images = "" if title in ("", IMAGES["accuracy"]) else f": {title}"
        yield f"Difference to one-hot labels, seed by seed{images}", values, NOTES["differences"]


def _comparison(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    present = frames.present(frame[frame["cell"].isin(cells.index)])
    metrics = [m for m in frames.COMPARED if m in present]
    values = _texts(frames.to_baselines(frame), metrics, sign="+")
    title = "AutoLabel without a temperature against temperature scaling and smoothing"
    yield title, values, NOTES["comparison"]


def _intervals(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    """Makes a row for each run with intervals that is alone in its cell and so has no ±."""
    alone = frame.drop_duplicates("cell", keep=False).set_index("cell")
    results = [run.result for run in alone["record"]]
    values = alone[["seed"]].astype(str)
    for metric in groups.get("") or frames.present(frame):
        if any(f"{metric}_interval" in result for result in results):
            values[metric] = [naming.with_interval(r, metric, metric) for r in results]
    values = values[["accuracy_interval" in result for result in results]]
    yield "95 % intervals over the test images, of single seeds", values, NOTES["intervals"]


def _labels(frame: pd.DataFrame, cells: pd.DataFrame, groups: Groups) -> Made:
    values = frames.courses(frame).map("{:.3f}".format, na_action="ignore").fillna("")
    yield "The course of AutoLabel's labels", values.reset_index("of them"), NOTES["labels"]


MAKERS = (_figures, _differences, _intervals, _comparison, _labels)
KINDS = {make.__name__.removeprefix("_"): make for make in MAKERS}


def as_csv(frame: pd.DataFrame, excluded: pd.DataFrame) -> str:
    """Writes a row a cell and metric, with differences to one-hot labels, then excluded runs."""
    metrics = frames.present(frame)
    tables = [excluded[["run", "reason"]].rename(columns={"reason": "left_out"})]
    if len(frame):
        contests = [metric for metric in metrics if metric not in NO_CONTEST]
        gaps = frames.to_one_hot(frame, contests).astype({"count": "Int64"})
        gaps = gaps.add_prefix("minus_one_hot_")
        long = frames.means(frame, metrics).join(gaps).query("count > 0").reset_index("metric")
        cells = frame.groupby("cell")
        lists = cells[["seed", "revision"]].agg(lambda own: " ".join(map(str, own.unique())))
        tables.insert(0, cells[list(frames.NAMES)].first().join(lists.add_suffix("s")).join(long))
    table = pd.concat([own for own in tables if len(own)]).astype(object)
    return table.replace(FORMULA, "'", regex=True).to_csv(index=False, lineterminator="\n")


def split(text: str, name: str) -> list[str]:
    """Splits a document into text, marker, tables, end marker, text, …, text."""
    parts = MARKER.split(text)
    for i in range(1, len(parts), 2):
        if parts[i].startswith(STOP) != (i % 4 == 3):
            what = f"{parts[i]!r} without {STOP if i % 4 == 3 else EXAMPLE} before it"
            raise ValueError(f"{_place(name, parts, i)}: {what}")
    if len(parts) % 4 == 3:
        place = _place(name, parts, len(parts) - 2)
        raise ValueError(f"{place}: the block has no end; write {STOP} below it")
    return parts


def _place(name: str, parts: list[str], i: int) -> str:
    return f"{name}:{sum(part.count(chr(10)) for part in parts[:i]) + 1}"


def _parse(marker: str) -> tuple[list[str], dict[str, str]]:
    """Returns the folders and the fields of a marker."""
    inside = marker.removeprefix(START).strip()
    words = shlex.split(inside.removesuffix("-->"))
    # A folder may be called 'runs/labels.rule=one_hot'.
    fields = [word for word in words if "=" in word and word.split("=")[0].isidentifier()]
    given = dict(word.split("=", 1) for word in fields)
    folders = [word for word in words if word not in fields]
    if unknown := [field for field in given if field not in FIELDS]:
        raise ValueError(f"got {', '.join(unknown)}, expected some of: {', '.join(FIELDS)}")
    if not folders or not inside.endswith("-->") or given.get("notes", "no") != "no":
        raise ValueError(f'{marker}; write it as {EXAMPLE}; notes may be "no"')
    return folders, given


def _content(folders: list[str], given: dict[str, str], root: pathlib.Path, load: Callable) -> str:
    """Makes the text between two markers: what all rows share, the tables, the notes."""
    asked = {field: given[field].split(LISTS[field]) for field in LISTS if field in given}
    asked = {field: list(filter(None, map(str.strip, own))) for field, own in asked.items()}
    frame, left_out = load(tuple(str(root / folder) for folder in folders))
    left_out = left_out.assign(run=left_out["run"].str.removeprefix(f"{root}/"))
    made = tables(frame, left_out, **asked)
    made, apart = (made[:-1], made[-1:]) if len(left_out) else (made, [])
    if not made or ("title" in given and len(made) != 1):
        titles = ", ".join(table.title for table in made) or "none"
        raise ValueError(f"title needs exactly one table, got {titles}; choose by show and columns")
    changes = {"title": given["title"]} if "title" in given else {}
    changes |= {"notes": ()} if "notes" in given else {}
    shared, made = rendering.without_shared([table._replace(**changes) for table in made])
    shared = f"All rows: {shared.translate(rendering.MARKDOWN)}.\n\n" * bool(shared)
    return f"\n\n{shared}{rendering.markdown([*made, *apart], '####')}\n"


def update(
    names: Sequence[str], arguments: Sequence[str], root: pathlib.Path, *, check: bool
) -> list[str]:
    """Regenerates or checks tables in documents; returns what differs or is in no document."""
    faults, shown, made, load = [], set(), {}, functools.cache(frames.load)
    for name in names:
        parts = split(files.read_text(pathlib.Path(name)), name)
        for i in range(1, len(parts), 4):
            place, old = _place(name, parts, i), parts[i + 1]
            try:
                folders, given = _parse(parts[i])
                parts[i + 1] = _content(folders, given, root, load)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            shown |= {(root / own.removesuffix(run_files.SUFFIX)).resolve() for own in folders}
            if check and old != parts[i + 1]:
                lines = old.splitlines(), parts[i + 1].splitlines()
                faults += [f"{place}: not what the run files in {', '.join(folders)} give"]
                faults += difflib.unified_diff(*lines, name, "run files", lineterm="", n=0)
        made[name] = "".join(parts)
    for name, new in made.items() if not check else ():
        files.write_text(pathlib.Path(name), new)
    workdirs = [run.workdir for run in run_files.load(arguments)] if arguments else []
    missing = [w for w in workdirs if not shown & {w.resolve(), *w.resolve().parents}]
    return faults + [f"{workdir}: no tables of it in {', '.join(names)}" for workdir in missing]
