"""Draws accuracy against confidence on the test set: gaps, counts, bootstrap bands."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from scipy.special import softmax

from autolabel_jax import calibration, files
from autolabel_jax.metrics import bootstrap
from autolabel_jax.metrics.bootstrap import Reliability
from autolabel_jax.run_dir import RunDir
from experiments.reporting import plots


def from_file(workdir: pathlib.Path, *, seed: int = 0) -> Reliability:
    """Returns the bins of ``test_logits.npz`` (logits [n, K], label [n]), with 95 % bands.

    Raises:
      ValueError: the file lacks an array, or the two do not fit.
    """
    path = RunDir(workdir).logits_file
    saved = files.read_npz(path)
    missing = [name for name in ("logits", "label") if name not in saved]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    logits, label = saved["logits"], saved["label"]
    if logits.ndim != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"{path}: logits {logits.shape} and label {label.shape} do not fit")
    confidence = softmax(logits.astype(np.float64), axis=-1).max(-1).astype(np.float32)
    return bootstrap.reliability(confidence, logits.argmax(-1) == label, seed=seed)


def ece(found: Reliability) -> float:
    """Returns the expected calibration error of a diagram, a fraction."""
    gap = np.nan_to_num(found.count * (found.accuracy - found.confidence))
    return float(calibration.ece_of_gaps(gap, found.count.sum()))


def draw(axes: Axes, found: Reliability, title: str) -> None:
    """Draws accuracy and its gap to the confidence in each bin, with the ECE in the title."""
    filled = found.count > 0
    width = 1 / len(found.count)
    middle = ((np.arange(len(found.count)) + 0.5) * width)[filled]
    accuracy, gap = found.accuracy[filled], (found.confidence - found.accuracy)[filled]
    look = {"color": plots.COLORS[0], "edgecolor": "white", "label": "accuracy"}
    axes.bar(middle, accuracy, width, **look)
    look = {"color": "none", "edgecolor": plots.COLORS[1], "hatch": "//"}
    axes.bar(middle, gap, width, bottom=accuracy, **look, label="confidence − accuracy")
    errors = np.abs(np.stack([found.low, found.high])[:, filled] - accuracy)
    look = {"fmt": "none", "ecolor": "black", "elinewidth": 1, "label": "95 % bootstrap band"}
    axes.errorbar(middle, accuracy, errors, **look)
    axes.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1, label="calibrated")
    title = f"{title}\nECE {100 * ece(found):.1f} %"
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=title)


def draw_counts(axes: Axes, found: Reliability) -> None:
    """Draws how many images fall into each bin, written above the bars."""
    width = 1 / len(found.count)
    bars = axes.bar((np.arange(len(found.count)) + 0.5) * width, found.count, width, color="0.5")
    axes.bar_label(bars, [f"{n:.0f}" if n else "" for n in found.count], fontsize=8)
    axes.set(xlim=(0, 1), xlabel="confidence", ylabel="images", ylim=(0, 1.3 * max(found.count)))
