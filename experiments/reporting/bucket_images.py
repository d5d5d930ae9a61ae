"""Draws sample images per bucket, which show each distance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from autolabel_jax import augment, buckets, datasets, image_ops, input_pipeline, trained
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.run_dir import RunDir
from experiments.reporting import methods, plots
from experiments.reporting.run_files import RunRecord

IMAGES = 2  # shown in each group
BATCH = 16  # of which those are the first; mixup takes partners from it
OF_DATA = ("dataset", "data_dir", "data.", "train_examples", "augment.", "buckets.")


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
def draw(run: RunRecord, data_dir: str | None = None) -> Figure:
    """Draws calibration images, clean on the left, then in each interval; groups in rows.

    The label confidence of each bucket is below its images. All buckets have the same random draws
    except for the distance. ``data_dir`` is the folder of the data, if it has moved.
    """
    config = run.full_config
    config.data_dir = config.data_dir if data_dir is None else data_dir
    if augment.find(config.augment.name).attacks_model:
        restored = trained.restore(run.workdir, config)
        experiment, dataset = restored.experiment, restored.dataset
        variables = restored.variables
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
    bucket = np.asarray(buckets.bucket_index(jnp.asarray(split.distance), experiment.edges))
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
            below = plots.number(labels[n - 1], 3) if column else "label\nconfidence:"
            place.set_xlabel(below)
        if column == 0 and i == 0:
            place.set_ylabel(plots.group_name(run, group, num_groups))
    after = f", after epoch {len(run.lines)}" if labels else ""
    figure.suptitle(plots.run_title(run) + after)
    return figure
