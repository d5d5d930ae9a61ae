"""Lists the figures of some runs, each described in words, and draws them."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from autolabel_jax import augment, buckets, datasets, files, image_ops, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.commands import diagram
from autolabel_jax.metrics import bootstrap
from autolabel_jax.run_dir import RunDir
from experiments.reporting import frame as frames
from experiments.reporting import naming, plots
from experiments.reporting.run_files import RunRecord

SCALINGS = {"": "before temperature scaling", "_ts": "after temperature scaling"}
BY_SEVERITY = "corrupted_ece{}_by_severity"
SEVERITY = BY_SEVERITY.format("")
MIN_ECE, MIN_ACCURACY = 5, 10  # smallest spans of the axes, in points
DIFFERENCES = ("ece", "nll", "corrupted_ece")
IMAGES = 2  # shown in each group
BATCH = 16  # of which those are the first; mixup takes partners from it


class Drawing(NamedTuple):
    """A figure that can be drawn, with the name of its file and words for who does not see it."""

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]  # raises ValueError or FileNotFoundError if it cannot


def _drawing(draw: Callable, *inputs: Any, name: str = "") -> Drawing:
    """Makes a drawing of ``naming.FIGURES``; ``name`` is of its run."""
    words = {own: text.format(name=name) for own, text in naming.FIGURES[draw.__name__].items()}
    file = "_".join(filter(None, [draw.__name__, name.replace(os.sep, "_")]))
    return Drawing(file, **words, draw=functools.partial(draw, *inputs))


def of_runs(frame: pd.DataFrame) -> Iterator[Drawing]:
    """Lists the figures that compare runs, see ``frame``."""
    if len(frame):
        yield _drawing(accuracy_against_ece, frame)
        if SEVERITY in frame:
            yield _drawing(ece_against_severity, frame)
        if (frames.to_baselines(frame)["count"] > 1).any():
            yield _drawing(differences, frame)


def of_run(run: RunRecord, name: str) -> Iterator[Drawing]:
    """Lists the figures of one run, finished or not, under a name that tells it from others."""
    if run.lines and all({"epoch", "label_confidence"} <= line.keys() for line in run.lines):
        yield _drawing(label_confidence, run, name=name)
    if RunDir(run.workdir).logits_file.exists():
        yield _drawing(reliability, run, name=name)


def of_images(frame: pd.DataFrame, data_dir: str | None = None) -> Iterator[Drawing]:
    """Lists sample images of the buckets, of the first run of each block that learns labels."""
    names, learned = run_names(frame["record"]), frame["label_rule"].map(naming.learns)
    for run in frame[learned.astype(bool)].drop_duplicates("block")["record"]:
        if getattr(naming.find("augment.name", run.config["augment.name"]), "moves_inputs", False):
            yield _drawing(bucket_images, run, data_dir, name=names[run.workdir])


def run_names(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns, by workdir, the part of its path that identifies the run among the others."""
    paths = {run.workdir: run.workdir.resolve() for run in runs}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    return {workdir: str(path.relative_to(common)) for workdir, path in paths.items()}


def everything(frame: pd.DataFrame, left_out: pd.DataFrame) -> list[Drawing]:
    """Lists all figures of some runs that are drawn of their files alone, see ``frame.load``."""
    runs = [*frame["record"], *left_out["record"]]
    names = run_names(runs)
    return [*of_runs(frame), *(one for run in runs for one in of_run(run, names[run.workdir]))]


def _blocks(axes: Iterable[Axes], frame: pd.DataFrame) -> Iterator[tuple]:
    """Yields the axes, label, runs and look of each cell; a label has one look in all blocks."""
    looks = {name: plots.style(i) for i, name in enumerate(frame["labels"].unique())}
    for place, (_, block) in zip(axes, frame.groupby("block"), strict=True):
        place.set_title(plots.block_title(block))
        for name, runs in block.groupby("labels", sort=False):
            yield place, name, runs, looks[name]


@plots.STYLE
def accuracy_against_ece(frame: pd.DataFrame) -> Figure:
    """Draws ECE against accuracy, a mark a run; axes have least spans, so as not to exaggerate."""
    figure, axes = plots.grid(frame["block"].nunique())
    for place, name, runs, look in _blocks(axes, frame):
        look = look | {"linestyle": "none", "label": name}
        place.plot(100 * runs["accuracy"], 100 * runs["ece"], **look)
    for place in axes:
        low, high = place.get_xlim()
        high = min(high + max(MIN_ACCURACY - (high - low), 0) / 2, 100)
        place.set(xlabel="accuracy %", xlim=(min(low, high - MIN_ACCURACY), high))
        place.set(ylabel="ECE %", ylim=(0, max(place.get_ylim()[1], MIN_ECE)))
    return plots.finish(figure, axes)


@plots.STYLE
def ece_against_severity(frame: pd.DataFrame) -> Figure:
    """Draws mean ECE ± standard deviation against severity, before and after a temperature."""
    frame = frame[frame[SEVERITY].notna()]
    figure, axes = plots.panels(frame["block"].nunique(), 2, 2.9, sharex=True, sharey="row")
    labels = frame["labels"].unique()
    shifts = np.linspace(-1, 1, len(labels)) * min(0.03 * len(labels), 0.2)  # no bar hides another
    shifts = dict(zip(labels, shifts, strict=True))
    for column, (scaling, when) in zip(axes.T, SCALINGS.items(), strict=True):
        for place, name, runs, look in _blocks(column, frame):
            found = runs.reindex(columns=[f"ece{scaling}", BY_SEVERITY.format(scaling)])
            by_run = found.dropna(subset=found.columns[1:]).to_numpy()
            curves = 100 * np.array([[clean, *by] for clean, by in by_run], float)
            if len(curves):
                sd = curves.std(0, ddof=1) if len(curves) > 1 else None
                place.errorbar(np.arange(6) + shifts[name], curves.mean(0), sd, **look, label=name)
        for place in column:
            place.set_title(f"{place.get_title()}\n{when}")
            place.set_xticks(range(6), ("clean", *"12345"))
            place.set_yscale("log", nonpositive="clip")
            place.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            place.yaxis.set_major_formatter("{x:g}")
            place.yaxis.set_minor_formatter(ticker.NullFormatter())
        column[-1].set_xlabel("severity of the corruption")
    for place in axes[:, 0]:
        place.set_ylabel("ECE %")
    return plots.finish(figure, axes.ravel())


@plots.STYLE
def differences(frame: pd.DataFrame) -> Figure:
    """Draws ``frame.to_baselines`` with its intervals: a row a cell, a panel a metric."""
    gaps = frames.to_baselines(frame).query("count > 1").reset_index()
    cells = frame.drop_duplicates("cell").set_index("cell").loc[gaps["cell"].unique()]
    names = cells[["dataset", "model", "augmentation"]].agg(", ".join, axis=1)
    names += "\n" + cells["train_examples"].astype(str) + " images, " + cells["labels"]
    gaps["minus"] = gaps["minus"].replace("smoothing.*", "best smoothing", regex=True)
    metrics = [metric for metric in DIFFERENCES if metric in set(gaps["metric"])]
    figure, (axes,) = plots.panels(1, len(metrics), 0.4 * len(cells) + 1, sharey=True)
    for place, metric in zip(axes, metrics, strict=True):
        factor, own = naming.TABLE.at[metric, "factor"], gaps[gaps["metric"] == metric]
        for i, minus in enumerate(sorted(gaps["minus"].unique())):
            rows = own[own["minus"] == minus]
            mean, half = factor * rows["mean"], factor * (rows["high"] - rows["mean"])
            at, look = cells.index.get_indexer(rows["cell"]) + 0.3 * i - 0.15, plots.style(i)
            place.errorbar(mean, at, xerr=half, **look | {"linestyle": "none"}, label=minus)
        place.axvline(0, color="black", linewidth=0.8)
        place.set_xlabel(naming.HEADERS[metric])
    axes[0].set(yticks=range(len(cells)), yticklabels=names, ylim=(len(cells) - 0.5, -0.5))
    return plots.finish(figure, axes, "AutoLabel without a temperature, minus (below 0: better)")


@plots.STYLE
def label_confidence(run: RunRecord) -> Figure:
    """Draws label confidence per bucket over epochs, with a panel for each group."""
    num, values = run.config["buckets.num"], [line["label_confidence"] for line in run.lines]
    if (lengths := {len(own) for own in values}) != {len(values[0])} or len(values[0]) % num:
        found = f"but metrics.jsonl holds {sorted(lengths)} buckets"
        raise ValueError(f"{run.workdir}: buckets.num={num} in config.json, {found}")
    curves = np.array(values, np.float64).reshape(len(values), -1, num)
    figure, (axes,) = plots.panels(1, curves.shape[1], sharey=True)
    names = plots.interval_names(plots.edges(run), num)
    # Ordered buckets get ordered shades, without the lightest, which vanish in print.
    shades = plt.get_cmap("cividis_r")(np.linspace(0.15, 1, num))
    epochs, every = [line["epoch"] + 1 for line in run.lines], max(len(values) // 8, 1)
    for group, place in enumerate(axes):
        for m, name in enumerate(names):
            look = plots.style(m) | {"color": shades[m], "label": name}
            place.plot(epochs, curves[:, group, m], **look, markevery=(m * every // num, every))
        place.set(xlabel="epoch", title=plots.group_name(run, group, len(axes)))
    axes[0].set_ylabel("label confidence")
    return plots.finish(figure, axes[:1], plots.run_title(run))


def reliability_bins(workdir: pathlib.Path) -> bootstrap.Reliability:
    """Returns the bins of ``test_logits.npz`` (logits [n, K], label [n]), with 95 % bands."""
    path = RunDir(workdir).logits_file
    saved = files.read_npz(path)
    if missing := [name for name in ("logits", "label") if name not in saved]:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    logits, label = saved["logits"], saved["label"]
    if logits.ndim != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"{path}: logits {logits.shape} and label {label.shape} do not fit")
    confidence = softmax(logits.astype(np.float64), axis=-1).max(-1).astype(np.float32)
    return bootstrap.reliability(confidence, logits.argmax(-1) == label, seed=0)


@plots.STYLE
def reliability(run: RunRecord) -> Figure:
    """Draws accuracy against confidence on the clean test set, above a histogram of images."""
    found, ratios = reliability_bins(run.workdir), {"height_ratios": (3, 1)}
    figure, ((above,), (below,)) = plots.panels(2, 1, sharex=True, gridspec_kw=ratios)
    diagram.draw(above, found, plots.run_title(run))
    above.set_xlabel("")
    width = 1 / len(found.count)
    bars = below.bar((np.arange(len(found.count)) + 0.5) * width, found.count, width, color="0.5")
    below.bar_label(bars, [f"{n:.0f}" if n else "" for n in found.count], fontsize=8)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images", ylim=(0, 1.3 * max(found.count)))
    return plots.finish(figure, [above])


@plots.STYLE
def bucket_images(run: RunRecord, data_dir: str | None = None) -> Figure:
    """Draws calibration images, clean, then moved into each interval, with groups in rows."""
    config = run.full_config
    config.data_dir = config.data_dir if data_dir is None else data_dir
    method = augment.find(config.augment.name)
    if method.attacks_model or method.distance_is_given:
        raise ValueError(f"augment.name: {config.augment.name!r} cannot move images alone")
    dataset = datasets.load(config)
    shape = dataset.train.input.shape[1:]
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"dataset: {config.dataset!r} holds examples of shape {shape}, not images")
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    return _grid(_moved(experiment, dataset.calibration.take(slice(0, BATCH))), experiment, run)


def _moved(experiment: experiment_lib.Experiment, split: datasets.Split) -> np.ndarray:
    """Returns images float [N + 1, IMAGES, ...] by bucket; the first entry is clean."""
    batch = input_pipeline.put_split(split, experiment.mesh)
    draw_key, apply_key = jax.random.split(jax.random.key(0))

    @jax.jit
    def move(bucket):
        inside = jnp.full(len(split), bucket, jnp.int32)
        distance = buckets.draw_inside(draw_key, inside, experiment.calibration_edges)
        moved = experiment_lib.apply_augmentation(experiment, {}, batch, apply_key, distance)
        return image_ops.to_float(moved.input)[:IMAGES]

    clean = image_ops.to_float(batch.input)[:IMAGES]
    return np.clip(np.stack([clean, *map(move, range(experiment.num_buckets))]), 0, 1)


def _grid(shown: np.ndarray, experiment: experiment_lib.Experiment, run: RunRecord) -> Figure:
    num_groups, edges = experiment.augmentation.num_groups, experiment.calibration_edges
    num = len(edges) - 1
    names = ["clean", *(n.replace(" ", "\n") for n in plots.interval_names(edges, num))]
    labels = run.lines[-1]["label_confidence"] if run.lines else None  # after the last epoch
    figure, axes = plots.panels(num_groups * IMAGES, num + 1, 1.1)
    figure.set_size_inches(max(1.1 * (num + 1), 4.4), 1.1 * num_groups * IMAGES + 0.9)
    for (row, column), place in np.ndenumerate(axes):
        group, i = divmod(row, IMAGES)
        n = group * num + column if column else 0
        place.set(xticks=[], yticks=[], title=names[column] if row == 0 else "")
        gray = {"cmap": "gray", "vmin": 0, "vmax": 1} if shown.shape[-1] == 1 else {}
        place.imshow(shown[n, i].squeeze(), interpolation="nearest", **gray)
        if i == IMAGES - 1 and labels:
            place.set_xlabel(plots.number(labels[n - 1], 3) if column else "label\nconfidence:")
        if column == 0 and i == 0:
            place.set_ylabel(plots.group_name(run, group, num_groups))
    after = f", after epoch {len(run.lines)}" if labels else ""
    return plots.finish(figure, [], plots.run_title(run) + after)
