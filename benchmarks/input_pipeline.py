"""Measures how fast photographs reach the device: decode, random-resized-crop, workers, copy.

    python -m benchmarks.input_pipeline                                # generated JPEG files
    python -m benchmarks.input_pipeline --folder=FOLDER                # JPEG files of any subfolder
    python -m benchmarks.input_pipeline --dataset=imagenet2012 --data_dir=…       # a TFDS set
    python -m benchmarks.input_pipeline --device_rate=2500             # cores that this rate needs
    python -m benchmarks.input_pipeline --decoders                     # Pillow against others

One thread decodes the same images repeatedly. The table shows wall-clock time and the processor
time of this process, which other work on the machine disturbs less. Training batches come from
grain's worker processes and are timed without the first one. The generated files are smooth random
pictures of 500 x 375 pixels, whose JPEG is simpler than a photograph's, so they decode faster.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from autolabel_jax import input_pipeline
from autolabel_jax.datasets import StreamedSplit, folder, loader, tfds_streamed
from autolabel_jax.datasets.streamed import Records
from benchmarks import decoders, harness


def make_files(root: pathlib.Path, num: int) -> None:
    """Writes smooth random pictures, 500 x 375, of one class."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for i in range(num):
        coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        image.save(root / f"{i}.jpg", quality=90)


def open_records(arguments: argparse.Namespace, generated: pathlib.Path) -> tuple[Records, str]:
    """Opens the records to read; returns them and their name."""
    if arguments.dataset:
        return tfds_streamed.read(arguments.dataset, arguments.data_dir)[0], arguments.dataset
    root = pathlib.Path(arguments.folder or generated)
    if not arguments.folder:
        make_files(root, arguments.images)
    paths = [p for p in root.rglob("*") if p.suffix.lower() in folder.ENDINGS]
    if not paths:
        raise SystemExit(f"--folder={root}: holds no image")
    name = np.array(sorted(os.fsencode(path.relative_to(root)) for path in paths))
    label = np.arange(len(name), dtype=np.int32) % 1000  # arbitrary, as nothing is learned
    return folder.FolderRecords(str(root), name, label), str(root)


def decode_speed(split: StreamedSplit, training: bool, repeats: int) -> harness.Timing:
    """Times decoding one image on one thread."""

    def call() -> None:
        for row in range(len(split)):
            random = np.random.RandomState(row) if training else None
            split.square(row, random)

    timing = harness.time_calls(call, repeats)
    return harness.Timing(timing.wall / len(split), timing.cpu / len(split))


def compare_decoders(split: StreamedSplit, repeats: int) -> None:
    """Prints the speed of a random part by several libraries, and how far their pixels differ."""
    encoded, size = decoders.read(split), split.image_size
    rows, (found, missing) = [], decoders.find()
    for name, square in found.items():

        def call(square: decoders.Square = square) -> None:
            for row, file in enumerate(encoded):
                square(file, np.random.RandomState(row), size)

        rate = len(encoded) / harness.time_calls(call, repeats).cpu
        far = decoders.difference(square, encoded, size)
        rows.append((name, f"{rate:,.0f}", f"{far:.2f}"))
    header = ("random part, one thread", "images per CPU-second", "mean difference, grey levels")
    harness.print_table(header, rows)
    if missing:
        print(missing)


def worker_speed(split: StreamedSplit, batch_size: int, batches: int) -> float:
    """Returns training images per second on the host, from the second batch on."""
    steps = max(len(split) // batch_size, 1)
    plan = loader.Training(split, 0, batch_size, steps, np.arange(batch_size))
    stream = loader.host_batches(plan, 0, batches + 1)
    next(stream)
    start = time.perf_counter()
    for _ in stream:
        pass
    return batches * batch_size / (time.perf_counter() - start)


def copy_speed(batch_size: int, size: int, repeats: int) -> float:
    """Returns images per second copied from host memory to the devices."""
    mesh = input_pipeline.make_mesh()
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    image = np.zeros((batch_size, size, size, 3), np.uint8)

    def call() -> None:
        jax.block_until_ready(jax.make_array_from_process_local_data(sharding, image))

    return batch_size / harness.time_calls(call, repeats).wall


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="", help="folder of images, in any subfolders")
    parser.add_argument("--dataset", default="", help="name of a prepared TFDS set")
    parser.add_argument("--data_dir", default="", help="folder of the TFDS set")
    parser.add_argument(
        "--images", type=int, default=200, help="maximum number of images to decode"
    )
    parser.add_argument("--size", type=int, default=224, help="side in pixels")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument(
        "--batches", type=int, default=8, help="timed batches for each number of workers"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--device_rate", type=float, nargs="*", default=[2500, 7000], help="images per second"
    )
    parser.add_argument("--decoders", action="store_true", help="compare decoders alone")
    arguments = parser.parse_args(argv)
    device = jax.devices()[0]
    print(f"{harness.processor()}; {jax.device_count()} x {device.device_kind}; {harness.load()}")
    with tempfile.TemporaryDirectory() as temporary:
        records, name = open_records(arguments, pathlib.Path(temporary) / "generated")
        every = StreamedSplit(records, np.arange(len(records)), arguments.size, 0)
        chosen = np.random.default_rng(0).permutation(len(every))[: arguments.images]
        split = every.take(chosen)
        print(f"{name}: {len(split)} of {len(every)} images, to {arguments.size} px")
        if arguments.decoders:
            compare_decoders(split, arguments.repeats)
            return
        rows, rate = [], 0.0
        for training in (False, True):
            timing = decode_speed(split, training, arguments.repeats)
            what = "random part, one thread" if training else "middle, one thread"
            rate = 1 / timing.cpu
            rows.append((what, f"{1 / timing.wall:,.0f}", f"{rate:,.0f}"))
        for workers in arguments.workers:
            speeds = [
                worker_speed(
                    dataclasses.replace(split, workers=workers),
                    arguments.batch_size,
                    arguments.batches,
                )
                for _ in range(3)
            ]
            speed = f"{statistics.median(speeds):,.0f}"
            rows.append((f"random part, {workers} worker processes", speed, ""))
        copied = copy_speed(arguments.batch_size, arguments.size, arguments.repeats)
        rows.append(("host to device", f"{copied:,.0f}", ""))
    harness.print_table(("", "images/s", "per CPU-second"), rows)
    for wanted in arguments.device_rate:
        cores = math.ceil(wanted / rate)
        print(f"a device that trains {wanted:,.0f} images/s needs about {cores} cores to decode")


if __name__ == "__main__":
    main()
