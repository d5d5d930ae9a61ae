"""Draws the figures of one run, and of the two runs of the quickstart."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import plots, reliability, run_files
from experiments.reporting.run_files import RunRecord

CURVES = {"bucket_accuracy": "accuracy", "bucket_confidence": "confidence"}
CURVES |= {"label_confidence": "label confidence"}


def groups(run: RunRecord, name: str) -> np.ndarray:
    """Returns a list of metrics.jsonl as float [epochs, groups, intervals]; NaN if empty."""
    values = np.array([line[name] for line in run.lines], np.float64)
    return values.reshape(len(run.lines), -1, plots.num_intervals(run))


def _label_curves(axes: Sequence[Axes], run: RunRecord) -> None:
    """Draws the labels of each group over epochs into one of the axes."""
    curves, names = groups(run, "label_confidence"), plots.interval_names(run)
    epochs = [line["epoch"] + 1 for line in run.lines]
    # Ordered buckets get ordered shades, without the lightest, which vanish in print.
    shades = plt.get_cmap("cividis_r")(np.linspace(0.15, 1, len(names)))
    every = max(len(epochs) // 8, 1)
    for group, place in enumerate(axes):
        for m, name in enumerate(names):
            look = plots.style(m) | {"color": shades[m]}
            marks = (m * every // len(names), every)
            place.plot(epochs, curves[:, group, m], **look, markevery=marks, label=name)
        place.set(xlabel="epoch", title=plots.group_name(run, group, len(axes)))
    axes[0].set_ylabel("label confidence")


@plots.STYLE
def label_confidence(run: RunRecord) -> Figure:
    """Draws label confidence per bucket over epochs, with a panel for each group."""
    num_groups = groups(run, "label_confidence").shape[1]
    figure, axes = plots.panels(1, num_groups, sharey=True)
    _label_curves(axes[0], run)
    figure.suptitle(plots.run_title(run))
    plots.legend(figure, axes[0, :1])
    return figure


@plots.STYLE
def bucket_distance(run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label per bucket after the last epoch, against distance.

    Points are at the middles of the intervals, or at their indices if the edges are not known.
    """
    edges, num = plots.edges(run), plots.num_intervals(run)
    values = {name: groups(run, curve)[-1] for curve, name in CURVES.items()}
    num_groups = len(values["accuracy"])
    figure, axes = plots.panels(1, num_groups, sharey=True)
    for group, place in enumerate(axes[0]):
        x = np.arange(1, num + 1) if edges is None else (edges[1:] + edges[:-1]) / 2
        plots.lines(place, x, {name: value[group] for name, value in values.items()})
        place.set_title(plots.group_name(run, group, num_groups))
        if edges is None:
            place.set(xlabel="interval of the distance", xticks=x)
        else:
            place.set(xlabel="distance", xlim=(0, 1), xticks=(0, 0.5, 1))
    axes[0, 0].set_ylabel("fraction")
    figure.suptitle(f"{plots.run_title(run)}, after epoch {run.lines[-1]['epoch'] + 1}")
    plots.legend(figure, axes[0, :1])
    return figure


@plots.STYLE
def reliability_diagram(run: RunRecord) -> Figure:
    """Draws accuracy against confidence on the clean test set, above a histogram of images."""
    diagram = reliability.from_file(run.workdir)
    ratios = {"height_ratios": (3, 1)}
    figure, axes = plots.panels(2, 1, sharex=True, gridspec_kw=ratios)
    reliability.draw(axes[0, 0], diagram, plots.run_title(run))
    axes[0, 0].set_xlabel("")
    reliability.draw_counts(axes[1, 0], diagram)
    plots.legend(figure, axes[0])
    return figure


@plots.STYLE
def quickstart(workdirs: Mapping[str, pathlib.Path], path: pathlib.Path) -> None:
    """Draws the labels of the AutoLabel run over epochs, and both reliability diagrams.

    Args:
      workdirs: name of a label rule → its run; 'autolabel' is one of them.
      path: the PNG file to write.
    """
    run = run_files.read(workdirs["autolabel"])
    num_groups = groups(run, "label_confidence").shape[1]
    figure, axes = plots.grid(num_groups + len(workdirs), height=2.6)
    for place in axes[1:num_groups]:
        place.sharey(axes[0])
    _label_curves(axes[:num_groups], run)
    for place, (rule, workdir) in zip(axes[num_groups:], workdirs.items(), strict=True):
        diagram = reliability.from_file(workdir)
        reliability.draw(place, diagram, f"{rule}, {diagram.count.sum():.0f} test images")
    figure.suptitle(plots.run_title(run))
    plots.legend(figure, axes)
    plots.save(figure, path.parent, path.stem, ["png"])
