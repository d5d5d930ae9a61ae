"""Seconds of a training step for S seeds: all in one program by vmap, against one after another.

    python -m benchmarks.vmap_seeds                                # the small networks, S = 1 2 5 8
    python -m benchmarks.vmap_seeds --models=mlp --seeds=1,8 --repeats=20

A step is augmentation (--augment), soft labels, gradient and update, on a batch
that is already on the device. Both sides are measured in turns in one process; medians of the
repeats, compilation and a first call left out. On an accelerator a call is 20 steps in one
dispatch, as in training; on the CPU it is one step. The ratio is "one after another" over
"vmap": above 1, vmap pays.
"""

import argparse
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import input_pipeline, models, task, train_step
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.task import Task
from autolabel_jax.types import Batch, StepMetrics, TrainState
from benchmarks import harness
from configs import base

STEPS = 20  # of a dispatch, on accelerators
# name: (settings of the config, shape of an image)
NETWORKS = {
    "mlp": ({"model.name": "mlp", "model.width": 256, "batch_size": 50}, (8, 8, 1)),
    "small_cnn": ({"model.name": "small_cnn", "model.width": 16, "batch_size": 64}, (32, 32, 3)),
}


@dataclasses.dataclass(frozen=True)
class Normalised:
    """A classifier whose moments are arrays, so that each seed can have its own.

    ``apply`` is that of the Flax module; the parameters are the same.
    """

    net: nn.Module  # a ``models.Classifier`` with mean 0 and standard deviation 1
    mean: jax.Array
    std: jax.Array

    def apply(self, variables: dict[str, Any], image: jax.Array, **settings) -> Any:
        """As ``nn.Module.apply``."""
        return self.net.apply(variables, (image - self.mean) / self.std, **settings)


def own_arrays(parts: Task) -> dict[str, np.ndarray]:
    """What differs between the tasks of two seeds: moments [C] and edges [M + 1]."""
    model = parts.model
    return {
        "mean": np.float32(model.mean),
        "std": np.float32(model.std),
        "edges": parts.edges,
    }


def bind(parts: Task, own: dict[str, jax.Array]) -> Task:
    """The task of one seed, from that of any and its own arrays."""
    model = models.Classifier(net=parts.model.net, mean=(0.0,), std=(1.0,))
    return dataclasses.replace(
        parts,
        model=Normalised(model, own["mean"], own["std"]),
        edges=own["edges"],
    )


def stack(trees: Sequence[Any]) -> Any:
    """One tree of arrays with a first axis of seeds."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def make_train_steps(parts: Task) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """``train_step.train_steps`` over seeds, jitted; the state is donated.

    Takes (own arrays, state, training split, order, key), all stacked, the first step, and
    ``num_steps``; returns state [S, ...] and metrics [S, num_steps].
    """

    def one(own, state: TrainState, whole: Batch, order, key, first_step, *, num_steps):
        task = bind(parts, own)
        return train_step.train_steps(
            state, whole, order, key, first_step, num_steps=num_steps, task=task
        )

    def every(own, state, whole, order, key, first_step, num_steps):
        over = jax.vmap(functools.partial(one, num_steps=num_steps), (0, 0, 0, 0, 0, None))
        return over(own, state, whole, order, key, first_step)

    return jax.jit(every, static_argnames="num_steps", donate_argnames="state")


def make_config(settings: dict, dtype: str, augmentation: str):
    """The config of a network, with AutoLabel."""
    config = base.base()
    config.update_from_flattened_dict({**settings, "dtype": dtype, "buckets.num": 3})
    config.augment.name = augmentation
    config.crop_pad, config.flip = 0, False
    return config


def make_dataset(shape: tuple[int, ...], seed: int, num: int = 2000) -> Dataset:
    """Noise, as ``datasets.load`` gives a data set."""
    rng = np.random.default_rng(seed)
    split = Split(
        image=rng.integers(0, 256, (num, *shape), dtype=np.uint8),
        label=rng.integers(0, 10, num).astype(np.int32),
        distance=None,
        index=np.arange(num),
    )
    moments = np.full(shape[-1], 0.5, np.float32), np.full(shape[-1], 0.3, np.float32)
    return Dataset(
        name="noise", train=split, calibration=split, test=split, num_classes=10,
        class_names=None, mean=moments[0], std=moments[1],
    )  # fmt: skip


class Side:
    """One way to take a step for all seeds; ``call`` takes it and waits for it."""

    def __init__(self, step, states, arguments):
        self._step, self.states, self._arguments = step, states, arguments
        self.times = []

    def call(self, count: bool = True) -> None:
        start = time.perf_counter()
        for i, arguments in enumerate(self._arguments):
            self.states[i], _ = self._step(self.states[i], *arguments)
        jax.block_until_ready(self.states)
        if count:
            self.times.append(time.perf_counter() - start)


def sides(
    name: str, seeds: int, dtype: str, augmentation: str, num_steps: int
) -> tuple[Side, Side]:
    """(one after another, vmap)."""
    settings, shape = NETWORKS[name]
    config, mesh = make_config(settings, dtype, augmentation), input_pipeline.make_mesh()
    alone, together = [], []
    for seed in range(seeds):
        dataset = make_dataset(shape, seed)
        parts = task.create(config, dataset, mesh)
        whole = input_pipeline.put_split(dataset.train, mesh)
        order = input_pipeline.epoch_order(seed, 0, len(dataset.train.label))
        key = input_pipeline.epoch_key(seed, 0, 1)
        alone.append((whole, order, key, np.int32(0)))
        together.append((own_arrays(parts), whole, order, key))

    def new_states():
        return [task.init_state(parts, seed, shape) for seed in range(seeds)]

    single = jax.jit(
        lambda state, *rest: train_step.train_steps(state, *rest, num_steps=num_steps, task=parts),
        donate_argnums=0,
    )
    every = make_train_steps(parts)
    own, *arguments = map(stack, zip(*together, strict=True))

    def vmapped(state, *rest):
        return every(own, state, *rest, np.int32(0), num_steps=num_steps)

    return (
        Side(single, new_states(), alone),
        Side(vmapped, [stack(new_states())], [arguments]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="1,2,5,8")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dtype", default="float32", help="of activations")
    parser.add_argument("--augment", default="augmix", help="augment.name of the config")
    arguments = parser.parse_args()
    device = jax.devices()[0]
    num_steps = 1 if device.platform == "cpu" else STEPS
    print(f"jax {jax.__version__}, {jax.device_count()} x {device.device_kind}, {harness.load()}")
    print(f"{harness.processor()}; {arguments}; {num_steps} steps a call")
    rows = []
    for name in harness.chosen(NETWORKS, arguments.models):
        for seeds in map(int, arguments.seeds.split(",")):
            both = sides(name, seeds, arguments.dtype, arguments.augment, num_steps)
            for _ in range(2):
                for side in both:
                    side.call(count=False)
            for _ in range(arguments.repeats):
                for side in both:
                    side.call()
            serial, vmapped = (1e3 * statistics.median(s.times) / num_steps for s in both)
            ratio = f"{serial / vmapped:.2f}"
            rows.append((name, str(seeds), f"{serial:.2f}", f"{vmapped:.2f}", ratio))
            print(*rows[-1], flush=True)
    header = ("network", "seeds", "one after another, ms a step", "vmap, ms a step", "ratio")
    harness.print_table(header, rows)


if __name__ == "__main__":
    main()
