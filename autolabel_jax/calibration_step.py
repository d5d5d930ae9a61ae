"""The calibration pass: held-out images in every bucket → BucketStats.

dataset → augment → (image, distance) → bucket → model → BucketStats.
"""

from collections.abc import Iterator
from typing import Protocol, cast

import jax
import numpy as np

from autolabel_jax import buckets, calibration, input_pipeline
from autolabel_jax.experiment import Experiment, apply_augmentation, inference_variables
from autolabel_jax.types import Array, Batch, BucketStats, TrainState

SUBSET = 2**31 - 1  # folded into a key beside the numbers of buckets, which are small


class CalibrationStep(Protocol):
    """Is ``calibration_step`` with its experiment bound."""

    def __call__(
        self, state: TrainState, whole: Batch, rows: Array, bucket: Array, key: jax.Array
    ) -> BucketStats:
        """Computes the statistics of one batch, see ``calibration_step``."""
        ...


def calibration_step(
    state: TrainState,
    whole: Batch,
    rows: jax.Array,
    bucket: jax.Array,
    key: jax.Array,
    *,
    experiment: Experiment,
) -> BucketStats:
    """Statistics of images moved by distances drawn inside given buckets.

    Images are neither cropped nor flipped; the model is in inference mode.
    Where the distances are the data's own, each example counts in its own
    bucket, whatever ``bucket`` is.

    Args:
      state: only read.
      whole: the calibration split [n, ...].
      rows: int32 [B]; those past its end do not count.
      bucket: int32 [B] in [0, N).
      key: typed key of this batch alone.
      experiment: the fixed parts of the run.

    Returns:
      BucketStats [N, R] of the batch.
    """
    batch = input_pipeline.take(whole, rows, experiment.mesh)
    draw_key, apply_key = jax.random.split(key)
    variables = inference_variables(state)
    distance = buckets.draw_inside(draw_key, bucket, experiment.calibration_edges)
    augmented = apply_augmentation(experiment, variables, batch, apply_key, distance)
    if experiment.augmentation.distance_is_given:
        bucket = buckets.bucket_index(augmented.distance, experiment.edges)
    logits = cast("jax.Array", experiment.model.apply(variables, augmented.input, train=False))
    return calibration.bucket_stats(
        logits,
        augmented.label,
        bucket,
        num_buckets=experiment.num_buckets,
        num_bins=experiment.num_bins,
        mask=batch.mask,
    )


def choose(key: jax.Array, num_examples: int, num: int) -> np.ndarray | None:
    """int [num], rising: the images of one update, drawn without replacement.

    Args:
      key: typed key of the epoch's calibration.
      num_examples: of the calibration split.
      num: images of an update; 0, or as many as there are, for all: None.
    """
    if num == 0 or num >= num_examples:
        return None
    order = jax.random.permutation(jax.random.fold_in(key, SUBSET), num_examples)
    return np.sort(np.asarray(order[:num]))


def calibrate(
    state: TrainState,
    whole: Batch,
    key: jax.Array,
    *,
    step: CalibrationStep,
    experiment: Experiment,
    chosen: np.ndarray | None = None,
) -> BucketStats:
    """The whole pass: every image in every bucket, once.

    Args:
      state: only read.
      whole: the calibration split [n, ...].
      key: typed key of the epoch's calibration.
      step: ``calibration_step`` with its experiment bound, jitted.
      experiment: the fixed parts of the run.
      chosen: int [m], the images of this pass; None: all n.

    Returns:
      BucketStats [N, R]; n (or m) examples in each bucket, or in all where
      distances are the data's own.
    """
    total = calibration.empty_stats(experiment.num_buckets, experiment.num_bins)
    for batch in plan(whole, key, experiment=experiment, chosen=chosen):
        total = calibration.merge(total, step(state, whole, *batch))
    return total


def plan(
    whole: Batch, key: jax.Array, *, experiment: Experiment, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, jax.Array]]:
    """(rows, bucket, key) of each ``calibration_step`` of a pass; arguments as ``calibrate``."""
    passes = 1 if experiment.augmentation.distance_is_given else experiment.num_buckets
    for n in range(passes):
        batches = input_pipeline.padded_rows(
            whole, experiment.eval_batch_size, experiment.mesh, chosen
        )
        bucket_key = jax.random.fold_in(key, n)
        for i, rows in enumerate(batches):
            bucket = np.full(len(rows), n, np.int32)
            yield rows, bucket, jax.random.fold_in(bucket_key, i)
