"""Seconds of a training step for S seeds: all in one program by vmap, against one after another.

    python -m benchmarks.vmap_seeds                                # the small networks, S = 1 2 5 8
    python -m benchmarks.vmap_seeds --models=mlp --seeds=1,8 --repeats=20

A step is augmentation (--augment), soft labels, gradient and update, on a batch
that is already on the device. Both sides are measured in turns in one process; medians of the
repeats, compilation and a first call left out. On an accelerator a call is 20 steps in one
dispatch, as in training; on the CPU it is one step. The ratio is "one after another" over
"vmap": above 1, vmap pays. Whole runs: ``benchmarks/seed_runs.py``.
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import checkpoint, input_pipeline, seed_stack, task, train
from autolabel_jax.datasets import Dataset, Split
from benchmarks import harness
from configs import base

STEPS = 20  # of a dispatch, on accelerators
# name: (settings of the config, shape of an image)
NETWORKS = {
    "mlp": ({"model.name": "mlp", "model.width": 256, "batch_size": 50}, (8, 8, 1)),
    "small_cnn": ({"model.name": "small_cnn", "model.width": 16, "batch_size": 64}, (32, 32, 3)),
}


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
    mesh, runs = input_pipeline.make_mesh(), []
    for seed in range(seeds):
        config = make_config(settings, dtype, augmentation)
        config.seed = seed
        dataset = make_dataset(shape, seed)
        parts = task.create(config, dataset, mesh)
        runs.append(train.make_run(config, parts, dataset, None, None, None))  # never saved
    every = seed_stack.create(runs)
    num = len(dataset.train.label)
    order = [input_pipeline.epoch_order(seed, 0, num) for seed in range(seeds)]
    keys = every.keys(0, train.TRAINING)
    alone = [
        (run.batches.whole, *rest, np.int32(0))
        for run, *rest in zip(runs, order, keys, strict=True)
    ]
    together = (every.whole, jnp.stack(order), jnp.stack(keys), np.int32(0))

    def new_states():
        return [checkpoint.first_snapshot(parts, seed, shape).state for seed in range(seeds)]

    # One program for all, as edges of equal width are the same.
    single = functools.partial(runs[0].train_steps, num_steps=num_steps)
    vmapped = functools.partial(every.train_steps, every.edges, num_steps=num_steps)
    return (
        Side(single, new_states(), alone),
        Side(vmapped, [seed_stack.stack(new_states())], [together]),
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
