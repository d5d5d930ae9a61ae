"""Seconds to make and evaluate the 75 corrupted sets: as ``experiments.evaluate`` does, on no disk.

    python -m benchmarks.evaluation                                    # small_cnn, 10,000 images
    python -m benchmarks.evaluation --model=resnet18 --dtype=bfloat16  # on a GPU
    python -m benchmarks.evaluation --model=mlp --images=600 --attacks=fgsm,pgd20

Each set is made, given to the model and brought to its figures (with their
bootstrap resamples) by the code that evaluation runs on; a first pass over
severity 1 compiles everything and is told apart. "Model alone" is the forward
pass of as many images that are there already; what is left of the whole is the
making of the sets and the figures. The next model, other weights in the same
process, finds the sets that fit into the memory for them.
"""

import argparse
import time
from collections.abc import Sequence

import jax
import numpy as np

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.evaluation import corrupted, run
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.run import Unit
from autolabel_jax.evaluation.scaling import Scaling
from benchmarks import corruptions, harness, train_step_jax

SET = 10_000
COMPILED = "severity 1 of each, compiled and run"
MADE, KEPT = "all sets, made and evaluated", "the same for the next model"
ATTACKED, ATTACKED_NEXT = "attacks, compiled and run", "attacks on the next model"
ALONE = "the model alone on as many"


def make_dataset(num: int) -> Dataset:
    """Patches of photographs, all of them in every split, with labels by turns."""
    image = corruptions.photographs(num, train_step_jax.SIDE)
    label = (np.arange(num) % train_step_jax.NUM_CLASSES).astype(np.int32)
    split = Split(image, label, None, np.arange(num))
    grey = np.full(3, 0.5, np.float32)
    classes = train_step_jax.NUM_CLASSES
    return Dataset("photographs", split, split, split, classes, None, mean=grey, std=grey / 2)


def make_predictor(
    experiment: experiment_lib.Experiment, dataset: Dataset, seed: int = 0
) -> Predictor:
    """The untrained network of a seed, with a temperature that was not fitted."""
    state = experiment_lib.init_state(experiment, seed, dataset.spec.shape)
    return Predictor(
        model=experiment.model,
        variables=experiment_lib.inference_variables(state),
        scaling=Scaling(temperature=1.5),
        num_classes=experiment.num_classes,
        batch_size=experiment.eval_batch_size,
        mesh=experiment.mesh,
    )


class NoLedger:
    """Keeps nothing, so that all units are evaluated and no disk is waited for."""

    def done(self) -> list:
        return []

    def write(self, line: dict, stamp: str, resamples: dict) -> None:
        del line, stamp, resamples


def seconds_of(units: Sequence[Unit], predictor: Predictor, test: Split) -> float:
    """Seconds of these units, each started while the one before is read, as evaluation does."""
    start = time.perf_counter()
    run.run(units, predictor, test, NoLedger())
    return time.perf_counter() - start


def measure(
    experiment: experiment_lib.Experiment,
    dataset: Dataset,
    units: Sequence[Unit],
    attacked: Sequence[Unit],
) -> dict[str, float]:
    """Seconds by what was done; the second model has other weights, in the same process.

    Args:
      experiment: the fixed parts of the run.
      dataset: whose test images are corrupted and attacked.
      units: all corrupted sets.
      attacked: units under attack; may be none.
    """

    def timed(seed, units):
        return seconds_of(units, make_predictor(experiment, dataset, seed), dataset.test)

    seconds = {COMPILED: timed(0, [unit for unit in units if unit.place == 1])}
    corrupted.forget()
    seconds |= {MADE: timed(0, units), KEPT: timed(1, units)}
    if attacked:
        seconds |= {ATTACKED: timed(0, attacked), ATTACKED_NEXT: timed(1, attacked)}
    alone = make_predictor(experiment, dataset)
    split = input_pipeline.put_split(dataset.test, experiment.mesh)
    timing = harness.time_calls(lambda: alone.dispatch(split)(), 3)
    return seconds | {ALONE: len(units) * timing.wall}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="small_cnn", choices=sorted(train_step_jax.MODELS))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=SET, help="in a set")
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--attacks", default="", help="fgsm,pgd20: on as many images, too")
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        arguments.images = arguments.batch_size = 128
    dataset = make_dataset(arguments.images)
    experiment = train_step_jax.make_experiment(
        arguments.model,
        "none",
        dataset,
        dtype=arguments.dtype,
        batch_size=min(128, arguments.images),
        eval_batch_size=arguments.batch_size,
    )
    names = [name for name in arguments.attacks.split(",") if name]
    num = arguments.images
    units = run.plan(corrupted=True, attack_names=(), num_examples=num)
    attacked = run.plan(corrupted=False, attack_names=names, num_examples=num)
    if arguments.tiny:
        units = [unit for unit in units if unit.name in ("fog", "contrast")]
    seconds = measure(experiment, dataset, units, attacked)
    device = jax.devices()[0]
    name = harness.processor() if device.platform == "cpu" else device.device_kind
    print(f"jax {jax.__version__}, {jax.device_count()} x {name}; {harness.load()}")
    print(f"{arguments.model}, {arguments.dtype}, batches of {arguments.batch_size}")
    print(
        f"{len(units)} corrupted sets of {num:,} images; attacks: {arguments.attacks or 'none'}\n"
    )
    rate = {what: f"{len(units) * num / seconds[what]:,.0f}" for what in (MADE, KEPT, ALONE)}
    rows = [(what, f"{value:.1f}", rate.get(what, "")) for what, value in seconds.items()]
    harness.print_table(("", "seconds", "images/s"), rows)


if __name__ == "__main__":
    main()
