"""Renders tables as Markdown, LaTeX (booktabs) and HTML, escaped as each format needs."""

import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np
import pandas as pd

from experiments.reporting import printing

KEPT = ("labels", "minus", "of them", "run", "reason")  # are columns even if all are equal
PAGE_COLUMNS = 9  # values a row that fit the page


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
      title: caption.
      body: text; the first ``num_names`` columns name the row, the others are values.
      num_names: number of columns that name the row.
      notes: sentences below the table.
      bold: bool with the rows of the body and some of its columns: the entries in bold.
    """

    title: str
    body: pd.DataFrame
    num_names: int
    notes: tuple[str, ...] = ()
    bold: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    def marked(self, escape: Callable[[str], str], start: str, end: str) -> pd.DataFrame:
        """Returns the body with escaped text, and a mark before and after what is bold."""
        body = self.body.map(escape).reset_index(drop=True)
        for name in self.bold:
            bold = self.bold[name].to_numpy(bool) & (body[name] != "").to_numpy()
            body[name] = body[name].where(~bold, start + body[name] + end)
        return body.rename(columns=escape)


# What LaTeX reads as a command, or lacks in the usual encodings.
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "†": r"\dag{}"},
    }
)


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown, inside tables too."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return text.replace("*", "\\*").replace("\n", " ")


def markdown_table(table: Table) -> str:
    """Renders the rows of a table as Markdown, without title and notes."""
    body, names = table.marked(escape_markdown, "**", "**"), table.num_names
    lines = [f"| {' | '.join(row)} |" for row in [body.columns, *body.to_numpy()]]
    lines.insert(1, f"|{'---|' * names}{'---:|' * (len(body.columns) - names)}")
    return "\n".join(lines)


def markdown(tables: Sequence[Table]) -> str:
    """Renders tables as GitHub-flavoured Markdown."""
    parts = []
    for table in tables:
        notes = "".join(f"\n- {escape_markdown(note)}" for note in table.notes)
        parts.append(f"### {escape_markdown(table.title)}\n\n{markdown_table(table)}\n{notes}\n")
    return "\n".join(parts)


def latex(tables: Sequence[Table]) -> str:
    """Renders each table as a floating LaTeX table; the preamble needs the package booktabs."""
    parts = ["% \\usepackage{booktabs}\n"]
    for table in tables:
        body = table.marked(lambda text: text.translate(LATEX), r"\textbf{", "}")
        text = body.to_latex(
            index=False,
            escape=False,
            caption=table.title.translate(LATEX),
            position="t",
            column_format="l" * table.num_names + "r" * (len(body.columns) - table.num_names),
        )
        notes = "".join(f"\\par {note.translate(LATEX)}\n" for note in table.notes)
        text = text.replace(r"\begin{table}[t]", "\\begin{table*}[t]\n\\centering\\footnotesize", 1)
        parts.append(text.replace(r"\end{table}", rf"{notes}\end{{table*}}"))
    return "\n".join(parts)


def without_shared(tables: Sequence[Table]) -> tuple[str, list[Table]]:
    """Moves names that all rows of all tables share, but for ``KEPT``, out of the tables.

    Returns:
      What is shared, 'model resnet18; epochs 20', and the tables without those columns.
    """
    named = [table.body.iloc[:, : table.num_names] for table in tables]
    everywhere = [n for n in named[0] if all(n in names for names in named)] if named else []
    values = {n: set().union(*(names[n] for names in named)) for n in everywhere if n not in KEPT}
    shared = {name: own.pop() for name, own in values.items() if len(own) == 1}
    text = "; ".join(f"{name} {value}" for name, value in shared.items())
    return text, [
        dataclasses.replace(
            table,
            body=table.body.drop(columns=list(shared)),
            num_names=table.num_names - len(shared),
        )
        for table in tables
    ]


def text(tables: Sequence[Table], wide: int) -> str:
    """Renders tables as plain text of a width in characters, see ``printing.aligned``."""
    parts = []
    for table in tables:
        shared, (own,) = without_shared([table])
        body = own.marked(str, "**", "**")
        rows = printing.aligned(
            [list(body), *body.to_numpy().tolist()],
            own.num_names,
            wide=wide,
            more="; --all shows them",
        )
        parts += [f"{own.title}{f' ({shared})' if shared else ''}\n", f"{rows}\n"]
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    return "\n".join([*parts, *(textwrap.fill(f"- {note}", min(wide, 100)) for note in notes)])


def html(tables: Sequence[Table], *, title: str = "Results", **parts: Sequence[Any]) -> str:
    """Renders a page without scripts or external resources, see ``page.html.jinja``.

    Tables are split so that they fit its width of 1,400 pixels.

    Args:
      tables: tables of the page.
      title: title of the page.
      **parts: ``Summary``: sentences; ``Figures``: dicts of title, alt and data, width, height or
        reason; ``Runs``: dicts of name and files.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    shown = {"Summary": (), "Tables": [part for table in tables for part in _page_tables(table)]}
    shown = {name: part for name, part in (shown | parts).items() if part}
    return environment.get_template("page.html.jinja").render(title=title, parts=shown)


def _page_tables(table: Table) -> Iterator[dict[str, Any]]:
    """Yields what the page shows of a table, with at most ``PAGE_COLUMNS`` values in a row.

    What all rows share is in the title, and lines break before ± and [ alone.
    """

    def escape(text: str) -> str:
        text = str(markupsafe.escape(text))
        return text.replace("± ", "±\xa0").replace(", −", ",\xa0−").replace(", +", ",\xa0+")

    shared, (table,) = without_shared([table])
    title = f"{table.title} ({shared})" if shared else table.title
    body = table.marked(escape, "<b>", "</b>")
    names, values = np.split(np.arange(len(body.columns)), [table.num_names])
    num = max(math.ceil(len(values) / PAGE_COLUMNS), 1)
    for i, part in enumerate(np.array_split(values, num)):
        own = body.iloc[:, [*names, *part]]
        yield {
            "title": f"{title}, continued" if i else title,
            "header": list(map(markupsafe.Markup, own)),
            "rows": [list(map(markupsafe.Markup, row)) for row in own.to_numpy()],
            "num_names": table.num_names,
            "notes": table.notes if i + 1 == num else (),
        }
