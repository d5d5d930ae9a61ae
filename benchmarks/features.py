"""Times the features that calibrators read, in units of a forward pass without them.

    python -m benchmarks.features                                            # small_cnn
    python -m benchmarks.features --model=resnet18 --images=1000 --batch_size=200
    python -m benchmarks.features --model=resnet18 --dtype=bfloat16          # on a GPU

Passes over the same images alternate: logits alone; with batch-norm drift; and with neighbours and
trust too, of 2,000 reference images. The figures are ratios of median times.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline
from autolabel_jax.datasets import Dataset
from autolabel_jax.evaluation import held_out, predict
from benchmarks import evaluation, harness, train_step_jax

ALONE, DRIFT, ALL = "logits alone", "with drift", "with drift, neighbours and trust"


def make_passes(
    experiment: experiment_lib.Experiment, dataset: Dataset, num: int
) -> dict[str, Callable[[], Any]]:
    """Makes the calls that alternate, each a pass over ``num`` test images, by name."""
    predictor = evaluation.make_predictor(experiment, dataset)
    whole = input_pipeline.put_split(dataset.test.take(slice(0, num)), experiment.mesh)
    reference = held_out.make_reference(predictor, dataset, seed=0)
    scalars = predict.logits_and_scalars
    programs = {
        DRIFT: functools.partial(scalars, reference=None),
        ALL: functools.partial(scalars, reference=reference),
    }
    calls = {ALONE: lambda: predictor.dispatch(whole)()}
    return calls | {
        name: lambda program=program: predictor.dispatch(whole, program=program)()
        for name, program in programs.items()
    }


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Returns the median seconds of each call, over ``repeats`` turns after one that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="small_cnn", choices=sorted(train_step_jax.MODELS))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--reference_images", type=int, default=held_out.REFERENCES)
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        arguments.images, arguments.batch_size, arguments.repeats = 128, 64, 1
        arguments.reference_images = 128
    num = max(arguments.images, arguments.reference_images)
    dataset = evaluation.make_dataset(num)
    experiment = train_step_jax.make_experiment(
        arguments.model,
        "none",
        dataset,
        dtype=arguments.dtype,
        batch_size=min(128, num),
        eval_batch_size=arguments.batch_size,
    )
    passes = make_passes(experiment, dataset, arguments.images)
    seconds = in_turns(passes, arguments.repeats)
    print(f"{train_step_jax.hardware()}; {harness.load()}")
    print(
        f"{arguments.model}, {arguments.dtype}, {arguments.images:,} images in batches of "
        f"{arguments.batch_size}, {min(held_out.REFERENCES, num):,} reference images\n"
    )
    rows = [
        (name, f"{value:.3f}", f"{value / seconds[ALONE]:.3f}") for name, value in seconds.items()
    ]
    harness.print_table(("pass", "seconds", "ratio"), rows)


if __name__ == "__main__":
    main()
