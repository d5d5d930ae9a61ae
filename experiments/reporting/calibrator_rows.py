"""Compares calibrators with temperature scaling, from the rows of ``experiments.calibrators``."""

import pathlib

import pandas as pd

from autolabel_jax import files
from experiments.reporting import compare, rendering

BASELINE = "temperature"
BED = ["dataset", "model", "augmentation", "train_examples"]
RUN = [*BED, "label_rule", "seed"]  # rows of a run agree in these
CONTROL = "_clean"  # ending of the names of controls
CANDIDATES = ("drift_recentred", "drift_entropy_trust_recentred")
# Metric → (header, factor, number of decimal places).
METRICS = {
    "ece": ("ECE, points", 100, 2),
    "nll": ("NLL", 1, 4),
    "corrupted_ece": ("corrupted ECE, points", 100, 2),
    "corrupted_nll": ("corrupted NLL", 1, 4),
    "severe_nll": ("severity 5 NLL", 1, 4),
    "unrelated_ece": ("unrelated ECE, points", 100, 2),
    "unrelated_nll": ("unrelated NLL", 1, 4),
}


def differences(path: pathlib.Path) -> pd.DataFrame:
    """Returns each calibrator's metrics minus those of temperature scaling, by run.

    The index is ``RUN`` and the calibrator, the columns are ``METRICS``. Views are part of a
    calibrator's name, such as 'drift, mirror'.

    Raises:
      ValueError: the file has no rows, or they lack a column.
    """
    rows = pd.DataFrame(files.read_json_lines(path, strict=True))
    if missing := {*RUN, "calibrator", *METRICS} - {*rows.columns}:
        raise ValueError(
            f"{path}: its rows lack {', '.join(sorted(missing))}; expected rows of "
            "experiments.calibrators --corruptions --out=FILE"
        )
    if "views" in rows:
        rows["calibrator"] += (", " + rows["views"]).where(rows["views"].notna(), "")
    rows = rows.drop_duplicates([*RUN, "calibrator"], keep="last").set_index([*RUN, "calibrator"])
    if BASELINE not in rows.index.get_level_values("calibrator"):
        raise ValueError(f"{path}: has no row of calibrator {BASELINE!r} to compare with")
    wide = rows[list(METRICS)].unstack("calibrator")
    long = wide.sub(wide.xs(BASELINE, axis=1, level=1), level=0).stack(future_stack=True)
    return long.dropna(how="all")  # calibrators that a network lacks the features for


def with_interval(values: pd.Series, factor: float = 1, decimals: int = 4) -> str:
    """Returns the mean of differences and Student's 95 % interval, such as '-.5 [-.8, -.2]'.

    One difference has no interval.
    """
    if len(values) == 1:
        return f"{factor * values.iloc[0]:+.{decimals}f}"
    mean, half = compare.interval(values)
    mean, low, high = (f"{factor * x:+.{decimals}f}" for x in (mean, mean - half, mean + half))
    return f"{mean} [{low}, {high}]"


DECIDING = ("nll", "corrupted_ece", "corrupted_nll")
MOST_ECE = 0.002  # by which the mean clean ECE of a bed may be higher
LEAST_BEDS = 4
LEAST_SEEDS = 3  # a bed with fewer is not finished, and counts for nothing


def by_bed(differences: pd.DataFrame) -> pd.DataFrame:
    """Says for each calibrator and bed what the protocol asks, docs/experiments/calibrators.md.

    Beds with fewer than ``LEAST_SEEDS`` seeds are left out.

    Returns:
      Columns lower (the three deciding metrics are, with intervals that exclude 0), higher (one of
      them is) and ece (the mean of the clean ECE is higher by more than ``MOST_ECE``).
    """
    seeds = differences.reset_index("seed")["seed"].groupby(level=BED).transform("nunique")
    finished = differences[seeds.to_numpy() >= LEAST_SEEDS]
    groups = finished.groupby(level=["calibrator", *BED])
    means = groups.mean()
    half = groups.agg(lambda values: compare.interval(values)[1])
    deciding = list(DECIDING)
    return pd.DataFrame(
        {
            "lower": (means + half < 0)[deciding].all(axis=1),
            "higher": (means - half > 0)[deciding].any(axis=1),
            "ece": means["ece"] > MOST_ECE,
        }
    )


def recommended(differences: pd.DataFrame) -> str:
    """Returns the first candidate that succeeds by the protocol; temperature scaling if none."""
    counts = by_bed(differences).groupby(level="calibrator").sum()
    for name in (name for name in CANDIDATES if name in counts.index):
        beds = counts.loc[name]
        if beds["lower"] >= LEAST_BEDS and beds["higher"] == 0 and beds["ece"] == 0:
            return name
    return BASELINE


def markdown(path: pathlib.Path) -> str:
    """Returns the tables of docs/results/calibrators.md.

    What counts by the protocol; the candidates and their controls by bed; the candidates by bed and
    label rule; and all calibrators by data set and model.
    """
    by_run = differences(path).drop(BASELINE, level="calibrator")
    names = by_run.index.get_level_values("calibrator")
    controls = {name.replace("_recentred", CONTROL) for name in CANDIDATES}
    chosen = by_run[names.isin(CANDIDATES)]
    tables = [
        _counts(by_run[names.isin(CANDIDATES)]),
        _table(by_run[names.isin([*CANDIDATES, *controls])], ["calibrator", *BED[:3]]),
        _table(chosen, ["calibrator", *BED[:3], "label_rule"]),
        _table(by_run, [*BED[:2], "calibrator"]),
    ]
    found = recommended(differences(path))
    return "\n\n".join([*tables, f"Recommended by the protocol: `{found}`."]) + "\n"


def _counts(chosen: pd.DataFrame) -> str:
    counts = by_bed(chosen).groupby(level="calibrator").agg(["sum", "size"])
    body = pd.DataFrame({"beds": counts["lower"]["size"]})
    body["all three lower"] = counts["lower"]["sum"]
    body["one of them higher"] = counts["higher"]["sum"]
    body["clean ECE higher by .002"] = counts["ece"]["sum"]
    return rendering.markdown_table(rendering.Table("", body.astype(str)))


def _table(by_run: pd.DataFrame, by: list[str]) -> str:
    groups = by_run.groupby(level=by)
    body = pd.DataFrame({"n": groups.size().astype(str)})
    for name, (header, factor, decimals) in METRICS.items():
        body[header] = groups[name].agg(with_interval, factor=factor, decimals=decimals)
    return rendering.markdown_table(rendering.Table("", body)).replace("---:|", "---|")
