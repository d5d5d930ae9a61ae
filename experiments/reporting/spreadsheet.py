"""Writes cells as CSV: one row per cell, fractions in full precision."""

import contextlib

import pandas as pd

from experiments.reporting import columns, compare, numerics, published
from experiments.reporting import frame as frames

NAMES = ("dataset", "model", "augmentation", "labels", "settings", "train_examples", "epochs")
NAMES += ("n", "seeds", "revision", "numerics_version")
MEANS = {"mean": "mean", "std": "sd", "count": "n"}
GAPS = {"mean": "minus_one_hot", "low": "minus_one_hot_low", "high": "minus_one_hot_high"}
GAPS |= {"count": "minus_one_hot_n"}
ORDER = ("mean", "sd", "low", "high", "n", *GAPS.values())
COMMANDS = ("=", "+", "-", "@", "\t", "\r")  # begin what a spreadsheet would run


def as_csv(frame: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Writes one row per cell, then the excluded runs with the reasons, see ``frame.load``.

    ``…_low`` and ``…_high`` hold the 95 % interval over test images, for cells of one run. A text
    that a spreadsheet would run as a formula begins with an apostrophe.
    """
    excluded = left_out[["run", "reason"]].rename(columns={"reason": "left_out"})
    tables = [_cells(frame).astype(object)] if len(frame) else []
    table = pd.concat([*tables, *[excluded] * bool(len(excluded))])
    metrics = [f"{name}_{end}" for name in columns.COLUMNS for end in ORDER]
    order = [*NAMES, *metrics, *(f"published_{name}" for name in (*published.METRICS, "source"))]
    table = table[[name for name in (*order, "run", "left_out") if name in table]]
    rows = [list(map(_safe, row)) for row in table.itertuples(index=False)]
    return pd.DataFrame(rows, columns=table.columns, dtype=object).to_csv(
        index=False, lineterminator="\n"
    )


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    metrics, cells = frames.present(frame), frame.groupby("cell")
    contests = [metric for metric in metrics if metric not in columns.NO_CONTEST]
    first = frame.drop_duplicates("cell").set_index("cell")
    runs = dict(first["record"])
    table = first[[*frames.NAMES]].assign(labels=first["rule"], settings=first["varied"])
    table["n"] = cells.size()
    joined = cells[["seed", "revision", "run"]].agg(lambda own: " ".join(map(str, own.unique())))
    table = table.join(joined.rename(columns={"seed": "seeds"}))
    table["numerics_version"] = [numerics.version(run.result) for run in runs.values()]
    means = compare.means(frame, metrics)
    gaps = compare.to_one_hot(frame, contests)
    for long, names in ((means, MEANS), (gaps, GAPS)):
        long = long[long["count"] > 0].astype({"count": "Int64"}).rename(columns=names)
        wide = long.unstack()
        table = table.join(wide.set_axis([f"{name}_{end}" for end, name in wide], axis=1))
    intervals = {
        cell: {
            f"{m}_{end}": value
            for m in metrics
            for end, value in zip(("low", "high"), result.get(f"{m}_interval", ()), strict=False)
        }
        for cell, result in frames.single(frame).items()
    }
    table = table.join(pd.DataFrame.from_dict(intervals, orient="index"))
    beside = {c: published.beside(r.config, table.loc[c, "model"]) for c, r in runs.items()}
    beside = {c: {**own, "source": note} for c, (own, note) in beside.items() if note}
    beside = pd.DataFrame.from_dict(beside, orient="index").add_prefix("published_")
    return table.join(beside)


def _safe(value: object) -> object:
    """Quotes a text that a spreadsheet would take for a formula; numbers stay as they are."""
    if isinstance(value, str) and value.startswith(COMMANDS):
        with contextlib.suppress(ValueError):
            float(value)
            return value
        return f"'{value}"
    return value
