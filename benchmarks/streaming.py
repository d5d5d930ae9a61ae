"""Measures how long the device waits for photographs, compared with training from memory.

    python -m benchmarks.streaming --folder=FOLDER --workers=4,8,14    # JPEG files, ResNet-50
    python -m benchmarks.streaming --tiny                              # a test of the benchmark

It measures three speeds in images per second: training steps on one batch that is on the device
already; the host's pipeline alone, for each number of --workers; and training fed by that pipeline,
with the last of these numbers. The device waits for the share 1 - fed / device of its time. Steps
are those of a run, with the augmentation on the device, and their metrics are read one step late.
Each speed is a median over groups of steps, and starts after the batches that workers prepared in
advance are used up. A folder of few files is read repeatedly as one long epoch with other crops
each time, so it comes from memory and the disk is not measured.
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autolabel_jax import datasets, input_pipeline, processes, train_step
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.datasets import Dataset, StreamedSplit, loader
from benchmarks import harness
from benchmarks.input_pipeline import open_records
from configs import imagenet_augmix, imagenet_one_hot

CONFIGS = {"none": imagenet_one_hot, "augmix": imagenet_augmix}
NUM_CLASSES = 1000
DEFAULTS = {"batch_size": 256, "groups": 5, "steps": 8, "workers": "1,2", "images": 200}
TINY = {"batch_size": 16, "groups": 2, "steps": 2, "workers": "1", "images": 16}


def warmup(workers: int, batch_size: int) -> int:
    """Returns the number of batches that workers prepare in advance, plus three."""
    blocks = workers * loader.BUFFERED
    return input_pipeline.AHEAD + -(-blocks * loader.BLOCK // batch_size) + 3


def repeated(split: StreamedSplit, arguments: argparse.Namespace) -> StreamedSplit:
    """Repeats the split in one epoch that is longer than any measurement."""
    batches = warmup(split.workers, arguments.batch_size) + arguments.groups * arguments.steps
    rows = np.arange((batches + input_pipeline.AHEAD) * arguments.batch_size) % len(split)
    return split.take(rows)


def measure(
    call: Callable[[], Any], workers: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Returns images per second of a call that handles a batch, and the cores this process uses."""
    timing = harness.time_calls(
        call,
        arguments.groups,
        inner=arguments.steps,
        warmup=warmup(workers, arguments.batch_size),
    )
    return {
        "images_per_second": round(arguments.batch_size / timing.wall, 2),
        "cores": round(timing.cpu / timing.wall, 2),
    }


def host_speed(split: StreamedSplit, arguments: argparse.Namespace) -> dict[str, float]:
    """Measures training batches that workers decode into the host's memory."""
    split, size = repeated(split, arguments), arguments.batch_size
    steps = len(split) // size
    plan = loader.Training(split, 0, size, steps, np.arange(size))
    with contextlib.closing(loader.host_batches(plan, 0, steps)) as batches:
        return measure(lambda: next(batches), split.workers, arguments)


def training_speeds(
    augment: str, split: StreamedSplit, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measures training from one batch on the device, then from batches of the workers."""
    config = CONFIGS[augment].get_config("tiny" if arguments.tiny else None)
    config.batch_size = arguments.batch_size
    split, mesh = repeated(split, arguments), input_pipeline.make_mesh()
    moments = np.float32(datasets.PHOTOGRAPH_MEAN), np.float32(datasets.PHOTOGRAPH_STD)
    dataset = Dataset("photographs", split, split, split, NUM_CLASSES, None, *moments)
    experiment = experiment_lib.create(config, dataset, mesh)
    steps = jax.jit(
        functools.partial(train_step.train_steps, experiment=experiment),
        static_argnames="num_steps",
        donate_argnames="state",
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    key = input_pipeline.epoch_key(0, 0, 1)
    state = experiment_lib.init_state(experiment, 0, split.input.shape[1:])
    # Placed as the steps return it, because otherwise the second step compiles another program.
    held = {"state": processes.replicate(state, mesh), "metrics": None}

    def step(examples: Any, order: jax.Array, num_steps: int) -> None:
        before = held["metrics"]
        held["state"], held["metrics"] = steps(
            held["state"], examples, order, key, np.int32(0), num_steps=num_steps
        )
        jax.block_until_ready(before)

    first = next(
        batches(dataclasses.replace(split, workers=0), experiment)
    )  # without workers, its threads start at once
    result = {"device": measure(lambda: step(*first), 0, arguments)}
    print(augment, result, flush=True)
    with contextlib.closing(batches(split, experiment)) as fed:
        result["fed"] = measure(lambda: step(*next(fed)), split.workers, arguments)
    result["loss"] = float(held["metrics"].loss[-1]) / experiment.batch_size
    return result


def batches(
    split: StreamedSplit, experiment: experiment_lib.Experiment
) -> Iterator[input_pipeline.Dispatch]:
    """Yields the dispatches of an epoch as in training; closing it ends the workers."""
    source = input_pipeline.training_batches(
        split,
        seed=0,
        batch_size=experiment.batch_size,
        steps_per_epoch=experiment.steps_per_epoch,
        epochs=1,
        most_steps=1,
        mesh=experiment.mesh,
    )
    with contextlib.closing(source):
        yield from source.epoch(0, 0)


def tables(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Prints all results of these settings that the file holds."""
    rows = []
    for workers in arguments.workers:
        line = recorder.result(what="host", workers=workers)
        if line:
            rows.append((str(workers), *speed(line)))
    harness.print_table(("host alone: workers", "images/s", "cores of the main process"), rows)
    rows = []
    for augment in arguments.augment:
        line = recorder.result(what="training", augment=augment)
        if line:
            device, fed = line["device"], line["fed"]
            waits = 1 - fed["images_per_second"] / device["images_per_second"]
            rows.append((augment, speed(device)[0], *speed(fed), f"{100 * waits:.1f} %"))
    print()
    header = ("augmentation", "on the device, images/s", "fed", "cores of the main process")
    harness.print_table((*header, "the device waits"), rows)


def speed(result: dict[str, float]) -> tuple[str, str]:
    """Formats the result of ``measure`` as cells."""
    return f"{result['images_per_second']:,.0f}", f"{result['cores']:.2f}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line; None reads ``sys.argv``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", default="", help="folder of images (empty = generated files)")
    parser.add_argument("--dataset", default="", help="name of a prepared TFDS set")
    parser.add_argument("--data_dir", default="", help="folder of the TFDS set")
    parser.add_argument("--images", type=int, help="number of generated files")
    parser.add_argument(
        "--workers", help="numbers of decoding processes, comma-separated; training uses the last"
    )
    parser.add_argument(
        "--augment", default="", help=f"some of: {', '.join(CONFIGS)} (empty = all)"
    )
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--steps", type=int, help="steps per timed group")
    parser.add_argument("--groups", type=int, help="number of timed groups")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no measurement after this time"
    )
    parser.add_argument("--out", help="file of JSON lines that later runs extend")
    parser.add_argument("--tiny", action="store_true", help="run in seconds, to test the benchmark")
    arguments = parser.parse_args(argv)
    for field, value in (DEFAULTS | (TINY if arguments.tiny else {})).items():
        if getattr(arguments, field) is None:
            setattr(arguments, field, value)
    arguments.workers = [int(number) for number in arguments.workers.split(",")]
    arguments.augment = harness.chosen(CONFIGS, arguments.augment)
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    device = jax.devices()[0]
    hardware = f"jax {jax.__version__}, {jax.device_count()} x {device.device_kind}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        recorder = harness.Recorder(
            arguments.out or folder / "streaming.jsonl", seconds=arguments.seconds
        )
        records, name = open_records(arguments, folder / "generated")
        size = imagenet_one_hot.get_config("tiny" if arguments.tiny else None).image_size
        split = StreamedSplit(records, np.arange(len(records)), size, 0)
        print(f"{hardware}; {harness.processor()}; {harness.load()}", flush=True)
        print(f"{len(split)} images of {name}, to {size} px", flush=True)
        for workers in arguments.workers:
            own = dataclasses.replace(split, workers=workers)
            recorder.run(
                {"what": "host", "workers": workers},
                functools.partial(host_speed, own, arguments),
            )
        for augment in arguments.augment:
            recorder.run(
                {"what": "training", "augment": augment, "workers": own.workers},
                functools.partial(training_speeds, augment, own, arguments),
            )
        print()
        tables(arguments, recorder)


if __name__ == "__main__":
    main()
