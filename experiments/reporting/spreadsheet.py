"""Writes cells as CSV: one row per cell, fractions in full precision."""

import pandas as pd

from experiments.reporting import columns, compare, numerics, published
from experiments.reporting import frame as frames

MEANS = {"mean": "mean", "std": "sd", "count": "n"}
GAPS = {"mean": "minus_one_hot", "low": "minus_one_hot_low", "high": "minus_one_hot_high"}
GAPS |= {"count": "minus_one_hot_n"}
ORDER = ("mean", "sd", "low", "high", "n", *GAPS.values())
# What a spreadsheet would run, which is not a number.
FORMULA = r"^(?=[=+\-@\t\r])(?![+-]?\.?\d[\d.]*(?:[eE][+-]?\d+)?$)"


def as_csv(frame: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Writes one row per cell, then the excluded runs with the reasons, see ``frame.load``.

    ``…_low`` and ``…_high`` hold the 95 % interval over test images, for cells of one run. A text
    that a spreadsheet would run as a formula begins with an apostrophe.
    """
    excluded = left_out[["run", "reason"]].rename(columns={"reason": "left_out"})
    tables = [_cells(frame).astype(object)] if len(frame) else []
    table = pd.concat([*tables, excluded]) if len(excluded) else tables[0]
    metrics = [f"{name}_{end}" for name in columns.HEADERS for end in ORDER]
    last = [f"published_{name}" for name in (*published.METRICS, "source")] + ["run", "left_out"]
    names = [name for name in table if name not in (*metrics, *last)]
    table = table[names + [name for name in (*metrics, *last) if name in table]]
    return table.replace(FORMULA, "'", regex=True).to_csv(index=False, lineterminator="\n")


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    metrics, cells = frames.present(frame), frame.groupby("cell")
    contests = [metric for metric in metrics if metric not in columns.NO_CONTEST]
    first = frame.drop_duplicates("cell").set_index("cell")
    joined = cells[["seed", "revision", "run"]].agg(lambda own: " ".join(map(str, own.unique())))
    table = first[["dataset", "model", "augmentation"]].assign(
        **{"labels": first["rule"], "settings": first["varied"]},
        **first[["train_examples", "epochs"]],
        **{"n": cells.size(), "seeds": joined["seed"], "revision": joined["revision"]},
        numerics_version=[numerics.version(run.result) for run in first["record"]],
        run=joined["run"],
    )
    means, gaps = compare.means(frame, metrics), compare.to_one_hot(frame, contests)
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
    beside = {
        cell: {f"published_{name}": value for name, value in {**own, "source": note}.items()}
        for cell, run in first["record"].items()
        for own, note in [published.beside(run.config, first.loc[cell, "model"])]
        if note
    }
    return table.join([pd.DataFrame.from_dict(own, orient="index") for own in (intervals, beside)])
