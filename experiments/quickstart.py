"""Compares one-hot labels with AutoLabel on handwritten digits in two short runs.

    python -m experiments.quickstart [--workdir=runs/quickstart] [--seed=0]

Trains with AugMix on 200 of scikit-learn's digits, once with each label rule, and prints a table
and draws a figure of the results on clean and noisy test images.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
from absl import flags

from autolabel_jax import image_ops, train, trained
from autolabel_jax.corruptions import noise
from autolabel_jax.evaluation import clean
from configs import digits_augmix
from experiments import launch
from experiments.reporting import printing, run_plots

_WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Folder of the two runs.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of both runs.")

RULES = ("one_hot", "autolabel")
NOISE = 0.4  # standard deviation of the noise on the test images, of a pixel range of 1


def add_noise(index: jax.Array, image: jax.Array) -> jax.Array:
    """Adds Gaussian noise, the same at every call; uint8 [B, H, W, C] → float32 in [0, 1]."""

    def one(i, x):
        return noise.gaussian_noise(jax.random.fold_in(jax.random.key(0), i), x, NOISE)

    return jnp.clip(jax.vmap(one)(index, image_ops.to_float(image)), 0, 1)


def run(rule: str, seed: int, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains with one rule and evaluates; the result includes metrics on noisy images."""
    config = digits_augmix.get_config()
    config.labels.rule = rule
    config.seed = seed
    train.train(config, workdir)
    restored = trained.restore(workdir, config)
    predictor, test = restored.predictor(), restored.dataset.test
    noisy = clean.scaled_scores(predictor.logits(test, add_noise), test.label, predictor.scaling)
    names = ("accuracy", "accuracy_ts", "ece", "ece_ts")
    return restored.run_dir.write_result({f"noisy_{name}": noisy[name] for name in names})


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    matplotlib.use("Agg")
    root = pathlib.Path(_WORKDIR.value)
    results = {}
    for rule in RULES:
        print(f"training with {rule} labels", flush=True)
        results[rule] = run(rule, _SEED.value, root / f"{rule}_{_SEED.value}")
    one = results[RULES[0]]
    print(
        f"\n{one['train_examples']} training, {one['calibration_examples']} calibration and "
        f"{one['test_examples']} test images; noisy: with Gaussian noise of "
        f"standard deviation {NOISE};\n"
        f"TS: after temperature scaling, fitted on the calibration images; seed {_SEED.value}\n"
    )
    print(printing.result_table(list(results.values())))
    figure = root / f"quickstart_{_SEED.value}.png"
    run_plots.quickstart({rule: root / f"{rule}_{_SEED.value}" for rule in RULES}, figure)
    print(f"\nfigure: {figure}\nfor training curves: tensorboard --logdir {root}")


if __name__ == "__main__":
    launch.run(main)
