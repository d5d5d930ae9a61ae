"""Renders tables as text, Markdown, LaTeX (booktabs) and HTML, escaped as each format needs."""

import itertools
import pathlib
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import markupsafe
import numpy as np
import pandas as pd
from rich import box, cells
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from autolabel_jax.evaluation import ood
from experiments.reporting import naming

# Prefix of metric names in result.json → set of test images.
SETS = {"": "clean", "corrupted_": "corrupted (15 x 5)"}
SETS |= {"extra_corrupted_": "extra corrupted (4 x 5)"}
SETS |= {"fgsm_": "FGSM", "pgd20_": "PGD-20", "auto_": "ensemble"}
SETS |= {f"views_{prefix}": f"{name}, mean over views" for prefix, name in SETS.items()}
SET_METRICS = ("accuracy", "accuracy_vs", "ece", "ece_ts", "ece_vs", "nll", "nll_ts", "nll_vs")
ALL = 10_000  # characters, wider than any table
GAP = 2  # characters between columns
MORE = "; result.json holds them"
KEPT = ("labels", "minus", "of them", "run", "reason")  # are columns even if all are equal
PAGE_COLUMNS = 9  # values a row that fit the page of 1,400 pixels
BOLD, END = "\x02", "\x03"  # before and after text in bold
PLAIN = str.maketrans({BOLD: "**", END: "**"})
MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\|*"} | {"<": "&lt;", "\n": " "}) | PLAIN
# What LaTeX reads as a command, or lacks in the usual encodings.
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "†": r"\dag{}"}
LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", BOLD: r"\textbf{", END: "}"}
LATEX = str.maketrans(LATEX)
HTML = {BOLD: "<b>", END: "</b>", "± ": "±\xa0", ", −": ",\xa0−", ", +": ",\xa0+"}


class Table(NamedTuple):
    """A table of text: caption, body whose index names the rows, and sentences below it."""

    title: str
    body: pd.DataFrame
    notes: tuple[str, ...] = ()

    def escaped(self, escape: Callable[[str], str]) -> tuple[pd.DataFrame, int]:
        """Returns names and values in one frame, and the number of columns that hold names."""
        body = self.body.reset_index().map(escape).rename(columns=escape)
        return body, self.body.index.nlevels


def width() -> int:
    """Returns the width of the terminal in characters; ``ALL`` if the output is none."""
    return Console().width if sys.stdout.isatty() else ALL


def result_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Makes a text table with one row per result and the metrics of a run that any result has."""
    shown = [name for name in naming.OF_RUN if any(name in result for result in results)]
    rows = [["augmentation", "labels", "seed", *(naming.HEADERS[name] for name in shown)]]
    for result in results:
        step = {"step": result["label_step"]} if result.get("label_step") else {}
        names = [naming.title("augment.name", result["augmentation"])]
        names += [naming.row_name(result["label_rule"], step), str(result["seed"])]
        rows.append([*names, *(naming.shown(name, result.get(name)) for name in shown)])
    return aligned(rows, num_names=2, more=MORE)


def evaluation_table(result: Mapping[str, Any]) -> str:
    """Makes a text table with a row per set of test images, with 95 % intervals if it has them."""
    sets = {prefix: name for prefix, name in SETS.items() if f"{prefix}accuracy" in result}
    shown = [m for m in SET_METRICS if any(f"{prefix}{m}" in result for prefix in sets)]
    rows = [["test images", *(naming.HEADERS[m] for m in shown)]]
    for prefix, name in sets.items():
        rows.append([name, *(naming.with_interval(result, f"{prefix}{m}", m) for m in shown)])
    return aligned(rows, num_names=1, more=MORE)


def ood_table(result: Mapping[str, Any]) -> str:
    """Makes a text table of other data sets: a row for each metric, a column for each score."""
    sets = [n.removesuffix("_examples") for n in result if n.startswith(ood.PREFIX)]
    sets = [name for name in sets if f"{name}_examples" in result]
    shown = [s for s in naming.SCORES if any(f"{name}_auroc_{s}" in result for name in sets)]
    rows = [["other data", "metric", *(naming.SCORES[score] for score in shown)]]
    for name, (metric, header) in itertools.product(sets, naming.DETECTION.items()):
        keys = [f"{name}_{metric}_{score}" for score in shown]
        values = [naming.with_interval(result, key, "accuracy") for key in keys]
        rows.append([name.removeprefix(ood.PREFIX), header, *values])
    return aligned(rows, num_names=2, more=MORE)


def aligned(
    rows: Sequence[Sequence[str]], num_names: int, *, wide: int | None = None, more: str = ""
) -> str:
    """Formats a header and rows, without the last columns that do not fit ``wide`` characters."""
    wide, header = width() if wide is None else wide, rows[0]
    widths = [max(map(cells.cell_len, column)) for column in zip(*rows, strict=True)]
    needed = np.cumsum(np.add(widths, GAP)) - GAP
    kept = min(max(int((needed <= wide).sum()), num_names + 1), len(header))
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(header[:kept]):
        justify = "left" if i < num_names else "right"
        grid.add_column(Text(name), justify=justify, overflow="fold")
    for row in rows[1:]:
        grid.add_row(*map(Text, row[:kept]))
    # A number is never cut, but text wraps where there are no numbers.
    wide = max(wide, int(needed[kept - 1])) if kept > num_names else wide
    console = Console(width=wide, color_system=None)
    with console.capture() as capture:
        console.print(grid)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    lines += [f"not shown: {', '.join(header[kept:])}{more}"] * (kept < len(header))
    return "\n".join(lines)


def text(tables: Sequence[Table], wide: int) -> str:
    """Renders tables as plain text of a width in characters, see ``aligned``."""
    parts = []
    for table in map(_with_title, tables):
        body, names = table.escaped(lambda text: text.translate(PLAIN))
        shown = aligned([[*body], *body.to_numpy()], names, wide=wide, more="; --all shows them")
        parts += [f"{table.title}\n", f"{shown}\n"]
    return "\n".join([*parts, *(textwrap.fill(f"- {n}", min(wide, 100)) for n in _notes(tables))])


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
        settings = {"caption": table.title.translate(LATEX), "position": "t"}
        settings["column_format"] = "l" * names + "r" * (len(body.columns) - names)
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


def html(tables: Sequence[Table], *, title: str = "Results", **parts: Sequence[Any]) -> str:
    """Renders a page without scripts or external resources; ``page.html.jinja`` has its parts."""
    folder = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    strict = {"autoescape": True, "undefined": jinja2.StrictUndefined}
    template = jinja2.Environment(loader=folder, **strict).get_template("page.html.jinja")
    split = []
    for name, body, notes in map(_with_title, tables):
        num = max(-(-len(body.columns) // PAGE_COLUMNS), 1)
        for i, part in enumerate(np.array_split(np.arange(len(body.columns)), num)):
            own = name + ", continued" * (i > 0), body.iloc[:, part], notes * (i == 0)
            split.append(Table(*own))
    shown = {"Summary": (), "Tables": split} | parts
    return template.render(title=title, parts={n: p for n, p in shown.items() if p}, escape=_html)


def _html(text: str) -> markupsafe.Markup:
    """Escapes text, in which lines break before ± and [ alone."""
    escaped = str(markupsafe.escape(text))
    for own, shown in HTML.items():
        escaped = escaped.replace(own, shown)
    return markupsafe.Markup(escaped)
