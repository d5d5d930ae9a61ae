"""Writes cells as CSV: one row per cell, fractions in full precision."""

import pandas as pd

from experiments.reporting import columns, compare, run_files
from experiments.reporting import frame as frames

MEANS = {"mean": "mean", "std": "sd", "count": "n"}
GAPS = {"mean": "minus_one_hot", "low": "minus_one_hot_low", "high": "minus_one_hot_high"}
GAPS |= {"count": "minus_one_hot_n"}
NAMES = ["dataset", "model", "augmentation", "labels", "settings", "train_examples", "epochs", "n"]
NAMES += ["seeds", "revision", "numerics_version"]
ENDS = ("mean", "sd", "low", "high", "n", *GAPS.values())
NAMES += [f"{name}_{end}" for name in columns.HEADERS for end in ENDS]
NAMES += [f"published_{name}" for name in (*columns.PUBLISHED_METRICS, "source")]
NAMES += ["run", "left_out"]
# What a spreadsheet would run, which is not a number.
FORMULA = r"^(?=[=+\-@\t\r])(?![+-]?\.?\d[\d.]*(?:[eE][+-]?\d+)?$)"


def as_csv(frame: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Writes one row per cell, then the excluded runs with the reasons, see ``frame.load``.

    ``…_low`` and ``…_high`` hold the 95 % interval over test images, for cells of one run. A text
    that a spreadsheet would run as a formula begins with an apostrophe.
    """
    excluded = left_out[["run", "reason"]].rename(columns={"reason": "left_out"})
    table = pd.concat([own for own in (_cells(frame), excluded) if len(own)])
    table = table.reindex(columns=[name for name in NAMES if name in table])
    return table.replace(FORMULA, "'", regex=True).to_csv(index=False, lineterminator="\n")


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    metrics, cells = frames.present(frame), frame.groupby("cell")
    first = frame.drop_duplicates("cell").set_index("cell")
    table = first.assign(labels=first["rule"], settings=first["varied"], n=cells.size())
    versions = [run_files.numerics(run.result)["numerics_version"] for run in first["record"]]
    table["numerics_version"] = versions
    for name, own in {"seeds": "seed", "revision": "revision", "run": "run"}.items():
        table[name] = cells[own].agg(lambda values: " ".join(map(str, values.unique())))
    contests = [metric for metric in metrics if metric not in columns.NO_CONTEST]
    means, gaps = compare.means(frame, metrics), compare.to_one_hot(frame, contests)
    for long, names in ((means, MEANS), (gaps, GAPS)):
        long = long[long["count"] > 0].astype({"count": "Int64"}).rename(columns=names)
        wide = long.unstack()
        table = table.join(wide.set_axis([f"{name}_{end}" for end, name in wide], axis=1))
    more = {}
    for cell, run in first["record"].items():
        own, note = columns.published_beside(run.config, first.loc[cell, "model"])
        own = own | {"source": note} if note else {}
        more[cell] = {f"published_{name}": str(value) for name, value in own.items()}
        for metric in metrics if table.loc[cell, "n"] == 1 else ():
            ends = (f"{metric}_low", f"{metric}_high")
            more[cell] |= zip(ends, run.result.get(f"{metric}_interval", ()), strict=False)
    table = table.join(pd.DataFrame.from_dict(more, orient="index"))
    return table.astype(object)
