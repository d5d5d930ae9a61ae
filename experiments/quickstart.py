"""Compares one-hot labels with AutoLabel on handwritten digits in ten short runs.

    python -m experiments.quickstart [--workdir=runs/quickstart]

Trains with AugMix on 100 of scikit-learn's digits, with each label rule and five seeds, and prints
a table and draws a figure of the results on clean and noisy test images. It takes about a minute.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags
from scipy.special import softmax

from autolabel_jax import image_ops, train, trained
from autolabel_jax.commands import diagram
from autolabel_jax.corruptions import noise
from autolabel_jax.evaluation import clean
from autolabel_jax.evaluation.predict import Transform
from configs import digits_augmix
from experiments import launch
from experiments.reporting import catalogue, plots, rendering, run_files

_WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Folder of the runs.")

RULES = ("one_hot", "autolabel")
SEEDS, EPOCHS = 5, 60
NOISE = 0.4  # standard deviation of the noise on the test images, of a pixel range of 1
COLUMNS = {
    "accuracy": "accuracy %",
    "confidence": "confidence %",
    "ece": "ECE %",
    "ece_ts": "ECE % (TS)",
}
EXPLANATION = """\
Means and standard deviations over {seeds} seeds; {test_examples} test images.
accuracy    share of the images that are classified correctly
confidence  mean probability of the class with the highest probability
ECE         expected calibration error: the gap between the two, by bins of confidence; 0 is best
(TS)        after temperature scaling, fitted on {calibration_examples} calibration images
noisy       the test images with Gaussian noise of standard deviation {noise} (of a range of 1)
Training holds AugMix images and no noisy ones, and AutoLabel learns its labels for AugMix alone.
On noise, AutoLabel can thus end under-confident: a confidence below the accuracy raises the ECE."""


def add_noise(index: jax.Array, image: jax.Array) -> jax.Array:
    """Adds Gaussian noise, the same at every call; uint8 [B, H, W, C] → float32 in [0, 1]."""

    def one(i, x):
        return noise.gaussian_noise(jax.random.fold_in(jax.random.key(0), i), x, NOISE)

    return jnp.clip(jax.vmap(one)(index, image_ops.to_float(image)), 0, 1)


TEST_SETS: dict[str, Transform | None] = {"clean": None, "noisy": add_noise}


def run(rule: str, seed: int, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains once and evaluates; the result has the metrics of ``COLUMNS`` by test set."""
    config = digits_augmix.get_config()
    config.update({"seed": seed, "epochs": EPOCHS})
    config.labels.rule, config.augment.max_depth = rule, 1
    result = train.train(config, workdir, progress=False)
    restored = trained.restore(workdir, config)
    predictor, test = restored.predictor(), restored.dataset.test
    for name, transform in TEST_SETS.items():
        logits = predictor.logits(test, transform)
        scores = clean.scaled_scores(logits, test.label, predictor.scaling)
        confidence = softmax(logits, axis=-1).max(-1).mean()
        result |= {name: {**scores, "confidence": float(confidence)}}
    return result


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Makes a table with a row per test set and rule; ``results`` are by rule, then by seed."""
    rows = [["test images", "labels", *COLUMNS.values()]]
    for name in TEST_SETS:
        for rule, of_seeds in results.items():
            values = [[100 * one[name][column] for column in COLUMNS] for one in of_seeds]
            mean, sd = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
            cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, sd, strict=True)]
            rows.append([name, rule, *cells])
    return rendering.aligned(rows, num_names=2)


def compare(root: pathlib.Path) -> None:
    """Trains and evaluates all runs, prints the table, and draws the figure of the first seed."""
    results: dict[str, list[dict[str, Any]]] = {rule: [] for rule in RULES}
    for seed in range(SEEDS):
        for rule in RULES:
            results[rule].append(one := run(rule, seed, root / f"{rule}_{seed}"))
            print(
                f"trained with {rule} labels, seed {seed} of 0 to {SEEDS - 1}: "
                f"accuracy {one['accuracy']:.3f}, ECE {one['ece']:.3f}",
                flush=True,
            )
    sizes = results[RULES[0]][0]
    print(f"\n{table(results)}\n\n{EXPLANATION.format(seeds=SEEDS, noise=NOISE, **sizes)}")
    figure = root / "quickstart.png"
    bins = {rule: catalogue.reliability_bins(root / f"{rule}_0") for rule in RULES}
    figure.write_bytes(diagram.png(bins))
    labels = catalogue.label_confidence(run_files.read(root / "autolabel_0"))
    curves = plots.save(labels, root, "label_confidence", ["png"])
    print(
        f"\nfigures of seed 0: {figure}, {curves}.png\ntraining curves: tensorboard --logdir {root}"
    )


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    matplotlib.use("Agg")
    compare(pathlib.Path(_WORKDIR.value))


if __name__ == "__main__":
    launch.run(main)
