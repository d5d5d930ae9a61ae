"""Pictures made from run files; matplotlib, colour-blind-safe, readable in print."""

import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.special import softmax

from autolabel_jax import calibration, checkpoint, metric_writer


def label_confidence(axes: Axes, workdir: pathlib.Path) -> None:
    """Label confidence per bucket over epochs; darker curves are further from clean."""
    lines = metric_writer.read_metrics(workdir)
    curves = np.array([line["label_confidence"] for line in lines])
    intervals = checkpoint.load_config(workdir).buckets.num
    styles = ["-", "--", ":", "-."]
    shades = plt.get_cmap("cividis_r")(np.linspace(0.1, 1, intervals))
    for n in range(curves.shape[1]):
        group, interval = divmod(n, intervals)
        axes.plot(
            [line["epoch"] + 1 for line in lines],
            curves[:, n],
            color=shades[interval],
            linestyle=styles[group % len(styles)],
            label=f"group {group + 1}, interval {interval + 1}",
        )
    axes.set(xlabel="epoch", ylabel="label confidence", title="AutoLabel: labels by bucket")
    axes.legend(fontsize=6, ncols=max(curves.shape[1] // intervals, 1))


def reliability(axes: Axes, workdir: pathlib.Path, title: str) -> None:
    """Accuracy against confidence on the clean test set, with the gap and how many fall where."""
    with np.load(workdir / "test_logits.npz") as saved:
        probabilities = softmax(saved["logits"].astype(np.float64), axis=-1)
        label = saved["label"]
    stats = calibration.stats_from_probabilities(
        jnp.asarray(probabilities, jnp.float32),
        jnp.asarray(label),
        jnp.zeros(len(label), jnp.int32),
        num_buckets=1,
    )
    count = np.asarray(stats.count[0])
    filled = count > 0
    width = 1 / len(count)
    middle = (np.arange(len(count)) + 0.5) * width
    accuracy = np.divide(stats.correct[0], count, where=filled, out=np.zeros_like(count))
    confidence = np.divide(stats.confidence[0], count, where=filled, out=np.zeros_like(count))
    axes.bar(
        middle[filled],
        accuracy[filled],
        width,
        color="#0072B2",
        edgecolor="white",
        label="accuracy",
    )
    axes.bar(
        middle[filled],
        (confidence - accuracy)[filled],
        width,
        bottom=accuracy[filled],
        color="none",
        edgecolor="#D55E00",
        hatch="//",
        label="confidence - accuracy",
    )
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1)
    axes.plot(
        middle[filled], count[filled] / count.sum(), "ko-", markersize=3, label="share of images"
    )
    ece = float(calibration.ece(stats)[0])
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        title=f"{title}: ECE {100 * ece:.1f} %",
    )
    axes.legend(fontsize=6, loc="upper left")


def quickstart(workdirs: Mapping[str, pathlib.Path], path: pathlib.Path) -> None:
    """Labels of the AutoLabel run over epochs, and both reliability diagrams, in one file."""
    figure, axes = plt.subplots(1, 1 + len(workdirs), figsize=(4.2 * (1 + len(workdirs)), 3.8))
    label_confidence(axes[0], workdirs["autolabel"])
    for place, (rule, workdir) in zip(axes[1:], workdirs.items(), strict=True):
        reliability(place, workdir, rule)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
