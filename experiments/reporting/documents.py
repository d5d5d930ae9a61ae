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
# Fields that are lists → their separator and the argument of ``summary.tables``.
LISTS = {"show": (None, "kinds"), "columns": (None, "chosen"), "rows": (";", "rows")}
LISTS |= {"augmentations": (None, "augmentations")}
FIELDS = (*LISTS, "title", "notes")
EXAMPLE = f'{BEGIN} results/FOLDER columns="accuracy ece" -->'


def find(text: str, name: str) -> list[tuple[re.Match, re.Match]]:
    """Finds the pairs of markers in the text of a document; an error gives document and line."""
    found = list(MARKER.finditer(text))
    for i, marker in enumerate(found):
        wanted = END if i % 2 else EXAMPLE
        if marker.group().startswith(END) != bool(i % 2):
            what = f"{marker.group()!r} without {wanted} before it"
            raise ValueError(f"{_place(name, marker)}: {what}")
    if len(found) % 2:
        raise ValueError(f"{_place(name, found[-1])}: the block has no end; write {END} below it")
    return list(zip(found[::2], found[1::2], strict=True))


def _place(name: str, marker: re.Match) -> str:
    return f"{name}:{marker.string.count(chr(10), 0, marker.start()) + 1}"


def _parse(marker: re.Match) -> tuple[list[str], dict[str, str]]:
    """Returns the folders and the fields of a marker."""
    inside = marker.group().removeprefix(BEGIN).strip()
    try:
        words = shlex.split(inside.removesuffix("-->"))
    except ValueError as error:
        raise ValueError(f"{error} in {marker.group()!r}; write it as {EXAMPLE}") from error
    # A folder may be called 'runs/labels.rule=one_hot'.
    fields = [word for word in words if "=" in word and word.split("=")[0].isidentifier()]
    given = dict(word.split("=", 1) for word in fields)
    folders = [word for word in words if word not in fields]
    unknown = [field for field in given if field not in FIELDS]
    if unknown or not folders or not inside.endswith("-->") or given.get("notes", "no") != "no":
        what = f"got {', '.join(unknown)}, expected some of: {', '.join(FIELDS)}"
        what = what if unknown else marker.group()
        raise ValueError(f'{what}; write it as {EXAMPLE}; notes may be "no"')
    return folders, given


def regenerated(text: str, name: str, root: pathlib.Path) -> str:
    """Returns the text of a document with all its tables regenerated.

    Paths in markers are relative to ``root``. An error gives document and line of the block.
    """
    parts, done = [], 0
    for begin, end in find(text, name):
        try:
            parts += [text[done : begin.end()], f"\n\n{_content(begin, root)}\n"]
        except ValueError as error:
            raise ValueError(f"{_place(name, begin)}: {error}") from error
        done = end.start()
    return "".join([*parts, text[done:]])


def _content(marker: re.Match, root: pathlib.Path) -> str:
    """Makes the text between two markers: what all rows share, the tables, the notes."""
    folders, given = _parse(marker)
    asked = {}
    for field in LISTS.keys() & given.keys():
        separator, argument = LISTS[field]
        asked[argument] = list(filter(None, map(str.strip, given[field].split(separator))))
    frame, left_out = frames.load([str(root / folder) for folder in folders])
    left_out["run"] = left_out["run"].str.removeprefix(f"{root}/")
    tables = summary.tables(frame, left_out, **asked)
    tables, apart = (tables[:-1], tables[-1:]) if len(left_out) else (tables, [])
    if not tables or ("title" in given and len(tables) != 1):
        titles = ", ".join(table.title for table in tables) or "none"
        raise ValueError(
            f"title needs exactly one table, got {titles}; choose one with show and columns"
        )
    if "title" in given:
        tables = [tables[0]._replace(title=given["title"])]
    shared, tables = rendering.without_shared(tables)
    lines = [f"All rows: {escape_markdown(shared)}.\n"] * bool(shared)
    for table in (*tables, *apart):
        lines += [f"#### {escape_markdown(table.title)}\n"] * bool(table.title)
        lines += [f"{rendering.markdown_table(table)}\n"]
    notes = [note for table in tables for note in table.notes if "notes" not in given]
    lines += [f"- {escape_markdown(note)}" for note in dict.fromkeys(notes)]
    return "\n".join([*lines, *[""] * bool(notes)])


def update(
    names: Sequence[str], arguments: Sequence[str], root: pathlib.Path, *, check: bool
) -> list[str]:
    """Regenerates the tables of documents; with ``check`` it compares them and writes nothing.

    Returns messages about those of the runs in ``arguments`` that no document shows and, with
    ``check``, about tables that differ. Paths in markers are relative to ``root``.
    """
    faults, shown, made = [], set(), {}
    for name in names:
        old = files.read_text(pathlib.Path(name))
        made[name] = new = regenerated(old, name, root)
        for (begin, end), (own, own_end) in zip(find(old, name), find(new, name), strict=True):
            folders = _parse(begin)[0]
            shown |= {(root / own.removesuffix(run_files.SUFFIX)).resolve() for own in folders}
            texts = old[begin.end() : end.start()], new[own.end() : own_end.start()]
            if check and texts[0] != texts[1]:
                what = f"not what the run files in {', '.join(folders)} give"
                lines = (text.splitlines() for text in texts)
                differing = difflib.unified_diff(*lines, name, "run files", lineterm="", n=0)
                faults += [f"{_place(name, begin)}: {what}", *differing]
    for name, new in made.items() if not check else ():
        files.write_text(pathlib.Path(name), new)
    workdirs = [run.workdir for run in run_files.load(arguments)] if arguments else []
    missing = [w for w in workdirs if not shown & {w.resolve(), *w.resolve().parents}]
    return faults + [f"{workdir}: no tables of it in {', '.join(names)}" for workdir in missing]
