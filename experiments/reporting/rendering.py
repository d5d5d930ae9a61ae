"""Renders tables as Markdown, LaTeX (booktabs) and HTML, escaped as each format needs."""

import dataclasses
import html as html_module
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class Entry:
    """The text of one entry of a table."""

    text: str
    bold: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: the first ``num_names`` columns name the row, the others are values."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    num_names: int
    notes: tuple[str, ...] = ()


LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "†": r"\dag{}",
}


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown, inside tables too."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return text.replace("*", "\\*").replace("\n", " ")


def markdown_table(table: Table) -> str:
    """Renders the rows of a table as Markdown, without title and notes."""

    def cell(entry: Entry) -> str:
        text = escape_markdown(entry.text)
        return f"**{text}**" if entry.bold and text else text

    names = table.num_names
    lines = [f"| {' | '.join(map(escape_markdown, table.header))} |"]
    lines.append(f"|{'---|' * names}{'---:|' * (len(table.header) - names)}")
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in table.rows)])


def markdown(tables: Sequence[Table]) -> str:
    """Renders tables as GitHub-flavoured Markdown."""

    def lines(table: Table) -> Iterator[str]:
        yield f"### {escape_markdown(table.title)}\n"
        yield markdown_table(table)
        yield "".join(f"\n- {escape_markdown(note)}" for note in table.notes) + "\n"

    return "\n".join(line for table in tables for line in lines(table))


def without_shared(tables: Sequence[Table], keep: Sequence[str]) -> tuple[str, list[Table]]:
    """Moves what all rows of all tables share out of the tables.

    Args:
      tables: tables whose first columns name the rows.
      keep: headers of columns that are never removed.

    Returns:
      What is shared, 'model resnet18; epochs 20', and the tables without those columns.
    """
    values: dict[str, set[str]] = {}
    for table in tables:
        for i, name in enumerate(table.header[: table.num_names]):
            values.setdefault(name, set()).update(row[i].text for row in table.rows)
    everywhere = [n for n in values if all(n in t.header[: t.num_names] for t in tables)]
    shared = [n for n in everywhere if len(values[n]) == 1 and n not in keep]
    text = "; ".join(f"{name} {values[name].pop()}" for name in shared)
    return text, [_without(table, shared) for table in tables]


def _without(table: Table, names: Sequence[str]) -> Table:
    kept = [i for i, name in enumerate(table.header) if name not in names]
    return dataclasses.replace(
        table,
        header=tuple(table.header[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        num_names=table.num_names - len(names),
    )


def escape_latex(text: str) -> str:
    """Escapes text for LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


def latex(tables: Sequence[Table]) -> str:
    """Renders each table as a floating LaTeX table; the preamble needs the package booktabs."""

    def cell(entry: Entry) -> str:
        text = escape_latex(entry.text)
        return rf"\textbf{{{text}}}" if entry.bold and text else text

    def lines(table: Table) -> Iterator[str]:
        yield r"\begin{table*}[t]"
        yield r"\centering\footnotesize"
        yield rf"\caption{{{escape_latex(table.title)}}}"
        columns = "l" * table.num_names + "r" * (len(table.header) - table.num_names)
        yield rf"\begin{{tabular}}{{{columns}}}"
        yield r"\toprule"
        yield " & ".join(map(escape_latex, table.header)) + r" \\"
        yield r"\midrule"
        for row in table.rows:
            yield " & ".join(map(cell, row)) + r" \\"
        yield r"\bottomrule"
        yield r"\end{tabular}"
        for note in table.notes:
            yield rf"\par {escape_latex(note)}"
        yield "\\end{table*}\n"

    preamble = "% \\usepackage{booktabs}"
    return "\n".join([preamble, *(line for table in tables for line in lines(table))])


def escape_html(text: str) -> str:
    """Escapes text for HTML, in attributes too."""
    return html_module.escape(text, quote=True)


def html_table(table: Table) -> str:
    """Renders one table as HTML with a caption, scrollable by keyboard if it is too wide."""

    def cell(i: int, entry: Entry) -> str:
        text = escape_html(entry.text)
        text = f"<b>{text}</b>" if entry.bold and text else text
        if i == 0:
            return f'<th scope="row">{text}</th>'
        return f"<td>{text}</td>" if i < table.num_names else f'<td class="number">{text}</td>'

    title = escape_html(table.title)
    kinds = [' class="number"' if i >= table.num_names else "" for i in range(len(table.header))]
    head = "".join(
        f'<th scope="col"{kind}>{escape_html(name)}</th>'
        for kind, name in zip(kinds, table.header, strict=True)
    )
    body = [
        f"<tr>{''.join(cell(i, entry) for i, entry in enumerate(row))}</tr>" for row in table.rows
    ]
    notes = "".join(f"<li>{escape_html(note)}</li>" for note in table.notes)
    return "\n".join(
        [
            f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">',
            f"<table><caption>{title}</caption>",
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *body,
            "</tbody></table></div>",
            *([f'<ul class="notes">{notes}</ul>'] if notes else []),
        ]
    )


def html(tables: Sequence[Table], *, title: str = "Results", body: str | None = None) -> str:
    """Renders a whole page without scripts or external resources.

    Args:
      tables: tables of the page.
      title: title of the page.
      body: HTML to put into <main> instead of the tables.
    """
    inside = "\n".join(map(html_table, tables)) if body is None else body
    return PAGE.format(title=escape_html(title), style=STYLE, body=inside)


STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  margin: 0 auto; max-width: 80rem; padding: 0 1rem 3rem; }
a { color: #0b4f8a; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid #0b4f8a; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; background: #fff; padding: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin: 1rem 0; white-space: nowrap; }
caption { text-align: left; font-weight: bold; padding: .25rem 0; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #c8c8c8; }
thead th { border-bottom: 2px solid #1a1a1a; }
tbody th { font-weight: normal; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.notes { font-size: .875rem; color: #333; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
figcaption { font-size: .875rem; color: #333; }
summary { cursor: pointer; padding: .25rem 0; }
pre { background: #f3f3f3; padding: .75rem; overflow-x: auto; font-size: .8125rem; }
@media print { .skip, nav { display: none; } }
"""

# The policy forbids everything that the page does not need.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header><h1>{title}</h1></header>
<main id="main" tabindex="-1">
{body}
</main>
</body>
</html>
"""
