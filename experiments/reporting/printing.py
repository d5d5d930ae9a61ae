"""Prints tables of plain text that fit the width of the terminal."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box, cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.reporting import columns, methods

# Prefix of metric names in result.json → set of test images.
SETS = {"": "clean", "corrupted_": "corrupted (15 x 5)"}
SETS |= {"extra_corrupted_": "extra corrupted (4 x 5)"}
SETS |= {"fgsm_": "FGSM", "pgd20_": "PGD-20", "auto_": "ensemble"}
SETS |= {f"views_{prefix}": f"{name}, mean over views" for prefix, name in SETS.items()}
SET_METRICS = ("accuracy", "accuracy_vs", "ece", "ece_ts", "ece_vs", "nll", "nll_ts", "nll_vs")
ALL = 10_000  # characters, wider than any table
GAP = 2  # characters between columns
MORE = "; result.json holds them"


def width() -> int:
    """Returns the width of the terminal in characters; ``ALL`` if the output is none."""
    return Console().width if sys.stdout.isatty() else ALL


def result_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Makes a table with one row per result and the metrics of a run that any result has."""
    shown = [name for name in columns.OF_RUN if any(name in result for result in results)]
    rows = [["augmentation", "labels", "seed", *(columns.HEADERS[name] for name in shown)]]
    for result in results:
        step = {"step": result["label_step"]} if result.get("label_step") else {}
        names = [methods.title("augment.name", result["augmentation"])]
        names += [methods.row_name(result["label_rule"], step), str(result["seed"])]
        rows.append([*names, *(columns.shown(name, result.get(name)) for name in shown)])
    return aligned(rows, num_names=2, more=MORE)


def evaluation_table(result: Mapping[str, Any]) -> str:
    """Makes a table with one row per set of test images, with 95 % intervals where it has them."""
    sets = {prefix: name for prefix, name in SETS.items() if f"{prefix}accuracy" in result}
    shown = [m for m in SET_METRICS if any(f"{prefix}{m}" in result for prefix in sets)]
    rows = [["test images", *(columns.HEADERS[m] for m in shown)]]
    for prefix, name in sets.items():
        rows.append([name, *(columns.with_interval(result, f"{prefix}{m}", m) for m in shown)])
    return aligned(rows, num_names=1, more=MORE)


def aligned(
    rows: Sequence[Sequence[str]], num_names: int, *, wide: int | None = None, more: str = ""
) -> str:
    """Formats a header and rows, without the last columns if they do not fit ``wide`` characters.

    The first ``num_names`` columns are kept; ``more`` says where all can be seen.
    """
    wide, header = width() if wide is None else wide, rows[0]
    widths = [max(map(cells.cell_len, column)) for column in zip(*rows, strict=True)]
    needed = np.cumsum(np.add(widths, GAP)) - GAP
    kept = min(max(int((needed <= wide).sum()), num_names + 1), len(header))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(header[:kept]):
        justify = "left" if i < num_names else "right"
        table.add_column(Text(name), justify=justify, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row[:kept]))
    # A number is never cut, but text wraps where there are no numbers.
    wide = max(wide, int(needed[kept - 1])) if kept > num_names else wide
    console = Console(width=wide, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    left_out = f"not shown: {', '.join(header[kept:])}{more}"
    return "\n".join([*lines, *[left_out] * (kept < len(header))])
