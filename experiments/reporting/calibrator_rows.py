"""Compares calibrators with temperature scaling, from the rows of ``experiments.calibrators``."""

import pathlib

import numpy as np
import pandas as pd
from scipy import stats

from autolabel_jax import files

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
    metrics = rows[list(METRICS)]
    return metrics - metrics.xs(BASELINE, level="calibrator").reindex(
        metrics.index.droplevel("calibrator")
    ).set_axis(metrics.index)


def with_interval(values: pd.Series, factor: float = 1, decimals: int = 4) -> str:
    """Returns the mean of differences and Student's 95 % interval, such as '-.5 [-.8, -.2]'."""
    mean = values.mean()
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    texts = [f"{factor * x:+.{decimals}f}" for x in (mean, mean - half, mean + half)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def markdown(path: pathlib.Path) -> str:
    """Returns two tables: all calibrators over all runs, and the candidates by label rule."""
    by_run = differences(path).drop(BASELINE, level="calibrator")
    chosen = by_run[by_run.index.isin(CANDIDATES, level="calibrator")]
    every = _table(by_run, ["calibrator"])
    return f"{every}\n\n{_table(chosen, ['calibrator', 'label_rule'])}\n"


def _table(by_run: pd.DataFrame, by: list[str]) -> str:
    headers = [*by, "n", *(header for header, _, _ in METRICS.values())]
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    for names, group in by_run.groupby(level=by):
        names = [names] if isinstance(names, str) else list(names)
        cells = [
            with_interval(group[metric], factor, decimals)
            for metric, (_, factor, decimals) in METRICS.items()
        ]
        lines.append("| " + " | ".join([*names, str(len(group)), *cells]) + " |")
    return "\n".join(lines)
