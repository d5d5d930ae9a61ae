"""Measures the cost of labels in a training step, and of the look-up alone.

Steps of two label rules alternate. ``benchmarks/calibration.py`` runs these measurements.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import buckets, input_pipeline, processes
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.datasets import Dataset
from autolabel_jax.types import Distance
from benchmarks import harness
from benchmarks import train_step_jax as own

RULES = ("autolabel", "one_hot")  # whose steps alternate
LOOK_UPS = 1000


def train_call(
    experiment: experiment_lib.Experiment, dataset: Dataset, num_steps: int
) -> Callable[[], None]:
    """Makes a call that takes training steps and waits for the last."""
    whole = input_pipeline.put_split(dataset.train, experiment.mesh)
    order = input_pipeline.epoch_order(0, 0, len(dataset.train.label))
    steps, key = own.jitted_steps(experiment), jax.random.key(0)
    state = experiment_lib.init_state(experiment, 0, (own.SIDE, own.SIDE, 3))
    # Placed as the steps return it, because otherwise the second call compiles another program.
    held = {"state": processes.replicate(state, experiment.mesh)}  # donated

    def train() -> None:
        held["state"], metrics = steps(
            held["state"], whole, order, key, np.int32(0), num_steps=num_steps
        )
        jax.block_until_ready(metrics)

    return train


def in_turns(train: dict[str, Callable[[], None]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns, per clock, seconds of a step by label rule and quartiles of their differences."""
    turns = {rule: [] for rule in train}
    for _ in range(arguments.turns):
        for rule, call in train.items():
            turns[rule].append(harness.time_calls(call, 1, warmup=0))
    result = {}
    for clock in ("wall", "cpu"):
        seconds = {
            rule: [getattr(timing, clock) / arguments.steps for timing in timings]
            for rule, timings in turns.items()
        }
        pairs = zip(*seconds.values(), strict=True)
        quartiles = statistics.quantiles([first - second for first, second in pairs], n=4)
        result[clock] = {rule: statistics.median(values) for rule, values in seconds.items()}
        result[clock]["difference"] = [quartiles[0], quartiles[2]]
    return result


def look_up(
    experiment: experiment_lib.Experiment, labels: Any, batch_size: int
) -> Callable[[], None]:
    """Makes a call that computes soft labels from the distances of a batch, LOOK_UPS times."""
    distance = experiment.augmentation.draw(jax.random.key(0), batch_size)
    label = jnp.arange(batch_size, dtype=jnp.int32) % experiment.num_classes
    weight = distance.value / 2

    @jax.jit
    def many(labels: Any, distance: Distance, label: jax.Array, weight: jax.Array) -> jax.Array:
        def one(before: jax.Array, _: None) -> tuple[jax.Array, None]:
            # Each look-up depends on the one before, so that XLA removes none.
            moved = distance.replace(value=distance.value + 1e-12 * before[:, 0])
            soft_label = experiment.rule.soft_labels(
                labels,
                label,
                buckets.bucket_index(moved, experiment.edges),
                num_classes=experiment.num_classes,
                distance=moved,
                second_label=label,
                second_weight=weight,
            )
            return soft_label, None

        first = jnp.zeros((batch_size, experiment.num_classes))
        return jax.lax.scan(one, first, None, length=LOOK_UPS)[0]

    def call() -> None:
        many(labels, distance, label, weight).block_until_ready()

    return call


def step_row(line: dict[str, Any], clock: str) -> tuple[str, ...]:
    """Returns the cells of a training step."""
    steps, alone = line["step"][clock], line["look_up"][clock]
    ours, theirs = (steps[rule] for rule in RULES)
    return (
        line["key"]["augment"],
        f"{1e3 * ours:.4g}",
        f"{1e3 * theirs:.4g}",
        f"{1e6 * (ours - theirs):.1f}",
        " to ".join(f"{1e6 * quartile:.1f}" for quartile in steps["difference"]),
        f"{100 * (ours / theirs - 1):.2f} %",
        f"{1e6 * alone:.3g}",
        f"{100 * alone / theirs:.3f} %",
    )
