"""Draws the figures of one run, and of the two runs of the quickstart."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from autolabel_jax import augment, buckets, datasets, files, image_ops, input_pipeline, trained
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import given
from autolabel_jax.commands import diagram
from autolabel_jax.metrics import bootstrap
from autolabel_jax.run_dir import RunDir
from experiments.reporting import methods, plots, run_files
from experiments.reporting.run_files import RunRecord

CURVES = {"bucket_accuracy": "accuracy", "bucket_confidence": "confidence"}
CURVES |= {"label_confidence": "label confidence"}
IMAGES = 2  # shown in each group
BATCH = 16  # of which those are the first; mixup takes partners from it
OF_DATA = ("dataset", "data_dir", "data.", "train_examples", "augment.", "buckets.")


def _groups(run: RunRecord, name: str) -> np.ndarray:
    """Returns a list of metrics.jsonl as float [epochs, groups, intervals]; NaN if empty."""
    num, values = run.config.get("buckets.num"), [line[name] for line in run.lines]
    lengths = {len(own) for own in values}
    if not num or len(lengths) != 1 or max(lengths) % num:
        found = f"but metrics.jsonl holds {sorted(lengths)} buckets"
        raise ValueError(f"{run.workdir}: buckets.num={num} in config.json, {found}")
    return np.array(values, np.float64).reshape(len(values), -1, num)


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
            look = plots.style(m) | {"color": shades[m], "label": name}
            look["markevery"] = (m * every // len(names), every)
            place.plot(epochs, curves[:, group, m], **look)
        place.set(xlabel="epoch", title=plots.group_name(run, group, len(axes)))
    axes[0].set_ylabel("label confidence")


@plots.STYLE
def label_confidence(run: RunRecord) -> Figure:
    """Draws label confidence per bucket over epochs, with a panel for each group."""
    figure, (axes,) = plots.panels(1, _groups(run, "label_confidence").shape[1], sharey=True)
    _label_curves(axes, run)
    return plots.finish(figure, axes[:1], plots.run_title(run))


@plots.STYLE
def bucket_distance(run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label per bucket after the last epoch, against distance."""
    edges, values = plots.edges(run), {own: _groups(run, name)[-1] for name, own in CURVES.items()}
    num_groups, num = values["accuracy"].shape
    figure, (axes,) = plots.panels(1, num_groups, sharey=True)
    if edges is None:
        x = np.arange(1, num + 1)
        look = {"xlabel": "interval of the distance", "xticks": x}
    else:
        x = (edges[1:] + edges[:-1]) / 2
        look = {"xlabel": "distance", "xlim": (0, 1), "xticks": (0, 0.5, 1)}
    for group, place in enumerate(axes):
        plots.lines(place, x, {name: value[group] for name, value in values.items()})
        place.set(**look, title=plots.group_name(run, group, num_groups))
    axes[0].set_ylabel("fraction")
    title = f"{plots.run_title(run)}, after epoch {run.lines[-1]['epoch'] + 1}"
    return plots.finish(figure, axes[:1], title)


@plots.STYLE
def temperature_by_distance(columns: Mapping[str, Sequence], run: RunRecord) -> Figure:
    """Draws ``diagnosis.beyond.measure``: temperature by distance and accuracy of each bucket."""
    table = pd.DataFrame(columns).assign(accuracy=lambda own: 100 * own["accuracy"])
    table["distance"] = (table["low"] + table["high"]) / 2
    figure, (axes,) = plots.panels(1, 2, 3.2, sharey=True)
    for i, (family, own) in enumerate(table.groupby("family", sort=False)):
        look = plots.style(i) | {"linestyle": "none", "label": family}
        look["fillstyle"] = "full" if own["inside"].all() else "none"
        for place, name in zip(axes, ("distance", "accuracy"), strict=True):
            place.plot(own[name], own["temperature"], **look)
    axes[0].set(xlabel="distance, of the family's range", ylabel="temperature", xlim=(-0.03, 1))
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("{x:g}")
    axes[1].set(xlabel="accuracy %")
    axes[1].invert_xaxis()
    title = f"{plots.run_title(run)}: full markers inside the training range"
    return plots.finish(figure, axes[:1], title)


def reliability(workdir: pathlib.Path, *, seed: int = 0) -> bootstrap.Reliability:
    """Returns the bins of ``test_logits.npz`` (logits [n, K], label [n]), with 95 % bands."""
    path = RunDir(workdir).logits_file
    saved = files.read_npz(path)
    if missing := [name for name in ("logits", "label") if name not in saved]:
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
    figure, ((above,), (below,)) = plots.panels(2, 1, sharex=True, gridspec_kw=ratios)
    diagram.draw(above, found, plots.run_title(run))
    above.set_xlabel("")
    width = 1 / len(found.count)
    bars = below.bar((np.arange(len(found.count)) + 0.5) * width, found.count, width, color="0.5")
    below.bar_label(bars, [f"{n:.0f}" if n else "" for n in found.count], fontsize=8)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images", ylim=(0, 1.3 * max(found.count)))
    return plots.finish(figure, [above])


@plots.STYLE
def quickstart(workdirs: Mapping[str, pathlib.Path], path: pathlib.Path) -> None:
    """Draws labels of the run of 'autolabel', and reliability of each label rule's run, as PNG."""
    run = run_files.read(workdirs["autolabel"])
    num_groups = _groups(run, "label_confidence").shape[1]
    figure, axes = plots.grid(num_groups + len(workdirs), height=2.6)
    for place in axes[1:num_groups]:
        place.sharey(axes[0])
    _label_curves(axes[:num_groups], run)
    for place, (rule, workdir) in zip(axes[num_groups:], workdirs.items(), strict=True):
        found = reliability(workdir)
        diagram.draw(place, found, f"{rule}, {found.count.sum():.0f} test images")
    plots.finish(figure, axes, plots.run_title(run))
    plots.save(figure, path.parent, path.stem, ["png"])


def same_picture(run: RunRecord) -> str:
    """Returns a key that is equal for runs with the same figure; '' for a run that has none."""
    method = methods.find("augment.name", run.config.get("augment.name"))
    if method is None or not method.moves_inputs:
        return ""
    if method.attacks_model and RunDir(run.workdir).last_checkpoint() is None:
        return ""
    kept = sorted((name, v) for name, v in run.config.items() if name.startswith(OF_DATA))
    return repr((kept, run.workdir if method.attacks_model else None))


@plots.STYLE
def bucket_images(run: RunRecord, data_dir: str | None = None) -> Figure:
    """Draws calibration images, clean on the left, then in each interval; groups in rows.

    All buckets have the same random draws but for the distance. ``data_dir``: if it has moved.
    """
    config = run.full_config
    config.data_dir = config.data_dir if data_dir is None else data_dir
    if augment.find(config.augment.name).attacks_model:
        own = trained.restore(run.workdir, config)
        experiment, dataset, variables = own.experiment, own.dataset, own.variables
    else:
        dataset, variables = datasets.load(config), {}
        experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    shape = dataset.train.input.shape[1:]
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"dataset: {config.dataset!r} holds examples of shape {shape}, not images")
    if experiment.augmentation.distance_is_given:
        shown = _given(experiment, dataset.train)
    else:
        shown = _moved(experiment, dataset.calibration.take(slice(0, BATCH)), variables)
    return _grid(shown, experiment, run)


def _moved(
    experiment: experiment_lib.Experiment, split: datasets.Split, variables: dict[str, Any]
) -> np.ndarray:
    """Returns images float [N + 1, IMAGES, ...] by bucket; the first entry is clean."""
    batch = input_pipeline.put_split(split, experiment.mesh)
    draw_key, apply_key = jax.random.split(jax.random.key(0))

    @jax.jit
    def move(bucket):
        inside = jnp.full(len(split), bucket, jnp.int32)
        distance = buckets.draw_inside(draw_key, inside, experiment.calibration_edges)
        moved = experiment_lib.apply_augmentation(experiment, variables, batch, apply_key, distance)
        return image_ops.to_float(moved.input)[:IMAGES]

    clean = image_ops.to_float(batch.input)[:IMAGES]
    return np.stack([clean, *(np.asarray(move(n)) for n in range(experiment.num_buckets))])


def _given(experiment: experiment_lib.Experiment, split: datasets.Split) -> np.ndarray:
    """Returns the same for data with given distances; missing and clean images are NaN."""
    bucket = np.asarray(buckets.bucket_index(given.distances(split), experiment.edges))
    image = np.asarray(image_ops.to_float(split.input))
    shown = np.full((experiment.num_buckets + 1, IMAGES, *image.shape[1:]), np.nan, np.float32)
    for n in range(experiment.num_buckets):
        rows = np.flatnonzero(bucket == n)[:IMAGES]
        shown[n + 1, : len(rows)] = image[rows]
    return shown


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
        if np.isfinite(picture := shown[n, i]).all():
            gray = {"cmap": "gray", "vmin": 0, "vmax": 1} if picture.shape[-1] == 1 else {}
            place.imshow(np.clip(picture, 0, 1).squeeze(), interpolation="nearest", **gray)
        else:
            place.set_axis_off()
        if i == IMAGES - 1 and labels:
            place.set_xlabel(plots.number(labels[n - 1], 3) if column else "label\nconfidence:")
        if column == 0 and i == 0:
            place.set_ylabel(plots.group_name(run, group, num_groups))
    after = f", after epoch {len(run.lines)}" if labels else ""
    return plots.finish(figure, [], plots.run_title(run) + after)
