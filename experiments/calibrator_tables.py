"""Compares calibrators with temperature scaling, from the rows of ``experiments.calibrators``."""

import pathlib

import pandas as pd

from autolabel_jax import files
from experiments.reporting import frame as frames
from experiments.reporting import rendering

BASELINE = "temperature"
BED = ["dataset", "model", "augmentation", "train_examples"]
RUN = [*BED, "label_rule", "seed"]  # rows of a run agree in these
CANDIDATES = ("drift_recentred", "drift_entropy_trust_recentred")
CONTROLS = tuple(name.replace("_recentred", "_clean") for name in CANDIDATES)
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
DECIDING = ["nll", "corrupted_ece", "corrupted_nll"]
MOST_ECE = 0.002  # by which the mean clean ECE of a bed may be higher
LEAST_BEDS = 4
LEAST_SEEDS = 3  # a bed with fewer is not finished, and counts for nothing


def differences(path: pathlib.Path) -> pd.DataFrame:
    """Returns each calibrator's metrics minus those of temperature scaling, by run.

    The index is ``RUN`` and the calibrator, the columns are ``METRICS``. Views are part of a
    calibrator's name, such as 'drift, mirror'.
    """
    rows = pd.DataFrame(files.read_json_lines(path, strict=True))
    if missing := {*RUN, "calibrator", *METRICS} - {*rows.columns}:
        expected = "expected rows of experiments.calibrators --corruptions --out=FILE"
        raise ValueError(f"{path}: its rows lack {', '.join(sorted(missing))}; {expected}")
    if "views" in rows:
        rows["calibrator"] += (", " + rows["views"]).where(rows["views"].notna(), "")
    if "run" in rows:
        several = rows.groupby([*RUN, "calibrator"])["run"].unique()
        if len(alike := several[several.str.len() > 1]):
            raise ValueError(
                f"{path}: the runs {' and '.join(alike.iloc[0])} differ, but not in "
                f"{', '.join(RUN)}; put them into files of their own"
            )
    rows = rows.drop_duplicates([*RUN, "calibrator"], keep="last").set_index([*RUN, "calibrator"])
    if BASELINE not in rows.index.get_level_values("calibrator"):
        raise ValueError(f"{path}: has no row of calibrator {BASELINE!r} to compare with")
    wide = rows[list(METRICS)].unstack("calibrator")
    long = wide.sub(wide.xs(BASELINE, axis=1, level=1), level=0).stack(future_stack=True)
    return long.dropna(how="all")  # calibrators that a network lacks the features for


def with_interval(values: pd.Series, factor: float = 1, decimals: int = 4) -> str:
    """Returns the mean of differences and its 95 % interval, if several: '-.5 [-.8, -.2]'."""
    if len(values) == 1:
        return f"{factor * values.iloc[0]:+.{decimals}f}"
    mean, half = frames.interval(values)
    mean, low, high = (f"{factor * x:+.{decimals}f}" for x in (mean, mean - half, mean + half))
    return f"{mean} [{low}, {high}]"


def by_bed(differences: pd.DataFrame) -> pd.DataFrame:
    """Says for each calibrator and bed what the protocol asks, docs/experiments/calibrators.md.

    Are the three deciding metrics lower, with intervals that exclude 0; is one of them higher; is
    the mean of the clean ECE higher by more than ``MOST_ECE``?
    """
    seeds = differences.reset_index("seed")["seed"].groupby(level=BED).transform("nunique")
    finished = differences[seeds.to_numpy() >= LEAST_SEEDS]
    groups = finished.groupby(level=["calibrator", *BED])
    means, half = groups.mean(), groups.agg(lambda values: frames.interval(values)[1])
    asked = {
        "all three lower": (means + half < 0)[DECIDING].all(axis=1),
        "one of them higher": (means - half > 0)[DECIDING].any(axis=1),
        "clean ECE higher by .002": means["ece"] > MOST_ECE,
    }
    return pd.DataFrame(asked)


def recommended(differences: pd.DataFrame) -> str:
    """Returns the first candidate that succeeds by the protocol; temperature scaling if none."""
    counts = by_bed(differences).groupby(level="calibrator").sum()
    for name in (name for name in CANDIDATES if name in counts.index):
        lower, *against = counts.loc[name]
        if lower >= LEAST_BEDS and not any(against):
            return name
    return BASELINE


def markdown(path: pathlib.Path) -> str:
    """Returns the tables of docs/results/calibrators.md.

    What counts by the protocol; the candidates and their controls by bed; the candidates by bed and
    label rule; and all calibrators by data set and model.
    """
    by_run = differences(path)
    found = recommended(by_run)
    by_run = by_run.drop(BASELINE, level="calibrator")
    names = by_run.index.get_level_values("calibrator")
    chosen = by_run[names.isin(CANDIDATES)]
    beds = by_bed(chosen).groupby(level="calibrator")
    counts = beds.sum().astype(int)
    counts.insert(0, "beds", beds.size())
    bodies = [
        _means(by_run[names.isin([*CANDIDATES, *CONTROLS])], ["calibrator", *BED[:3]]),
        _means(chosen, ["calibrator", *BED[:3], "label_rule"]),
        _means(by_run, [*BED[:2], "calibrator"]),
    ]
    tables = [rendering.markdown_table(body) for body in bodies]
    tables = [table.replace("---:|", "---|") for table in tables]
    first = rendering.markdown_table(counts.astype(str))
    return "\n\n".join([first, *tables, f"Recommended by the protocol: `{found}`."]) + "\n"


def _means(by_run: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = by_run.groupby(level=by)
    body = pd.DataFrame({"n": groups.size().astype(str)})
    for name, (header, factor, decimals) in METRICS.items():
        body[header] = groups[name].agg(with_interval, factor=factor, decimals=decimals)
    return body
