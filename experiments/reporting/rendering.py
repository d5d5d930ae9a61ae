"""Renders tables as text, Markdown, LaTeX (booktabs) and HTML, escaped as each format needs."""

import pathlib
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jinja2
import markupsafe
import numpy as np
import pandas as pd

from experiments.reporting import printing

KEPT = ("labels", "minus", "of them", "run", "reason")  # are columns even if all are equal
PAGE_COLUMNS = 9  # values a row that fit the page of 1,400 pixels
BOLD, END = "\x02", "\x03"  # before and after text in bold


class Table(NamedTuple):
    """A table of text: caption, body whose index names the rows, and sentences below it."""

    title: str
    body: pd.DataFrame
    notes: tuple[str, ...] = ()

    def escaped(self, escape: Callable[[str], str]) -> tuple[pd.DataFrame, int]:
        """Returns names and values in one frame, and the number of columns that hold names."""
        body = self.body.reset_index().map(escape).rename(columns=escape)
        return body, self.body.index.nlevels


PLAIN = str.maketrans({BOLD: "**", END: "**"})
MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\|*"} | {"<": "&lt;", "\n": " "}) | PLAIN
# What LaTeX reads as a command, or lacks in the usual encodings.
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "†": r"\dag{}"}
LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", BOLD: r"\textbf{", END: "}"}
LATEX = str.maketrans(LATEX)
HTML = {BOLD: "<b>", END: "</b>", "± ": "±\xa0", ", −": ",\xa0−", ", +": ",\xa0+"}


def _html(text: str) -> markupsafe.Markup:
    """Escapes text, in which lines break before ± and [ alone."""
    escaped = str(markupsafe.escape(text))
    for own, shown in HTML.items():
        escaped = escaped.replace(own, shown)
    return markupsafe.Markup(escaped)


def markdown_table(body: pd.DataFrame) -> str:
    """Renders the body of a table as Markdown."""
    body, names = Table("", body).escaped(lambda text: text.translate(MARKDOWN))
    lines = [f"| {' | '.join(row)} |" for row in [body.columns, *body.to_numpy()]]
    lines.insert(1, f"|{'---|' * names}{'---:|' * (len(body.columns) - names)}")
    return "\n".join(lines)


def markdown(tables: Sequence[Table], heading: str = "###") -> str:
    """Renders tables as GitHub-flavoured Markdown, with all notes below the last one."""
    parts = []
    for title, body, _ in tables:
        parts += [f"{heading} {title.translate(MARKDOWN)}\n"] * bool(title)
        parts.append(f"{markdown_table(body)}\n")
    parts += [f"- {note.translate(MARKDOWN)}" for note in _notes(tables)]
    return "\n".join(parts).rstrip("\n") + "\n"


def _notes(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(note for table in tables for note in table.notes))


def latex(tables: Sequence[Table]) -> str:
    """Renders each table as a floating LaTeX table; the preamble needs the package booktabs."""
    parts = ["% \\usepackage{booktabs}\n"]
    for table in tables:
        body, names = table.escaped(lambda text: text.translate(LATEX))
        aligned = "l" * names + "r" * (len(body.columns) - names)
        caption = table.title.translate(LATEX)
        settings = {"caption": caption, "column_format": aligned, "position": "t"}
        text = body.to_latex(index=False, escape=False, **settings)
        notes = "".join(f"\\par {note.translate(LATEX)}\n" for note in table.notes)
        text = text.replace(r"\begin{table}[t]", "\\begin{table*}[t]\n\\centering\\footnotesize", 1)
        parts.append(text.replace(r"\end{table}", rf"{notes}\end{{table*}}"))
    return "\n".join(parts)


def without_shared(tables: Sequence[Table]) -> tuple[str, list[Table]]:
    """Moves names that all rows of all tables share, but for ``KEPT``, to 'data set digits; …'."""
    names = pd.concat([table.body.index.to_frame() for table in tables], join="inner")
    shared = [name for name in names if name not in KEPT and names[name].nunique() == 1]
    text = "; ".join(f"{name} {names[name].iloc[0]}" for name in shared)
    return text, [table._replace(body=table.body.droplevel(shared)) for table in tables]


def _with_title(table: Table) -> Table:
    """Moves what all rows share into the title."""
    shared, (table,) = without_shared([table])
    return table._replace(title=f"{table.title} ({shared})") if shared else table


def text(tables: Sequence[Table], wide: int) -> str:
    """Renders tables as plain text of a width in characters, see ``printing.aligned``."""
    parts = []
    for table in map(_with_title, tables):
        body, names = table.escaped(lambda text: text.translate(PLAIN))
        rows = [list(body), *body.to_numpy().tolist()]
        aligned = printing.aligned(rows, names, wide=wide, more="; --all shows them")
        parts += [f"{table.title}\n", f"{aligned}\n"]
    return "\n".join([*parts, *(textwrap.fill(f"- {n}", min(wide, 100)) for n in _notes(tables))])


def html(tables: Sequence[Table], *, title: str = "Results", **parts: Sequence[Any]) -> str:
    """Renders a page without scripts or external resources; ``page.html.jinja`` has its parts."""
    folder = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    strict = {"autoescape": True, "undefined": jinja2.StrictUndefined}
    template = jinja2.Environment(loader=folder, **strict).get_template("page.html.jinja")
    split = []
    for name, body, notes in map(_with_title, tables):
        num = max(-(-len(body.columns) // PAGE_COLUMNS), 1)
        for part in np.array_split(np.arange(len(body.columns)), num):
            split.append(Table(name, body.iloc[:, part], notes))
            name, notes = f"{name.removesuffix(', continued')}, continued", ()
    shown = {"Summary": (), "Tables": split} | parts
    return template.render(title=title, parts={n: p for n, p in shown.items() if p}, escape=_html)
