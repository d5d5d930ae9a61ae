"""Runs that differ in their seed, as one: arrays stacked on a first axis [S, ...], steps vmapped.

Each seed has its own split of training and calibration images, so whole splits are stacked.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autolabel_jax import (
    calibration,
    calibration_step,
    evaluate,
    image_ops,
    input_pipeline,
    task,
    train,
    train_step,
)
from autolabel_jax.train import NonFiniteLossError
from autolabel_jax.types import Batch, BucketStats, LabelState, StepMetrics, TrainState


@dataclasses.dataclass
class Seeds:
    """The runs and what they share; arrays and what the functions take are stacked."""

    runs: list[train.Run]
    task: task.Task  # of the first run; the others have their own edges only
    edges: tuple[jax.Array, jax.Array]  # of training and calibration, float32 [S, M + 1]
    whole: Batch  # the training splits [S, n, ...]
    calibration: Batch  # the calibration splits [S, m, ...]
    train_steps: Callable[..., tuple[TrainState, StepMetrics]]
    calibration_step: Callable[..., BucketStats]
    update_labels: Callable[[LabelState, BucketStats], LabelState]
    logits: Callable[..., jax.Array]  # of rows of the calibration splits
    errors: dict[int, NonFiniteLossError] = dataclasses.field(default_factory=dict)

    def guarded(self, s: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls it for a run; a run that diverges is left out from then on, the others go on."""
        try:
            return function(self.runs[s], *arguments)
        except NonFiniteLossError as error:
            self.errors[s] = error

    def going(self) -> list[int]:
        """Places of the runs that have not diverged."""
        return [s for s in range(len(self.runs)) if s not in self.errors]

    def keys(self, epoch: int, purpose: int) -> list[jax.Array]:
        """Each run's key of the epoch."""
        seeds = (run.config.seed for run in self.runs)
        return [input_pipeline.epoch_key(seed, epoch, purpose) for seed in seeds]


def create(runs: list[train.Run]) -> Seeds:
    """Stacks what the runs have on the device, and vmaps what they do there.

    Args:
      runs: from ``train.make_run``, of configs that differ in nothing but ``seed``.
    """
    parts = runs[0].task

    def bind(edges):
        return dataclasses.replace(parts, edges=edges[0], calibration_edges=edges[1])

    def train_steps(edges, state, whole, order, key, first_step, num_steps):
        def one(edges, *arguments):
            steps = train_step.train_steps
            return steps(*arguments, first_step, num_steps=num_steps, task=bind(edges))

        return jax.vmap(one)(edges, state, whole, order, key)

    def bucket_stats(edges, *arguments):
        return calibration_step.calibration_step(*arguments, task=bind(edges))

    def logits(variables, whole, rows):
        image = input_pipeline.take(whole, rows, parts.mesh).image
        return parts.model.apply(variables, image_ops.to_float(image), train=False)

    # Whole on every device, as ``train.make_run`` has it.
    jit = functools.partial(jax.jit, out_shardings=NamedSharding(parts.mesh, PartitionSpec()))

    return Seeds(
        runs=runs,
        task=parts,
        edges=stack([(run.task.edges, run.task.calibration_edges) for run in runs]),
        whole=stack([run.batches.whole for run in runs]),
        calibration=stack([run.calibration for run in runs]),
        train_steps=jit(train_steps, static_argnames="num_steps", donate_argnames="state"),
        calibration_step=jit(jax.vmap(bucket_stats)),
        update_labels=jit(jax.vmap(parts.rule.update)),
        logits=jit(jax.vmap(logits, (0, 0, None))),
    )


def stack(trees: Sequence[Any]) -> Any:
    """One tree of arrays with a first axis of seeds."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def pick(tree: Any, s: int) -> Any:
    """What ``stack`` was given s-th."""
    return jax.tree.map(lambda leaf: leaf[s], tree)


def measure(
    seeds: Seeds, state: TrainState, epoch: int
) -> tuple[BucketStats, list[dict[str, float]]]:
    """Calibration on augmented held-out images by bucket, and on all the clean ones.

    Args:
      seeds: the runs.
      state: of all of them, stacked; only read.
      epoch: that has just been trained.

    Returns:
      BucketStats [S, N, R], and ``evaluate.scores`` of each run.
    """
    config, parts = seeds.runs[0].config, seeds.task
    held_out = seeds.runs[0].calibration  # of any, for its size
    plans = []
    for key in seeds.keys(epoch, train.CALIBRATION):
        most = config.calibration.images_per_update
        chosen = calibration_step.choose(key, len(held_out.label), most)
        plans.append(calibration_step.plan(held_out, key, task=parts, chosen=chosen))
    total = calibration.empty_stats(parts.num_buckets, parts.num_bins)
    for batches in zip(*plans, strict=True):
        rows, bucket, key = zip(*batches, strict=True)
        drawn = np.stack(rows), np.stack(bucket), jnp.stack(key)
        stats = seeds.calibration_step(seeds.edges, state, seeds.calibration, *drawn)
        total = calibration.merge(total, stats)
    rows = input_pipeline.padded_rows(held_out, parts.eval_batch_size, parts.mesh)
    variables = task.inference_variables(state)
    logits = jax.device_get([seeds.logits(variables, seeds.calibration, part) for part in rows])
    logits = np.concatenate(logits, axis=1)[:, : len(held_out.label)]
    labels = np.asarray(seeds.calibration.label)
    return total, [evaluate.scores(*own) for own in zip(logits, labels, strict=True)]
