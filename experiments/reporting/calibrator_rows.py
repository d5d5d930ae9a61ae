"""Compares calibrators with temperature scaling, from the rows of ``experiments.calibrators``."""

import pathlib

import pandas as pd

from autolabel_jax import files
from experiments.reporting import compare, rendering

BASELINE = "temperature"
RUN = ["dataset", "model", "augmentation", "label_rule", "seed"]  # rows of a run agree in these
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

    The index is ``RUN`` and the calibrator, the columns are ``METRICS``.
    """
    rows = pd.DataFrame(files.read_json_lines(path, strict=True)).set_index([*RUN, "calibrator"])
    wide = rows[list(METRICS)].unstack("calibrator")
    return wide.sub(wide.xs(BASELINE, axis=1, level=1), level=0).stack(future_stack=True)


def with_interval(values: pd.Series, factor: float = 1, decimals: int = 4) -> str:
    """Returns the mean of differences and Student's 95 % interval, such as '-.5 [-.8, -.2]'."""
    mean, half = compare.interval(values)
    mean, low, high = (f"{factor * x:+.{decimals}f}" for x in (mean, mean - half, mean + half))
    return f"{mean} [{low}, {high}]"


def markdown(path: pathlib.Path) -> str:
    """Returns two tables: all calibrators over all runs, and the candidates by label rule."""
    by_run = differences(path).drop(BASELINE, level="calibrator")
    chosen = by_run[by_run.index.isin(CANDIDATES, level="calibrator")]
    return f"{_table(by_run, ['calibrator'])}\n\n{_table(chosen, ['calibrator', 'label_rule'])}\n"


def _table(by_run: pd.DataFrame, by: list[str]) -> str:
    groups = by_run.groupby(level=by)
    body = pd.DataFrame({"n": groups.size().astype(str)})
    for name, (header, factor, decimals) in METRICS.items():
        body[header] = groups[name].agg(with_interval, factor=factor, decimals=decimals)
    return rendering.markdown_table(rendering.Table("", body)).replace("---:|", "---|")
