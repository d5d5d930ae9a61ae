"""A small untrained run, and its figures by hand, for the tests of evaluation."""

import dataclasses
import functools

import jax
import numpy as np
from scipy import special

from autolabel_jax import datasets, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.evaluation import run
from autolabel_jax.evaluation.ledger import Ledger
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.run import Unit
from autolabel_jax.evaluation.scaling import Scaling
from configs import digits_augmix

CONTRAST = Unit("corruption", "contrast", 3)
VECTOR = (np.linspace(0.5, 2, 10), np.linspace(-1, 1, 10))
SCALING = Scaling(2.0, VECTOR)


@functools.cache
def trained():
    """(experiment, variables, test split) of an MLP on 40 digits."""
    config = digits_augmix.get_config("tiny")
    config.model.name = "mlp"
    config.augment.name = "none"
    config.test_examples = 40
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    state = experiment_lib.init_state(experiment, 0, (32, 32, 3))
    return experiment, experiment_lib.inference_variables(state), dataset.test


def predictor(scaling=SCALING):
    """Its model, with a scaling that was not fitted."""
    experiment, variables, _ = trained()
    return Predictor(
        model=experiment.model,
        variables=variables,
        scaling=scaling,
        num_classes=10,
        batch_size=experiment.eval_batch_size,
        mesh=experiment.mesh,
    )


def ledger(folder):
    """In a folder of a test."""
    return Ledger(folder / "lines.jsonl", folder / "resamples")


def evaluate(units, folder, *, images=slice(40), scaling=SCALING, scale=1.0, **settings):
    """Lines of the units, of some test images; ``scale`` multiplies the model's weights."""
    test = trained()[2].take(images)
    model = predictor(scaling)
    variables = jax.tree.map(lambda leaf: scale * leaf, model.variables)
    model = dataclasses.replace(model, variables=variables)
    return run.run(units, model, test, ledger(folder), **settings)


def logits_by_hand(image):
    """float64 [n, 10] of images, uint8 or in [0, 1]."""
    experiment, variables, _ = trained()
    image = np.asarray(image, np.float32) / (255 if image.dtype == np.uint8 else 1)
    return np.asarray(experiment.model.apply(variables, image, train=False), np.float64)


def scores_by_hand(logits, label):
    """(accuracy, ECE, NLL, Brier) in loops over bins."""
    probability = special.softmax(logits, axis=-1)
    top, right = probability.max(-1), probability.argmax(-1) == label
    inside = [(top > r / 15) & (top <= (r + 1) / 15) for r in range(15)]
    ece = sum(abs((right[i] - top[i]).sum()) for i in inside) / len(label)
    nll = -np.log(probability[np.arange(len(label)), label]).mean()
    return right.mean(), ece, nll, np.mean(np.sum((probability - np.eye(10)[label]) ** 2, -1))
