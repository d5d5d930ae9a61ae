"""Draws figures from run files with matplotlib, in colours safe for colour-blind readers."""

import contextlib
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from experiments.reporting import cells, methods, reliability, run_files
from experiments.reporting.cells import Cell
from experiments.reporting.run_files import RunRecord

# Okabe and Ito (2008), "Color Universal Design", without yellow, which is too light on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
FONT = {"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7}
FONT |= {"xtick.labelsize": 7, "ytick.labelsize": 7, "svg.hashsalt": "autolabel_jax"}
PANEL = (2.9, 2.6)  # inches


@contextlib.contextmanager
def panels(rows: int, columns: int, **settings: Any) -> Iterator[tuple[Figure, np.ndarray]]:
    """Makes a figure and its axes [rows, columns], in the font size and layout of all figures."""
    size = settings.pop("panel", PANEL)
    with plt.rc_context(FONT):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(size[0] * columns, size[1] * rows),
            squeeze=False,
            layout="constrained",
            **settings,
        )
        yield figure, axes


def _legend(figure: FigureBase, axes: Axes, where: str, **settings: Any) -> None:
    """Draws the legend of one of the axes outside all of them, so that it covers nothing."""
    figure.legend(*axes.get_legend_handles_labels(), loc=f"outside {where}", **settings)


def _legend_beside(axes: Axes) -> None:
    """Draws the legend of one panel to its right."""
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))


def num_intervals(run: RunRecord) -> int:
    """Returns the number of distance intervals in each group of buckets.

    Raises:
      ValueError: the config lacks buckets.num, or the epochs hold other numbers of buckets.
    """
    num = run.config.get("buckets.num")
    lengths = {len(line["label_confidence"]) for line in run.lines}
    if not num or len(lengths) > 1 or any(length % num for length in lengths):
        raise ValueError(
            f"{run.workdir}: buckets.num={num} in config.json, but metrics.jsonl holds "
            f"{sorted(lengths)} buckets"
        )
    return num


def groups(run: RunRecord, name: str) -> np.ndarray:
    """Returns a list of metrics.jsonl as float [epochs, groups, intervals]; NaN if empty."""
    values = np.array([line[name] for line in run.lines], np.float64)
    return values.reshape(len(run.lines), -1, num_intervals(run))


def group_name(run: RunRecord, group: int, num_groups: int) -> str:
    """Names a group of buckets, the discrete part of the distance."""
    if num_groups == 1:
        return "all images"
    return methods.group_name(run.config.get("augment.name"), group)


def _label_curves(axes: Axes, run: RunRecord, group: int) -> None:
    curves = groups(run, "label_confidence")[:, group]
    epochs = [line["epoch"] + 1 for line in run.lines]
    # Ordered buckets get ordered shades, without the lightest, which vanish in print.
    shades = plt.get_cmap("cividis_r")(np.linspace(0.15, 1, curves.shape[1]))
    for m in range(curves.shape[1]):
        axes.plot(
            epochs,
            curves[:, m],
            color=shades[m],
            linestyle=LINES[m % len(LINES)],
            marker=MARKERS[m % len(MARKERS)],
            markersize=3.5,
            markevery=(m * len(epochs) // (8 * curves.shape[1]), max(len(epochs) // 8, 1)),
            label=f"{m + 1}",
        )


def label_confidence(run: RunRecord) -> Figure:
    """Draws label confidence per bucket over epochs, with a panel for each group."""
    num_groups = groups(run, "label_confidence").shape[1]
    with panels(1, num_groups, sharey=True) as (figure, axes):
        for group, place in enumerate(axes[0]):
            _label_curves(place, run, group)
            place.set(xlabel="epoch", title=group_name(run, group, num_groups))
        axes[0, 0].set_ylabel("label confidence")
        _legend(figure, axes[0, 0], "right upper", title="interval of\nthe distance")
        return figure


def bucket_places(run: RunRecord) -> tuple[np.ndarray, str]:
    """Returns the x positions of the buckets of held-out images, and the name of that axis.

    Positions are the middles of equal-width intervals, and indices for other edges.
    """
    num = num_intervals(run)
    kind = run.config.get("buckets.calibration_edges") or run.config.get("buckets.edges")
    if kind == "equal_width" or num == 1:
        return (np.arange(num) + 0.5) / num, "distance"
    return np.arange(1, num + 1), f"interval of the distance ({kind})"


def bucket_distance(run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label per bucket after the last epoch, against distance."""
    places, name = bucket_places(run)
    curves = ("bucket_accuracy", "bucket_confidence", "label_confidence")
    values = [groups(run, curve)[-1] for curve in curves]
    num_groups = len(values[0])
    with panels(1, num_groups, sharey=True) as (figure, axes):
        for group, place in enumerate(axes[0]):
            for i, (curve, value) in enumerate(zip(curves, values, strict=True)):
                place.plot(
                    places,
                    value[group],
                    color=COLORS[i],
                    marker=MARKERS[i],
                    linestyle=LINES[i],
                    label=curve.replace("bucket_", "").replace("_", " "),
                )
            place.set(xlabel=name, title=group_name(run, group, num_groups))
            if name == "distance":
                place.set_xlim(0, 1)
        axes[0, 0].set_ylabel("fraction")
        _legend(figure, axes[0, 0], "right upper")
        return figure


def reliability_diagram(run: RunRecord) -> Figure:
    """Draws accuracy against confidence on the clean test set, above a histogram of images."""
    diagram = reliability.from_file(run.workdir)
    ratios = {"height_ratios": (3, 1)}
    with panels(2, 1, panel=(4, 2.2), sharex=True, gridspec_kw=ratios) as (figure, axes):
        reliability.draw(axes[0, 0], diagram, run.workdir.name, colors=COLORS[:2])
        axes[0, 0].set_xlabel("")
        reliability.draw_counts(axes[1, 0], diagram, "0.5")
        _legend(figure, axes[0, 0], "lower center", ncols=2)
        return figure


def _by_budget(blocks: Sequence[Sequence[Cell]]) -> dict[tuple, list[Cell]]:
    """Groups cells by data set, model and budget, whatever the augmentation."""
    by_budget: dict[tuple, list[Cell]] = {}
    for cell in (cell for block in blocks for cell in block):
        names = cell.names
        key = (names["dataset"], names["model"], names["train_examples"], names["epochs"])
        by_budget.setdefault(key, []).append(cell)
    return by_budget


def _title(key: tuple) -> str:
    dataset, model, images, epochs = key
    return f"{dataset}, {model},\n{images} images, {epochs} epochs"


def _styles(panel_cells: Mapping[tuple, Sequence[Cell]]) -> dict[str, int]:
    """Numbers the label rules: an index gives the same colour and marker in all panels."""
    rules = dict.fromkeys(cell.label for own in panel_cells.values() for cell in own)
    return {rule: i for i, rule in enumerate(rules)}


def _grid(num: int) -> tuple[int, int]:
    columns = min(num, 3)
    return math.ceil(num / columns), columns


def accuracy_against_ece(blocks: Sequence[Sequence[Cell]]) -> Figure:
    """Draws ECE against accuracy, a mark per run, a panel per data set, model and budget."""
    by_budget = _by_budget(blocks)
    styles = _styles(by_budget)
    fills = ("full", "none", "left", "right", "bottom", "top")
    methods = list(dict.fromkeys(c.names["augmentation"] for g in by_budget.values() for c in g))
    with panels(*_grid(len(by_budget)), panel=(4.8, 2.8)) as (figure, axes):
        for place, (key, group) in zip(axes.flat, by_budget.items(), strict=False):
            for cell in group:
                i, method = styles[cell.label], cell.names["augmentation"]
                place.plot(
                    [100 * v for v in cell.values("accuracy").values()],
                    [100 * v for v in cell.values("ece").values()],
                    color=COLORS[i % len(COLORS)],
                    marker=MARKERS[i % len(MARKERS)],
                    fillstyle=fills[methods.index(method) % len(fills)],
                    linestyle="none",
                    label=f"{method}, {cell.label}",
                )
            place.set(xlabel="accuracy %", ylabel="ECE %", title=_title(key))
            place.margins(0.15)
            _legend_beside(place)
        for place in axes.flat[len(by_budget) :]:
            place.set_axis_off()
        return figure


# Line style, marker fill and name of a curve before and after temperature scaling.
SCALINGS = {"": ("-", "full", ""), "_ts": ("--", "none", " (TS)")}


def _severity_curves(cell: Cell, scaling: str = "") -> np.ndarray | None:
    """Returns ECE % at severities 0 (clean) to 5, float [seeds, 6]; None if no run has them."""
    name = f"ece{scaling}"
    rows = [
        [run.result[name], *run.result[f"corrupted_{name}_by_severity"]]
        for run in cell.runs
        if run.result.get(name) is not None and run.result.get(f"corrupted_{name}_by_severity")
    ]
    return 100 * np.array(rows) if rows else None


def has_severities(blocks: Sequence[Sequence[Cell]]) -> bool:
    """Whether any run was evaluated on corrupted images by severity."""
    return any(_severity_curves(cell) is not None for block in blocks for cell in block)


def _draw_severity(place: Axes, cell: Cell, i: int, num: int) -> None:
    for scaling, (line, filling, name) in SCALINGS.items():
        curves = _severity_curves(cell, scaling)
        if curves is None:
            continue
        place.errorbar(
            np.arange(6) + 0.06 * (i - (num - 1) / 2),
            curves.mean(0),
            curves.std(0, ddof=1) if len(curves) > 1 else None,
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
            fillstyle=filling,
            linestyle=line,
            capsize=2,
            label=f"{cell.label}{name} (n={len(curves)})",
        )


def ece_against_severity(blocks: Sequence[Sequence[Cell]]) -> Figure:
    """Draws the mean ECE over corruptions against severity, ± standard deviation over seeds.

    Lines are solid before and dashed with hollow marks after temperature scaling.
    """
    kept = [[c for c in block if _severity_curves(c) is not None] for block in blocks]
    by_key = {tuple(_block_key(block)): block for block in kept if block}
    styles = _styles(by_key)
    with panels(*_grid(len(by_key)), panel=(4.8, 2.8)) as (figure, axes):
        for place, (key, block) in zip(axes.flat, by_key.items(), strict=False):
            for cell in block:
                _draw_severity(place, cell, styles[cell.label], len(styles))
            place.set(xlabel="severity (0: clean)", ylabel="ECE %")
            place.set_title(f"{key[0]}, {key[1]}, {key[2]},\n{key[3]} images, {key[4]} epochs")
            _legend_beside(place)
        for place in axes.flat[len(by_key) :]:
            place.set_axis_off()
        return figure


def _block_key(block: Sequence[Cell]) -> list:
    names = block[0].names
    fields = ("dataset", "model", "augmentation", "train_examples", "epochs")
    return [names[field] for field in fields] + [cells.block_key(block[0])]


def quickstart(workdirs: Mapping[str, pathlib.Path], path: pathlib.Path) -> None:
    """Draws the labels of the AutoLabel run over epochs, and both reliability diagrams."""
    run = run_files.read(workdirs["autolabel"])
    num_groups = groups(run, "label_confidence").shape[1]
    with plt.rc_context(FONT):
        figure = plt.figure(figsize=(9.5, 6.2), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(2, 3))
        for group, place in enumerate(above.subplots(1, num_groups, sharey=True, squeeze=False)[0]):
            _label_curves(place, run, group)
            title = f"AutoLabel: labels, {group_name(run, group, num_groups)}"
            place.set(xlabel="epoch", title=title)
            if group == 0:
                place.set_ylabel("label confidence")
                _legend(above, place, "right upper", title="interval of\nthe distance")
        places = below.subplots(1, len(workdirs), squeeze=False)[0]
        for place, (rule, workdir) in zip(places, workdirs.items(), strict=True):
            diagram = reliability.from_file(workdir)
            title = f"{rule}, {diagram.count.sum():.0f} test images"
            reliability.draw(place, diagram, title, colors=COLORS[:2])
        _legend(below, places[0], "right upper")
        figure.savefig(path, dpi=150)
        plt.close(figure)
