"""Updates documents whose tables are made from run files, between two hidden comments.

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
from collections.abc import Callable, Sequence

from autolabel_jax import files
from experiments.reporting import frame as frames
from experiments.reporting import rendering, run_files, summary

BEGIN, END = "<!-- tables", "<!-- end of tables -->"
MARKER = re.compile(rf"^((?:{BEGIN}|{END}).*)$", re.MULTILINE)
# Arguments of ``summary.tables`` → their separator.
LISTS = {"show": None, "columns": None, "augmentations": None, "rows": ";"}
FIELDS = (*LISTS, "title", "notes")
EXAMPLE = f'{BEGIN} results/FOLDER columns="accuracy ece" -->'


def split(text: str, name: str) -> list[str]:
    """Splits a document into text, marker, tables, end marker, text, …, text."""
    parts = MARKER.split(text)
    for i in range(1, len(parts), 2):
        if parts[i].startswith(END) != (i % 4 == 3):
            what = f"{parts[i]!r} without {END if i % 4 == 3 else EXAMPLE} before it"
            raise ValueError(f"{_place(name, parts, i)}: {what}")
    if len(parts) % 4 == 3:
        place = _place(name, parts, len(parts) - 2)
        raise ValueError(f"{place}: the block has no end; write {END} below it")
    return parts


def _place(name: str, parts: list[str], i: int) -> str:
    return f"{name}:{sum(part.count(chr(10)) for part in parts[:i]) + 1}"


def _parse(marker: str) -> tuple[list[str], dict[str, str]]:
    """Returns the folders and the fields of a marker."""
    inside = marker.removeprefix(BEGIN).strip()
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
    tables = summary.tables(frame, left_out, **asked)
    tables, apart = (tables[:-1], tables[-1:]) if len(left_out) else (tables, [])
    if not tables or ("title" in given and len(tables) != 1):
        titles = ", ".join(table.title for table in tables) or "none"
        what = "choose one with show and columns"
        raise ValueError(f"title needs exactly one table, got {titles}; {what}")
    changes = {"title": given["title"]} if "title" in given else {}
    changes |= {"notes": ()} if "notes" in given else {}
    shared, tables = rendering.without_shared([table._replace(**changes) for table in tables])
    shared = f"All rows: {shared.translate(rendering.MARKDOWN)}.\n\n" * bool(shared)
    return f"\n\n{shared}{rendering.markdown([*tables, *apart], '####')}\n"


def update(
    names: Sequence[str], arguments: Sequence[str], root: pathlib.Path, *, check: bool
) -> list[str]:
    """Regenerates the tables of documents, or compares them; paths are relative to ``root``.

    Returns messages about runs in ``arguments`` that no document shows, and tables that differ.
    """
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
