"""Writes cells as CSV: one row per cell, fractions in full precision."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from experiments.reporting import cells, columns, numerics
from experiments.reporting.cells import Cell
from experiments.reporting.run_files import RunRecord

NAMES = ("dataset", "model", "augmentation", "labels", "settings", "train_examples", "epochs")
NAMES += ("n", "seeds", "revision", "numerics_version")


def as_csv(comparable: Sequence[RunRecord], excluded: Sequence[tuple[RunRecord, str]]) -> str:
    """Writes one row per cell, then the excluded runs with the reasons.

    ``…_low`` and ``…_high`` hold the 95 % interval over test images, for cells of one run.

    Args:
      comparable: runs that can be compared.
      excluded: the other runs, each with the reason.
    """
    blocks = cells.make(comparable)
    metrics = columns.present(cell for block in blocks for cell in block)
    rows = [_row(cell, cells.baseline(b), metrics) for b in blocks for cell in b]
    rows += [{"run": str(run.workdir), "left_out": reason} for run, reason in excluded]
    suffixes = (
        "mean",
        "sd",
        "low",
        "high",
        "n",
        *(f"minus_one_hot{s}" for s in ("", "_low", "_high", "_n")),
    )
    order = [*NAMES, *(f"{metric}_{s}" for metric in metrics for s in suffixes)]
    order += sorted({n for row in rows for n in row if n.startswith("published_")})
    present = {name for row in rows for name in row}
    header = [name for name in (*order, "run", "left_out") if name in present]
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _row(cell: Cell, base: Cell | None, metrics: Sequence[str]) -> dict[str, Any]:
    row = {
        **cell.names,
        "settings": cell.varied,
        "n": len(cell.runs),
        "seeds": " ".join(str(run.result["seed"]) for run in cell.runs),
        "revision": " ".join(dict.fromkeys(run.result["revision"] for run in cell.runs)),
        "numerics_version": numerics.version(cell.first),
    }
    for metric in metrics:
        estimate = cells.estimate(cell, metric)
        if estimate is not None:
            row |= {f"{metric}_mean": estimate.mean, f"{metric}_sd": estimate.sd}
            row |= {f"{metric}_n": estimate.n}
        if len(cell.runs) == 1 and None not in cell.first.get(f"{metric}_interval", [None]):
            low, high = cell.first[f"{metric}_interval"]
            row |= {f"{metric}_low": low, f"{metric}_high": high}
        alone = base is None or base is cell or metric in columns.NO_CONTEST
        gap = None if alone else cells.difference(cell, base, metric)
        if gap is not None:
            row |= {f"{metric}_minus_one_hot": gap.mean, f"{metric}_minus_one_hot_n": gap.n}
            row |= {f"{metric}_minus_one_hot_low": gap.low}
            row |= {f"{metric}_minus_one_hot_high": gap.high}
    if cell.published:
        row |= {f"published_{name}": str(v) for name, v in cell.published.metrics.items()}
        row |= {"published_source": cell.published.footnote}
    return row | {"run": " ".join(str(run.workdir) for run in cell.runs)}
