"""Renders tables as text, Markdown, LaTeX (booktabs) and HTML, escaped as each format needs."""

import pathlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jinja2
import markupsafe
import numpy as np
import pandas as pd

from experiments.reporting import printing

KEPT = ("labels", "minus", "of them", "run", "reason")  # are columns even if all are equal
PAGE_COLUMNS = 9  # values a row that fit the page
BOLD, END = "\x02", "\x03"  # before and after text in bold


class Table(NamedTuple):
    """A table of text: caption, body whose index names the rows, and sentences below it."""

    title: str
    body: pd.DataFrame
    notes: tuple[str, ...] = ()


PLAIN = str.maketrans({BOLD: "**", END: "**"})
MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\|*"} | {"<": "&lt;", "\n": " "}) | PLAIN
# What LaTeX reads as a command, or lacks in the usual encodings.
LATEX = str.maketrans(
    {
        **{"\\": r"\textbackslash{}", BOLD: r"\textbf{", END: "}"},
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "†": r"\dag{}"},
    }
)
# Lines break before ± and [ alone.
HTML = str.maketrans({BOLD: "<b>", END: "</b>"})
TOGETHER = {"± ": "±\xa0", ", −": ",\xa0−", ", +": ",\xa0+"}


def _escaped(table: Table, escape: Callable[[str], str]) -> tuple[pd.DataFrame, int]:
    """Returns names and values in one frame, and the number of columns that hold names."""
    body = table.body.reset_index().map(escape).rename(columns=escape)
    return body, table.body.index.nlevels


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown, inside tables too."""
    return text.translate(MARKDOWN)


def markdown_table(table: Table) -> str:
    """Renders the rows of a table as Markdown, without title and notes."""
    body, names = _escaped(table, escape_markdown)
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
        body, names = _escaped(table, lambda text: text.translate(LATEX))
        aligned = "l" * names + "r" * (len(body.columns) - names)
        settings = {"caption": table.title.translate(LATEX), "column_format": aligned}
        text = body.to_latex(index=False, escape=False, position="t", **settings)
        notes = "".join(f"\\par {note.translate(LATEX)}\n" for note in table.notes)
        text = text.replace(r"\begin{table}[t]", "\\begin{table*}[t]\n\\centering\\footnotesize", 1)
        parts.append(text.replace(r"\end{table}", rf"{notes}\end{{table*}}"))
    return "\n".join(parts)


def without_shared(tables: Sequence[Table]) -> tuple[str, list[Table]]:
    """Moves names that all rows of all tables share, but for ``KEPT``, out of the tables.

    Returns:
      What is shared, 'model resnet18; epochs 20', and the tables without those columns.
    """
    if not tables:
        return "", []
    names = pd.concat([table.body.index.to_frame() for table in tables], join="inner")
    shared = [name for name in names if name not in KEPT and names[name].nunique() == 1]
    text = "; ".join(f"{name} {names[name].iloc[0]}" for name in shared)
    return text, [table._replace(body=table.body.droplevel(shared)) for table in tables]


def text(tables: Sequence[Table], wide: int) -> str:
    """Renders tables as plain text of a width in characters, see ``printing.aligned``."""
    parts = []
    for table in tables:
        shared, (own,) = without_shared([table])
        body, names = _escaped(own, lambda text: text.translate(PLAIN))
        rows = [list(body), *body.to_numpy().tolist()]
        aligned = printing.aligned(rows, names, wide=wide, more="; --all shows them")
        parts += [f"{own.title}{f' ({shared})' if shared else ''}\n", f"{aligned}\n"]
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

    What all rows share is in the title.
    """

    def escape(text: str) -> str:
        text = str(markupsafe.escape(text)).translate(HTML)
        for apart, together in TOGETHER.items():
            text = text.replace(apart, together)
        return markupsafe.Markup(text)

    shared, (table,) = without_shared([table])
    title = f"{table.title} ({shared})" if shared else table.title
    body, num_names = _escaped(table, escape)
    names, values = np.split(np.arange(len(body.columns)), [num_names])
    parts = np.array_split(values, max(-(-len(values) // PAGE_COLUMNS), 1))
    for i, part in enumerate(parts):
        own = body.iloc[:, [*names, *part]]
        yield {
            "title": f"{title}, continued" if i else title,
            "header": list(map(markupsafe.Markup, own)),
            "rows": [list(map(markupsafe.Markup, row)) for row in own.to_numpy()],
            "num_names": num_names,
            "notes": table.notes if i + 1 == len(parts) else (),
        }
