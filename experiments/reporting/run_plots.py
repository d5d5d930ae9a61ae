"""Draws the figures of one run."""

import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

from autolabel_jax import augment, buckets, datasets, files, image_ops, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.commands import diagram
from autolabel_jax.metrics import bootstrap
from autolabel_jax.run_dir import RunDir
from experiments.reporting import plots
from experiments.reporting.run_files import RunRecord

IMAGES = 2  # shown in each group
BATCH = 16  # of which those are the first; mixup takes partners from it


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
    """Draws calibration images, clean on the left, then in each interval; groups in rows.

    All buckets have the same random draws but for the distance. ``data_dir``: if it has moved.
    """
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
    moved = np.stack([clean, *(np.asarray(move(n)) for n in range(experiment.num_buckets))])
    return np.clip(moved, 0, 1)


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
