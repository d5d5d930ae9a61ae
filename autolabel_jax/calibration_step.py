"""Measures the model on held-out inputs in every bucket, in a full pass or in some visits.

dataset → augment → (image, distance) → bucket → model → BucketStats.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, cast

import jax
import numpy as np

from autolabel_jax import buckets, calibration, input_pipeline, visits
from autolabel_jax.experiment import Experiment, apply_augmentation, inference_variables
from autolabel_jax.types import Array, Batch, BucketStats, ConfusionStats, TrainState

SUBSET = 2**31 - 1  # folded into a key like the indices of buckets, which are smaller


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
    """Computes statistics of inputs that are moved by distances drawn inside given buckets.

    Inputs are neither cropped nor flipped, and the model is in inference mode. If distances are
    given with the data, each example counts in the bucket of its distance, and ``bucket`` has no
    effect. If the augmentation rounds distances, it counts in the bucket of the rounded one.

    Args:
      state: state of the run.
      whole: calibration split [n, ...].
      rows: int32 [B], rows of the split; rows past its end do not count.
      bucket: int32 [B] in [0, N).
      key: typed key of this batch.
      experiment: fixed parts of the run.

    Returns:
      BucketStats [N, R] of the batch; ConfusionStats for a rule that reads the confusion.
    """
    batch = input_pipeline.take(whole, rows, experiment.mesh)
    draw_key, apply_key = jax.random.split(key)
    variables = inference_variables(state)
    distance = buckets.draw_inside(draw_key, bucket, experiment.calibration_edges)
    augmented = apply_augmentation(experiment, variables, batch, apply_key, distance)
    if experiment.augmentation.distance_is_given:
        bucket = buckets.bucket_index(augmented.distance, experiment.edges)
    elif experiment.augmentation.rounds:
        bucket = buckets.bucket_index(augmented.distance, experiment.calibration_edges)
    logits = cast("jax.Array", experiment.model.apply(variables, augmented.input, train=False))
    stats = calibration.bucket_stats(
        logits,
        augmented.label,
        bucket,
        num_buckets=experiment.num_buckets,
        num_bins=experiment.num_bins,
        mask=batch.mask,
    )
    if not experiment.rule.reads_confusion:
        return stats
    confusion = calibration.confusion(
        logits,
        augmented.label,
        augmented.second_label,
        bucket,
        num_buckets=experiment.num_buckets,
        mask=batch.mask,
    )
    return ConfusionStats(**vars(stats), confusion=confusion)


def choose(key: jax.Array, num_examples: int, num: int) -> np.ndarray | None:
    """Draws the examples of one update without replacement.

    Args:
      key: typed key of the epoch's calibration.
      num_examples: number of examples in the calibration split.
      num: number of examples per update (0 = all).

    Returns:
      Rows of the split, int [num], increasing; None for all.
    """
    if num == 0 or num >= num_examples:
        return None
    order = jax.random.permutation(jax.random.fold_in(key, SUBSET), num_examples)
    return np.sort(np.asarray(order[:num]))


def num_steps(num_examples: int, num: int, *, experiment: Experiment) -> int:
    """Returns the number of steps of an update; the numbers are those of ``choose``."""
    if experiment.visits:
        return visits.num_steps(experiment.visits, experiment.eval_batch_size)
    chosen = min(num or num_examples, num_examples)
    size = input_pipeline.padded_batch_size(chosen, experiment.eval_batch_size, experiment.mesh)
    return experiment.num_passes * -(-chosen // size)


def calibrate(
    state: TrainState,
    whole: Batch,
    key: jax.Array,
    *,
    step: CalibrationStep,
    experiment: Experiment,
    chosen: np.ndarray | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> BucketStats:
    """Measures every example once in every bucket.

    Args:
      state: state of the run.
      whole: calibration split [n, ...].
      key: typed key of the epoch's calibration.
      step: ``calibration_step`` with its experiment bound, compiled.
      experiment: fixed parts of the run.
      chosen: int [m], rows of this pass; None for all n.
      on_step: called after each step, to show progress.

    Returns:
      BucketStats [N, R] with n (or m) examples in each bucket; if distances are given with the
      data, with n (or m) examples in total.
    """
    total = experiment.empty_stats()
    for batch in plan(whole, key, experiment=experiment, chosen=chosen):
        total = calibration.merge(total, step(state, whole, *batch))
        on_step()
    return total


def visit(
    state: TrainState,
    whole: Batch,
    key: jax.Array,
    *,
    step: CalibrationStep,
    experiment: Experiment,
    order: np.ndarray,
    epoch: int,
    on_step: Callable[[], None] = lambda: None,
) -> BucketStats:
    """Measures ``experiment.visits`` pairs of an example and a bucket, see ``visits``.

    Args:
      state: state of the run.
      whole: calibration split [n, ...].
      key: typed key of the epoch's calibration.
      step: as in ``calibrate``.
      experiment: fixed parts of the run.
      order: int [n], order of the examples, the same in all epochs.
      epoch: index of the epoch.
      on_step: called after each step, to show progress.
    """
    total = experiment.empty_stats()
    steps = num_steps(len(order), 0, experiment=experiment)
    size = experiment.visits // steps
    for i in range(steps):
        first = epoch * experiment.visits + i * size
        rows, bucket = visits.place(first, size, order, experiment.num_buckets)
        part = step(state, whole, rows, bucket, jax.random.fold_in(key, i))
        total = calibration.merge(total, part)
        on_step()
    return total


def plan(
    whole: Batch, key: jax.Array, *, experiment: Experiment, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, jax.Array]]:
    """Yields (rows, bucket, key) of each step of a pass; arguments are those of ``calibrate``."""
    batches = input_pipeline.padded_rows(whole, experiment.eval_batch_size, experiment.mesh, chosen)
    for n in range(experiment.num_passes):
        bucket_key = jax.random.fold_in(key, n)
        for i, rows in enumerate(batches):
            bucket = np.full(len(rows), n, np.int32)
            yield rows, bucket, jax.random.fold_in(bucket_key, i)
