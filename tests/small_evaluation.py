"""A small untrained run, and its figures by hand, for the tests of evaluation."""

import functools

import numpy as np
from scipy import special

from autolabel_jax import datasets, input_pipeline, temperature
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.evaluated_sets import Piece, Sets
from configs import digits_augmix

CONTRAST = Piece("corruption", "contrast", 3)
VECTOR = (np.linspace(0.5, 2, 10), np.linspace(-1, 1, 10))
SCALING = temperature.Scaling(2.0, VECTOR)


@functools.cache
def run():
    """(experiment, variables, test split) of an MLP on 40 digits."""
    config = digits_augmix.get_config("tiny")
    config.model.name = "mlp"
    config.augment.name = "none"
    config.test_examples = 40
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    state = experiment_lib.init_state(experiment, 0, (32, 32, 3))
    return experiment, experiment_lib.inference_variables(state), dataset.test


@functools.cache
def sets():
    """Its test split to evaluate."""
    return Sets(*run(), SCALING)


def logits_by_hand(image):
    """float64 [n, 10] of images, uint8 or in [0, 1]."""
    experiment, variables, _ = run()
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
