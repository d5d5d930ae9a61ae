"""Updates documents whose tables are made from run files, between two hidden comments.

    <!-- tables results/a results/b columns="accuracy ece nll" -->
    …
    <!-- end of tables -->

The fields of a marker are described in docs/sweeps.md.
"""

import difflib
import pathlib
import re
import shlex
from collections.abc import Sequence

from autolabel_jax import files
from experiments.reporting import frame as frames
from experiments.reporting import rendering, run_files, summary
from experiments.reporting.rendering import escape_markdown

BEGIN, END = "<!-- tables", "<!-- end of tables -->"
MARKER = re.compile(rf"^(?:{BEGIN}|{END}).*$", re.MULTILINE)
# Arguments of ``summary.tables`` → their separator.
LISTS = {"show": None, "columns": None, "rows": ";", "augmentations": None}
FIELDS = (*LISTS, "title", "notes")
EXAMPLE = f'{BEGIN} results/FOLDER columns="accuracy ece" -->'


def find(text: str, name: str) -> list[tuple[re.Match, re.Match]]:
    """Finds the pairs of markers in the text of a document; an error gives document and line."""
    found = list(MARKER.finditer(text))
    for i, marker in enumerate(found):
        if marker.group().startswith(END) != bool(i % 2):
            what = f"{marker.group()!r} without {END if i % 2 else EXAMPLE} before it"
            raise ValueError(f"{_place(name, marker)}: {what}")
    if len(found) % 2:
        raise ValueError(f"{_place(name, found[-1])}: the block has no end; write {END} below it")
    return list(zip(found[::2], found[1::2], strict=True))


def _place(name: str, marker: re.Match) -> str:
    return f"{name}:{marker.string.count(chr(10), 0, marker.start()) + 1}"


def _parse(marker: str) -> tuple[list[str], dict[str, str]]:
    """Returns the folders and the fields of a marker."""
    inside = marker.removeprefix(BEGIN).strip()
    try:
        words = shlex.split(inside.removesuffix("-->"))
    except ValueError as error:
        raise ValueError(f"{error} in {marker!r}; write it as {EXAMPLE}") from error
    # A folder may be called 'runs/labels.rule=one_hot'.
    fields = [word for word in words if "=" in word and word.split("=")[0].isidentifier()]
    given = dict(word.split("=", 1) for word in fields)
    folders = [word for word in words if word not in fields]
    unknown = [field for field in given if field not in FIELDS]
    if unknown or not folders or not inside.endswith("-->") or given.get("notes", "no") != "no":
        what = f"got {', '.join(unknown)}, expected some of: {', '.join(FIELDS)}"
        what = what if unknown else marker
        raise ValueError(f'{what}; write it as {EXAMPLE}; notes may be "no"')
    return folders, given


def _content(folders: list[str], given: dict[str, str], root: pathlib.Path) -> str:
    """Makes the text between two markers: what all rows share, the tables, the notes."""
    asked = {field: given[field].split(LISTS[field]) for field in LISTS if field in given}
    asked = {field: list(filter(None, map(str.strip, own))) for field, own in asked.items()}
    frame, left_out = frames.load([str(root / folder) for folder in folders])
    left_out["run"] = left_out["run"].str.removeprefix(f"{root}/")
    tables = summary.tables(frame, left_out, **asked)
    tables, apart = (tables[:-1], tables[-1:]) if len(left_out) else (tables, [])
    if not tables or ("title" in given and len(tables) != 1):
        titles = ", ".join(table.title for table in tables) or "none"
        what = "choose one with show and columns"
        raise ValueError(f"title needs exactly one table, got {titles}; {what}")
    if "title" in given:
        tables = [tables[0]._replace(title=given["title"])]
    shared, tables = rendering.without_shared(tables)
    lines = [f"All rows: {escape_markdown(shared)}.\n"] * bool(shared)
    for table in (*tables, *apart):
        lines += [f"#### {escape_markdown(table.title)}\n"] * bool(table.title)
        lines += [f"{rendering.markdown_table(table)}\n"]
    notes = [note for table in tables for note in table.notes if "notes" not in given]
    lines += [f"- {escape_markdown(note)}" for note in dict.fromkeys(notes)]
    return "\n\n" + "\n".join([*lines, *[""] * bool(notes)]) + "\n"


def update(
    names: Sequence[str], arguments: Sequence[str], root: pathlib.Path, *, check: bool
) -> list[str]:
    """Regenerates the tables of documents, or with ``check`` only compares them.

    Returns messages about runs in ``arguments`` that no document shows, and tables that differ.
    Paths in markers are relative to ``root``.
    """
    faults, shown, made = [], set(), {}
    for name in names:
        old, made[name], done = files.read_text(pathlib.Path(name)), "", 0
        for begin, end in find(old, name):
            place = _place(name, begin)
            try:
                folders, given = _parse(begin.group())
                new = _content(folders, given, root)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            made[name] += old[done : begin.end()] + new
            done = end.start()
            shown |= {(root / own.removesuffix(run_files.SUFFIX)).resolve() for own in folders}
            if check and old[begin.end() : done] != new:
                lines = old[begin.end() : done].splitlines(), new.splitlines()
                differing = difflib.unified_diff(*lines, name, "run files", lineterm="", n=0)
                what = f"not what the run files in {', '.join(folders)} give"
                faults += [f"{place}: {what}", *differing]
        made[name] += old[done:]
    for name, new in made.items() if not check else ():
        files.write_text(pathlib.Path(name), new)
    workdirs = [run.workdir for run in run_files.load(arguments)] if arguments else []
    missing = [w for w in workdirs if not shown & {w.resolve(), *w.resolve().parents}]
    return faults + [f"{workdir}: no tables of it in {', '.join(names)}" for workdir in missing]
