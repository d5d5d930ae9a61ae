"""Measures the parts of a diagnosis, for ``diagnosis.json``.

Each part has a stamp of what its metrics depend on. A part in the file with an equal stamp is not
measured again.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from autolabel_jax import calibration, datasets, files, image_ops, input_pipeline, progress
from autolabel_jax.datasets import Split, StreamedSplit
from autolabel_jax.diagnosis import affinity, fourier
from autolabel_jax.diagnosis import beyond as beyond_lib
from autolabel_jax.progress import Progress
from autolabel_jax.trained import Trained
from autolabel_jax.types import Batch

FORMAT = 1  # of a part; parts of other formats are ignored
FOURIER_CHUNK = 16  # number of frequencies per line of the file


def stamp_of(trained: Trained, examples: int) -> dict[str, Any]:
    """Returns what the metrics of every part depend on."""
    return {"format": FORMAT, "checkpoint": trained.checkpoint, "examples": examples}


def put(split: Split | StreamedSplit, examples: int, trained: Trained) -> Batch:
    """Puts the first N images of a split (0 = all), decoded, on the device."""
    split = datasets.in_memory(datasets.first(split, examples, "--examples"))
    return input_pipeline.put_split(split, trained.experiment.mesh)


def buckets(trained: Trained, examples: int, before: dict[str, Any] | None) -> dict[str, Any]:
    """Measures how far each bucket moves calibration images, and the model's metrics on them.

    Args:
      trained: the run.
      examples: measures on the first N images of the calibration split (0 = all).
      before: this part of the file, if it has one.
    """
    experiment = trained.experiment
    whole = put(trained.dataset.calibration, examples, trained)
    stamp = stamp_of(trained, whole.label.shape[0]) | {"uint8": whole.input.dtype == np.uint8}
    if before and before["stamp"] == stamp:
        return before
    step = jax.jit(functools.partial(affinity.move_batch, experiment=experiment))
    passes = 1 if experiment.augmentation.distance_is_given else experiment.num_buckets
    by_bucket = []
    for n in progress.each(range(passes), "measuring buckets", passes, "bucket"):
        key = jax.random.fold_in(jax.random.key(trained.config.seed), n)
        by_bucket.append(
            affinity.move(trained.variables, whole, key, step=step, experiment=experiment, bucket=n)
        )
    moved = jax.tree.map(lambda *x: np.concatenate(x), *by_bucket)
    return {"stamp": stamp, **_by_bucket(moved, trained)}


def beyond(trained: Trained, examples: int, before: dict[str, Any] | None) -> dict[str, Any]:
    """Measures accuracy and temperature by distance, see ``diagnosis.beyond``.

    Args:
      trained: the run.
      examples: measures on the first N images of the calibration split (0 = all).
      before: this part of the file, if it has one.
    """
    whole = put(trained.dataset.calibration, examples, trained)
    stamp = stamp_of(trained, whole.label.shape[0])
    if before and before["stamp"] == stamp:
        return before
    seed = trained.config.seed
    key = input_pipeline.epoch_key(seed, int(trained.snapshot.epoch), beyond_lib.PURPOSE)
    spec, experiment = trained.dataset.spec, trained.experiment
    total = beyond_lib.num_buckets(experiment.augmentation, spec)
    with Progress("", total, unit="bucket") as display:
        display.begin("measuring temperatures")
        rows = beyond_lib.measure(experiment, trained.variables, whole, spec, key, display.advance)
    return {"stamp": stamp, **rows}


def _by_bucket(moved: affinity.Moved, trained: Trained) -> dict[str, Any]:
    experiment = trained.experiment
    edges, num_groups = experiment.calibration_edges, experiment.augmentation.num_groups
    settings = {"num_buckets": experiment.num_buckets, "num_bins": experiment.num_bins}
    stats = calibration.bucket_stats(moved.logits, moved.label, moved.bucket, **settings)
    curve = affinity.distance_curve(stats, edges, num_groups)
    count = np.maximum(curve.count, 1)

    def mean(values):
        total = np.bincount(moved.bucket, values.astype(np.float64), experiment.num_buckets)
        return np.where(curve.count > 0, total / count, np.nan)

    columns = {
        "group": curve.group,
        "low": np.tile(edges[:-1], num_groups),
        "high": np.tile(edges[1:], num_groups),
        "count": curve.count,
        "mean_l2": mean(moved.l2),
        "mean_absolute_change": mean(moved.absolute),
        "accuracy": curve.accuracy,
        "confidence": curve.confidence,
        "ece": curve.ece,
        "label_confidence": trained.snapshot.state.labels.confidence,
    }
    return {name: np.asarray(values).tolist() for name, values in columns.items()}


def fourier_map(
    trained: Trained, examples: int, norm: float, radius: int | None, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Measures the Fourier heat map of the model on test images; resumes an unfinished one.

    Args:
      trained: the run.
      examples: measures on the first N images of the test split (0 = all).
      norm: L2 norm of what is added to a channel (0 = ``default_norm``).
      radius: see ``fourier.heat_map``; None means ``default_radius``.
      before: this part of the file, if it has one.

    Raises:
      ValueError: the data are not images in [0, 1], or the radius or norm is invalid.
    """
    height, width = _image_size(trained)
    norm = norm or default_norm(height, width)
    radius = default_radius(height, width) if radius is None else radius
    chosen = fourier.frequencies(height, width, radius)
    whole = put(trained.dataset.test, examples, trained)
    num = whole.label.shape[0]
    stamp = stamp_of(trained, num) | {"norm": norm, "radius": radius}
    if before and before["stamp"] == stamp:
        return before
    batches = [
        (image_ops.to_float(batch.input), batch.label, batch.mask)
        for batch in input_pipeline.evaluation_batches(
            whole, trained.experiment.eval_batch_size, trained.experiment.mesh
        )
    ]
    predict = functools.partial(_top, trained.experiment.model, trained.variables)
    clean = sum(int(np.sum((predict(x) != y) & (mask > 0))) for x, y, mask in batches) / num
    errors = _errors_so_far(trained.run_dir.fourier_file, stamp, chosen, predict, batches)
    values = [errors[pair] / num for pair in chosen]
    error = fourier.assemble(dict(zip(chosen, values, strict=True)), height, width, radius)
    trained.run_dir.fourier_file.unlink()
    return {
        "stamp": stamp,
        "norm": norm,
        "image_size": [height, width],
        "clean_error": clean,
        "mean_error": float(np.mean(error)),
        "highest_error": float(np.max(error)),
        "error": error.tolist(),
    }


def _errors_so_far(path, stamp, chosen, predict, batches) -> dict[tuple[int, int], int]:
    """Counts errors at every frequency; skips those in the file."""
    lines = [line for line in files.read_json_lines(path) if line["stamp"] == stamp]
    files.rewrite_json_lines(path, lines, checksum=True)
    errors = {(i, j): wrong for line in lines for i, j, wrong in line["errors"]}
    left = [pair for pair in chosen if pair not in errors]
    with Progress("", len(chosen), len(chosen) - len(left), unit="frequency") as display:
        display.begin("adding frequencies")
        for first in range(0, len(left), FOURIER_CHUNK):
            chunk = left[first : first + FOURIER_CHUNK]
            wrong = fourier.count_errors(
                jax.random.key(0), predict, batches, chunk, norm=stamp["norm"]
            ).tolist()
            errors |= dict(zip(chunk, wrong, strict=True))
            rows = [[*pair, errors[pair]] for pair in chunk]
            files.append_json_line(path, {"stamp": stamp, "errors": rows}, checksum=True)
            display.advance(len(chunk))
    return errors


@functools.partial(jax.jit, static_argnames="model")
def _top(model: nn.Module, variables: dict[str, Any], image: jax.Array) -> jax.Array:
    return model.apply(variables, image, train=False).argmax(-1)


def _image_size(trained: Trained) -> tuple[int, int]:
    image = trained.dataset.test.input
    if image.ndim != 4:
        raise ValueError(
            f"--fourier: {trained.config.dataset!r} holds examples of shape {image.shape[1:]}, "
            "expected images [height, width, channels]"
        )
    if image.dtype != np.uint8 and not 0 <= image.min() <= image.max() <= 1:
        raise ValueError(
            f"--fourier: {trained.config.dataset!r} has values from {image.min():g} to "
            f"{image.max():g}; expected pixels in [0, 1]: scale the data before training"
        )
    return image.shape[1], image.shape[2]


def default_norm(height: int, width: int) -> float:
    """Returns 4 at 32 px and 15.7 at 224 px, as Yin et al.; else proportional to the side."""
    side = (height * width) ** 0.5
    return side * (4 / 32 if side < 64 else 15.7 / 224)


def default_radius(height: int, width: int) -> int | None:
    """Returns None (all frequencies) below 64 px, and 31 (63 x 63 frequencies) above."""
    return None if min(height, width) < 64 else 31
