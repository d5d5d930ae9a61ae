"""Seconds to make and evaluate the 75 corrupted sets: as ``experiments.evaluate`` does, on no disk.

    python -m benchmarks.evaluation                                    # small_cnn, 10,000 images
    python -m benchmarks.evaluation --model=resnet18 --dtype=bfloat16  # on a GPU
    python -m benchmarks.evaluation --model=mlp --images=600 --attacks=fgsm,pgd20

Each set is made, given to the model and brought to its figures (with their
bootstrap resamples) by the classes that evaluation runs on; a first pass over
severity 1 compiles everything and is told apart. "Model alone" is the forward
pass of as many images that are there already; what is left of the whole is the
making of the sets and the figures. The next model, other weights in the same
process, finds the sets that fit into the memory for them.
"""

import argparse
import time

import jax
import numpy as np

from autolabel_jax import corrupted_sets, evaluate, input_pipeline, robustness
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.evaluated_sets import Sets
from autolabel_jax.temperature import Scaling
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


def measure(
    experiment: experiment_lib.Experiment, dataset: Dataset, pieces: list, attacked: list
) -> dict[str, float]:
    """Seconds by what was done; the second model has other weights, in the same process.

    Args:
      experiment: the fixed parts of the run.
      dataset: whose test images are corrupted and attacked.
      pieces: all corrupted sets.
      attacked: pieces under attack; may be none.
    """

    def trained(seed):
        shape = dataset.test.input.shape[1:]
        return experiment_lib.inference_variables(
            experiment_lib.init_state(experiment, seed, shape)
        )

    def sets(seed):
        return Sets(experiment, trained(seed), dataset.test, Scaling(temperature=1.5))

    found = {COMPILED: run(sets(0), [piece for piece in pieces if piece.place == 1])}
    corrupted_sets.forget()
    found |= {MADE: run(sets(0), pieces), KEPT: run(sets(1), pieces)}
    if attacked:
        found |= {ATTACKED: run(sets(0), attacked), ATTACKED_NEXT: run(sets(1), attacked)}
    predict = evaluate.make_predict(experiment.model, experiment.mesh, experiment.eval_batch_size)
    split, variables = input_pipeline.put_split(dataset.test, experiment.mesh), trained(0)
    timing = harness.time_calls(lambda: predict(variables, split), 3)
    return found | {ALONE: len(pieces) * timing.wall}


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
    pieces = robustness.plan(corrupted=True, attack_names=(), num_examples=num)
    attacked = robustness.plan(corrupted=False, attack_names=names, num_examples=num)
    if arguments.tiny:
        pieces = [piece for piece in pieces if piece.name in ("fog", "contrast")]
    seconds = measure(experiment, dataset, pieces, attacked)
    device = jax.devices()[0]
    name = harness.processor() if device.platform == "cpu" else device.device_kind
    print(f"jax {jax.__version__}, {jax.device_count()} x {name}; {harness.load()}")
    print(f"{arguments.model}, {arguments.dtype}, batches of {arguments.batch_size}")
    print(
        f"{len(pieces)} corrupted sets of {num:,} images; attacks: {arguments.attacks or 'none'}\n"
    )
    rate = {what: f"{len(pieces) * num / seconds[what]:,.0f}" for what in (MADE, KEPT, ALONE)}
    rows = [(what, f"{value:.1f}", rate.get(what, "")) for what, value in seconds.items()]
    harness.print_table(("", "seconds", "images/s"), rows)


if __name__ == "__main__":
    main()
