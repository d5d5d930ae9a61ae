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

BEGIN, END = "<!-- tables", "<!-- end of tables -->"
MARKER = re.compile(rf"^(?:{BEGIN}|{END}).*$", re.MULTILINE)
# Fields that are lists of words → argument of ``summary.tables``.
LISTS = {"show": "kinds", "columns": "chosen", "augmentations": "augmentations"}
FIELDS = (*LISTS, "rows", "title", "notes")
EXAMPLE = f'{BEGIN} results/FOLDER columns="accuracy ece" -->'


def find(text: str, name: str) -> list[tuple[re.Match, re.Match]]:
    """Finds the pairs of markers in the text of a document.

    Raises:
      ValueError: one of the two is missing; the message gives document and line.
    """
    found = list(MARKER.finditer(text))
    for i, marker in enumerate(found):
        is_end, line = i % 2 == 1, marker.group()
        if line.startswith(END) != is_end:
            last = f"; the block of line {_line(found[i - 1])} has no end" if is_end else ""
            wanted = END if is_end else EXAMPLE
            raise ValueError(f"{_place(name, marker)}: {line!r} without {wanted} before it{last}")
    if len(found) % 2:
        raise ValueError(f"{_place(name, found[-1])}: the block has no end; write {END} below it")
    return list(zip(found[::2], found[1::2], strict=True))


def _line(marker: re.Match) -> int:
    return marker.string.count("\n", 0, marker.start()) + 1


def _place(name: str, marker: re.Match) -> str:
    return f"{name}:{_line(marker)}"


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
    """Returns the document with all its tables regenerated; the other text is unchanged.

    Args:
      text: text of the document.
      name: name of the document, for messages.
      root: folder that the paths in markers are relative to.

    Raises:
      ValueError: a block cannot be made; the message gives document and line.
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
    asked = {own: given[field].split() for field, own in LISTS.items() if field in given}
    if "rows" in given:
        asked["rows"] = [row.strip() for row in given["rows"].split(";") if row.strip()]
    frame, left_out = frames.load([str(root / folder) for folder in folders])
    runs = left_out["run"].str.removeprefix(f"{root}/")
    tables = summary.tables(frame, left_out.assign(run=runs), **asked)
    tables, apart = (tables[:-1], tables[-1:]) if len(left_out) else (tables, [])
    if not tables or ("title" in given and len(tables) != 1):
        titles = ", ".join(table.title for table in tables) or "none"
        raise ValueError(
            f"title needs exactly one table, got {titles}; choose one with show and columns"
        )
    if "title" in given:
        tables = [tables[0]._replace(title=given["title"])]
    escape = rendering.escape_markdown
    shared, tables = rendering.without_shared(tables)
    lines = [f"All rows: {escape(shared)}.\n"] * bool(shared)
    for table in (*tables, *apart):
        lines += [f"#### {escape(table.title)}\n"] * bool(table.title)
        lines += [f"{rendering.markdown_table(table)}\n"]
    notes = dict.fromkeys(note for table in tables for note in table.notes if "notes" not in given)
    return "\n".join([*lines, *(f"- {escape(note)}" for note in notes), *[""] * bool(notes)])


def differences(old: str, new: str, name: str) -> list[str]:
    """Returns lines that name the blocks of a document that differ, with their difference."""
    report = []
    for (a, a_end), (b, b_end) in zip(find(old, name), find(new, name), strict=True):
        before, after = old[a.end() : a_end.start()], new[b.end() : b_end.start()]
        if before != after:
            folders = ", ".join(_parse(a)[0])
            report.append(f"{_place(name, a)}: not what the run files in {folders} give")
            lines = before.splitlines(), after.splitlines()
            report += difflib.unified_diff(*lines, name, "run files", lineterm="", n=0)
    return report


def not_shown(
    arguments: Sequence[str], texts: dict[str, str], root: pathlib.Path
) -> list[pathlib.Path]:
    """Returns the paths of runs that no block of all documents shows.

    Args:
      arguments: folders of runs.
      texts: documents by name.
      root: folder that the paths in markers are relative to.
    """
    folders = [f for name, text in texts.items() for a, _ in find(text, name) for f in _parse(a)[0]]
    shown = {(root / folder.removesuffix(run_files.SUFFIX)).resolve() for folder in folders}
    workdirs = [run.workdir for run in run_files.load(arguments)]
    return [w for w in workdirs if not shown & {w.resolve(), *w.resolve().parents}]


def update(
    names: Sequence[str], arguments: Sequence[str], root: pathlib.Path, *, check: bool
) -> list[str]:
    """Regenerates the tables of documents.

    Args:
      names: paths of the documents.
      arguments: folders of runs, each of which some document must show.
      root: folder that the paths in markers are relative to.
      check: compare the tables and write nothing.

    Returns:
      Messages about runs that no document shows and, with ``check``, about tables that differ.

    Raises:
      ValueError: a block cannot be made; the message gives document and line.
    """
    texts = {name: pathlib.Path(name).read_text(encoding="utf-8") for name in names}
    new = {name: regenerated(text, name, root) for name, text in texts.items()}
    faults = [f for name in names if check for f in differences(texts[name], new[name], name)]
    missing = not_shown(arguments, texts, root) if arguments else []
    faults += [f"{workdir}: no tables of it in {', '.join(names)}" for workdir in missing]
    for name, text in new.items() if not check else ():
        with files.replacing(pathlib.Path(name)) as file:
            file.write(text.encode())
    return faults
