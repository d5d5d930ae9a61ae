"""Draws the figures of one run, and of the two runs of the quickstart."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from autolabel_jax import files
from autolabel_jax.commands import diagram
from autolabel_jax.metrics import bootstrap
from autolabel_jax.run_dir import RunDir
from experiments.reporting import plots, run_files
from experiments.reporting.run_files import RunRecord

CURVES = {"bucket_accuracy": "accuracy", "bucket_confidence": "confidence"}
CURVES |= {"label_confidence": "label confidence"}


def _groups(run: RunRecord, name: str) -> np.ndarray:
    """Returns a list of metrics.jsonl as float [epochs, groups, intervals]; NaN if empty."""
    values = np.array([line[name] for line in run.lines], np.float64)
    return values.reshape(len(run.lines), -1, plots.num_intervals(run))


def _label_curves(axes: Sequence[Axes], run: RunRecord) -> None:
    """Draws the labels of each group over epochs into one of the axes."""
    curves = _groups(run, "label_confidence")
    names = plots.interval_names(plots.edges(run), curves.shape[-1])
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
    figure, axes = plots.panels(1, _groups(run, "label_confidence").shape[1], sharey=True)
    _label_curves(axes[0], run)
    figure.suptitle(plots.run_title(run))
    plots.legend(figure, axes[0, :1])
    return figure


@plots.STYLE
def bucket_distance(run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label per bucket after the last epoch, against distance.

    Points are at the middles of the intervals, or at their indices if the edges are not known.
    """
    edges, values = plots.edges(run), {own: _groups(run, name)[-1] for name, own in CURVES.items()}
    num_groups, num = values["accuracy"].shape
    figure, axes = plots.panels(1, num_groups, sharey=True)
    x = np.arange(1, num + 1) if edges is None else (edges[1:] + edges[:-1]) / 2
    look = {"xlabel": "distance", "xlim": (0, 1), "xticks": (0, 0.5, 1)}
    look = look if edges is not None else {"xlabel": "interval of the distance", "xticks": x}
    for group, place in enumerate(axes[0]):
        plots.lines(place, x, {name: value[group] for name, value in values.items()})
        place.set(**look, title=plots.group_name(run, group, num_groups))
    axes[0, 0].set_ylabel("fraction")
    figure.suptitle(f"{plots.run_title(run)}, after epoch {run.lines[-1]['epoch'] + 1}")
    plots.legend(figure, axes[0, :1])
    return figure


@plots.STYLE
def temperature_by_distance(columns: Mapping[str, Sequence], run: RunRecord) -> Figure:
    """Draws the temperature of each bucket against its distance and its accuracy, by family.

    Markers are full inside the range of training and hollow beyond it.

    Args:
      columns: from ``diagnosis.beyond.measure``.
      run: the run.
    """
    families = columns["family"]
    columns = {name: np.array(values) for name, values in columns.items()}
    distance = (columns["low"] + columns["high"]) / 2
    figure, axes = plots.panels(1, 2, 3.2, sharey=True)
    for i, family in enumerate(dict.fromkeys(families)):
        rows = columns["family"] == family
        inside = columns["inside"][rows].all()
        look = plots.style(i) | {"linestyle": "none", "label": family}
        look["fillstyle"] = "full" if inside else "none"
        temperature = columns["temperature"][rows]
        axes[0, 0].plot(distance[rows], temperature, **look)
        axes[0, 1].plot(100 * columns["accuracy"][rows], temperature, **look)
    axes[0, 0].set(xlabel="distance, of the family's range", ylabel="temperature", xlim=(-0.03, 1))
    axes[0, 1].set(xlabel="accuracy %")
    axes[0, 1].invert_xaxis()
    axes[0, 0].set_yscale("log")
    axes[0, 0].yaxis.set_major_formatter("{x:g}")
    axes[0, 0].yaxis.set_minor_formatter("{x:g}")
    figure.suptitle(f"{plots.run_title(run)}: full markers inside the training range")
    plots.legend(figure, axes[0, :1])
    return figure


def reliability(workdir: pathlib.Path, *, seed: int = 0) -> bootstrap.Reliability:
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


@plots.STYLE
def reliability_diagram(run: RunRecord) -> Figure:
    """Draws accuracy against confidence on the clean test set, above a histogram of images."""
    found, ratios = reliability(run.workdir), {"height_ratios": (3, 1)}
    figure, axes = plots.panels(2, 1, sharex=True, gridspec_kw=ratios)
    (above,), (below,) = axes
    diagram.draw(above, found, plots.run_title(run))
    above.set_xlabel("")
    width = 1 / len(found.count)
    bars = below.bar((np.arange(len(found.count)) + 0.5) * width, found.count, width, color="0.5")
    below.bar_label(bars, [f"{n:.0f}" if n else "" for n in found.count], fontsize=8)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images", ylim=(0, 1.3 * max(found.count)))
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
    num_groups = _groups(run, "label_confidence").shape[1]
    figure, axes = plots.grid(num_groups + len(workdirs), height=2.6)
    for place in axes[1:num_groups]:
        place.sharey(axes[0])
    _label_curves(axes[:num_groups], run)
    for place, (rule, workdir) in zip(axes[num_groups:], workdirs.items(), strict=True):
        found = reliability(workdir)
        diagram.draw(place, found, f"{rule}, {found.count.sum():.0f} test images")
    figure.suptitle(plots.run_title(run))
    plots.legend(figure, axes)
    plots.save(figure, path.parent, path.stem, ["png"])
