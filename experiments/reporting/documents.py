"""Updates documents whose tables are made from run files, between two hidden comments.

    <!-- tables results/a results/b columns="accuracy ece nll" -->
    …
    <!-- end of tables -->

The fields of a marker are described in docs/sweeps.md.
"""

import dataclasses
import difflib
import pathlib
import shlex
from collections.abc import Sequence

from autolabel_jax import files
from experiments.reporting import frame as frames
from experiments.reporting import packed, rendering, run_files, summary
from experiments.reporting.summary import Choice

BEGIN, END = "<!-- tables", "<!-- end of tables -->"
LISTS = {"show": "kinds", "columns": "columns", "augmentations": "augmentations"}  # lists of words
FIELDS = (*LISTS, "rows", "title", "notes")
EXAMPLE = f'{BEGIN} results/FOLDER columns="accuracy ece" -->'


@dataclasses.dataclass(frozen=True)
class Block:
    """A pair of markers and the tables they ask for.

    Attributes:
      place: position of the first marker, 'README.md:12'.
      start: index of the first line between the markers.
      stop: index of the line after the last one between them.
      folders: folders of runs.
      choice: the tables, columns and rows to show.
      title: title of the only table; '' for none; None for the usual titles.
      has_notes: whether notes follow the tables.
    """

    place: str
    start: int
    stop: int
    folders: tuple[str, ...]
    choice: Choice
    title: str | None
    has_notes: bool


def find(text: str, name: str) -> list[Block]:
    """Finds the blocks of a document.

    Args:
      text: text of the document.
      name: name of the document, for messages.

    Raises:
      ValueError: a marker cannot be read; the message gives document and line.
    """
    blocks, begun = [], None
    for i, line in enumerate(text.splitlines()):
        is_end = line.startswith(END)
        if line.startswith(BEGIN) == is_end:
            continue
        if is_end == (begun is None):
            last = f"; the block of line {begun[0] + 1} has no end" if begun else ""
            wanted = EXAMPLE if is_end else END
            raise ValueError(f"{name}:{i + 1}: {line!r} without {wanted} before it{last}")
        if is_end:
            start, marker = begun
            blocks.append(_block(marker, f"{name}:{start + 1}", start + 1, i))
        begun = None if is_end else (i, line)
    if begun:
        raise ValueError(f"{name}:{begun[0] + 1}: the block has no end; write {END} below it")
    return blocks


def _block(marker: str, place: str, start: int, stop: int) -> Block:
    inside = marker.removeprefix(BEGIN).strip()
    try:
        words = shlex.split(inside.removesuffix("-->"))
    except ValueError as error:
        raise ValueError(f"{place}: {error} in {marker!r}; write it as {EXAMPLE}") from error
    # A folder may be called 'runs/labels.rule=one_hot'.
    fields = [word for word in words if "=" in word and word.split("=")[0].isidentifier()]
    given = dict(word.split("=", 1) for word in fields)
    folders = tuple(word for word in words if word not in fields)
    unknown = [field for field in given if field not in FIELDS]
    if unknown or not folders or not inside.endswith("-->") or given.get("notes", "no") != "no":
        what = f"got {', '.join(unknown)}, expected some of: {', '.join(FIELDS)}"
        raise ValueError(
            f'{place}: {what if unknown else marker}; write it as {EXAMPLE}; notes may be "no"'
        )
    asked = {own: tuple(given[field].split()) for field, own in LISTS.items() if field in given}
    if "rows" in given:
        asked["rows"] = tuple(row.strip() for row in given["rows"].split(";") if row.strip())
    title, has_notes = given.get("title"), "notes" not in given
    return Block(place, start, stop, folders, Choice(**asked), title, has_notes)


def regenerated(text: str, name: str, root: pathlib.Path) -> str:
    """Returns the document with all its tables regenerated; the other text is unchanged.

    Args:
      text: text of the document.
      name: name of the document, for messages.
      root: folder that the paths in markers are relative to.

    Raises:
      ValueError: a block cannot be made; the message gives document and line.
    """
    lines, done = text.splitlines(keepends=True), 0
    parts = []
    for block in find(text, name):
        parts += [*lines[done : block.start], f"\n{content(block, root)}\n"]
        done = block.stop
    return "".join([*parts, *lines[done:]])


def content(block: Block, root: pathlib.Path) -> str:
    """Makes the text between the markers of a block: what all rows share, the tables, the notes.

    Raises:
      ValueError: the tables cannot be made; the message gives document and line.
    """
    try:
        frame, left_out = frames.load([str(root / folder) for folder in block.folders])
        tables = summary.chosen(frame, block.choice)
    except ValueError as error:
        raise ValueError(f"{block.place}: {error}") from error
    if not tables or (block.title is not None and len(tables) != 1):
        titles = ", ".join(table.title for table in tables) or "none"
        raise ValueError(
            f"{block.place}: title needs exactly one table, got {titles}; choose one with show "
            "and columns"
        )
    if block.title is not None:
        tables = [dataclasses.replace(tables[0], title=block.title)]
    shared, tables = rendering.without_shared(tables)
    lines = [f"All rows: {rendering.escape_markdown(shared)}.\n"] * bool(shared)
    runs = left_out["run"].str.removeprefix(f"{root}/")
    for table in (*tables, *summary.left_out(left_out.assign(run=runs))):
        lines += [f"#### {rendering.escape_markdown(table.title)}\n"] * bool(table.title)
        lines += [f"{rendering.markdown_table(table)}\n"]
    notes = dict.fromkeys(note for table in tables for note in table.notes if block.has_notes)
    lines += [*(f"- {rendering.escape_markdown(note)}" for note in notes), *[""] * bool(notes)]
    return "\n".join(lines)


def differences(old: str, new: str, name: str) -> list[str]:
    """Returns lines that name the blocks of a document that differ, with their difference."""
    lines_of_old, lines_of_new = old.splitlines(), new.splitlines()
    report = []
    for a, b in zip(find(old, name), find(new, name), strict=True):
        before, after = lines_of_old[a.start : a.stop], lines_of_new[b.start : b.stop]
        if before != after:
            report.append(f"{a.place}: not what the run files in {', '.join(a.folders)} give")
            report += difflib.unified_diff(before, after, name, "run files", lineterm="", n=0)
    return report


def not_shown(
    workdirs: Sequence[pathlib.Path], blocks: Sequence[Block], root: pathlib.Path
) -> list[pathlib.Path]:
    """Returns the working directories of runs that no block of all documents shows."""
    folders = (folder.removesuffix(packed.SUFFIX) for block in blocks for folder in block.folders)
    shown = {(root / folder).resolve() for folder in folders}
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
    blocks, new, faults = [], {}, []
    for name in names:
        old = files.read_text(pathlib.Path(name))
        blocks += find(old, name)
        new[name] = regenerated(old, name, root)
        faults += differences(old, new[name], name) if check else []
    missing = not_shown(run_files.find(arguments), blocks, root) if arguments else []
    faults += [f"{workdir}: no tables of it in {', '.join(names)}" for workdir in missing]
    for name, text in new.items() if not check else ():
        files.write_text(pathlib.Path(name), text)
    return faults
