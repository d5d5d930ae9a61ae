"""Seconds to make and evaluate the 75 corrupted sets: as ``experiments.evaluate`` does, on no disk.

    python -m benchmarks.evaluation                                    # small_cnn, 10,000 images
    python -m benchmarks.evaluation --model=resnet18 --dtype=bfloat16  # on a GPU

Each set is made, given to the model and brought to its figures (with their
bootstrap resamples) by the classes that evaluation runs on; a first pass over
severity 1 compiles everything and is told apart. "Model alone" is the forward
pass of as many images that are there already; what is left of the whole is the
making of the sets and the figures.
"""

import argparse
import time

import jax
import numpy as np

from autolabel_jax import evaluate, input_pipeline, robustness, task
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.evaluated_sets import Sets
from autolabel_jax.temperature import Scaling
from benchmarks import corruptions, harness, train_step_jax

SET = 10_000


def make_dataset(num: int) -> Dataset:
    """Patches of photographs, all of them in every split, with labels by turns."""
    image = corruptions.photographs(num, train_step_jax.SIDE)
    label = (np.arange(num) % train_step_jax.NUM_CLASSES).astype(np.int32)
    split = Split(image, label, None, np.arange(num))
    grey = np.full(3, 0.5, np.float32)
    classes = train_step_jax.NUM_CLASSES
    return Dataset("photographs", split, split, split, classes, None, mean=grey, std=grey / 2)


def run(sets: Sets, pieces: list) -> float:
    """Seconds of these sets, each begun while the one before is read, as evaluation does."""
    start, begun = time.perf_counter(), None
    for piece in pieces:
        fetch = sets.start(piece)
        if begun:
            begun()
        begun = fetch
    if begun:
        begun()
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="small_cnn", choices=sorted(train_step_jax.MODELS))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=SET, help="in a set")
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        arguments.images = arguments.batch_size = 128
    dataset = make_dataset(arguments.images)
    parts = train_step_jax.make_task(
        arguments.model,
        "none",
        dataset,
        dtype=arguments.dtype,
        batch_size=min(128, arguments.images),
        eval_batch_size=arguments.batch_size,
    )
    shape = dataset.test.image.shape[1:]
    variables = task.inference_variables(task.init_state(parts, 0, shape))
    sets = Sets(parts, variables, dataset.test, Scaling(temperature=1.5))
    pieces = robustness.plan(corrupted=True, attack_names=(), num_examples=arguments.images)
    if arguments.tiny:
        pieces = [piece for piece in pieces if piece.name in ("fog", "contrast")]
    first = run(sets, [piece for piece in pieces if piece.place == 1])
    whole = run(sets, pieces)
    predict = evaluate.make_predict(parts.model, parts.mesh, parts.eval_batch_size)
    split = input_pipeline.put_split(dataset.test, parts.mesh)
    timing = harness.time_calls(lambda: predict(variables, split), 3)
    num = len(pieces) * arguments.images
    device = jax.devices()[0]
    name = harness.processor() if device.platform == "cpu" else device.device_kind
    print(f"jax {jax.__version__}, {jax.device_count()} x {name}; {harness.load()}")
    print(f"{arguments.model}, {arguments.dtype}, batches of {arguments.batch_size}\n")
    rows = [
        (f"severity 1 of each, compiled and run ({arguments.images:,} images)", f"{first:.1f}", ""),
        (f"{len(pieces)} sets of {arguments.images:,}", f"{whole:.1f}", f"{num / whole:,.0f}"),
        (
            "the model alone on as many",
            f"{len(pieces) * timing.wall:.1f}",
            f"{arguments.images / timing.wall:,.0f}",
        ),
    ]
    harness.print_table(("", "seconds", "images/s"), rows)


if __name__ == "__main__":
    main()
