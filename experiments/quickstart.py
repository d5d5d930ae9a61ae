"""One-hot against AutoLabel on handwritten digits: two short runs, a table, a figure.

    python -m experiments.quickstart [--workdir=runs/quickstart] [--seed=0]

Trains with AugMix on 200 of scikit-learn's digits, once with each label rule,
and compares them on clean and on noised test images.
"""

import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags

from autolabel_jax import evaluate, image_ops, input_pipeline, metric_writer, result, train
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.corruptions import noise
from configs import digits_augmix
from experiments import launch
from experiments.reporting import plots, printing

_WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Folder of the two runs.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of both runs.")

RULES = ("one_hot", "autolabel")
NOISE = 0.4  # standard deviation of the noise on the test images, of a pixel range of 1


def add_noise(index: jax.Array, image: jax.Array) -> jax.Array:
    """Gaussian noise, the same at every call; uint8 [B, H, W, C] → float32 in [0, 1]."""

    def one(i, x):
        return noise.gaussian_noise(jax.random.fold_in(jax.random.key(0), i), x, NOISE)

    return jnp.clip(jax.vmap(one)(index, image_ops.to_float(image)), 0, 1)


def run(rule: str, seed: int, workdir: pathlib.Path) -> dict:
    """Trains with one rule and evaluates; what it returns has the noisy figures too."""
    config = digits_augmix.get_config()
    config.labels.rule = rule
    config.seed = seed
    train.train(config, workdir)
    experiment, dataset, snapshot = result.restore(config, workdir)
    variables = experiment_lib.inference_variables(snapshot.state)
    test = input_pipeline.put_split(dataset.test, experiment.mesh)
    held_out = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    clean = evaluate.make_predict(experiment.model, experiment.mesh, config.eval_batch_size)
    noisy = evaluate.make_predict(
        experiment.model, experiment.mesh, config.eval_batch_size, add_noise
    )
    figures = evaluate.with_temperature(
        noisy(variables, test),
        dataset.test.label,
        clean(variables, held_out),
        dataset.calibration.label,
    )
    found = metric_writer.read_json(workdir / "result.json")
    found |= {
        f"noisy_{name}": figures[name] for name in ("accuracy", "accuracy_ts", "ece", "ece_ts")
    }
    metric_writer.write_json(workdir / "result.json", found)
    np.savez(workdir / "test_logits.npz", logits=clean(variables, test), label=dataset.test.label)
    return found


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
    plots.quickstart({rule: root / f"{rule}_{_SEED.value}" for rule in RULES}, figure)
    print(f"\nfigure: {figure}\nto look further: tensorboard --logdir {root}")


if __name__ == "__main__":
    launch.run(main)
