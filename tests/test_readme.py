"""README.md is one page, and its loop learns labels."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from autolabel_jax import buckets, calibration
from autolabel_jax.labels import AutoLabel

README = (pathlib.Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 120
    assert not re.search(r"\b[0-9a-f]{7,40}\b", re.sub(r"\d{7,}", "", README))  # no commit


def test_the_loop_of_the_readme_with_a_linear_model():
    """What the reader brings is written here: data, a model, a step, moves by noise."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32) / 16

    def moved(seed, rows):
        rng = np.random.default_rng(seed)
        s, noise = rng.random(len(rows), np.float32), rng.normal(size=x[rows].shape)
        return (x[rows] + 2 * s[:, None] * noise).astype(np.float32), y[rows], s

    def model(params, x):
        return x @ params

    @jax.jit
    def train_step(params, x, soft_label):
        def loss(params):
            return optax.softmax_cross_entropy(model(params, x), soft_label).mean()

        return params - 0.5 * jax.grad(loss)(params)

    names = {
        **{"AutoLabel": AutoLabel, "buckets": buckets, "calibration": calibration, "jnp": jnp},
        **{"model": model, "train_step": train_step, "params": jnp.zeros((64, 10))},
        "num_epochs": 20,
        "training_batches": lambda epoch: [moved(10 * epoch + i, np.arange(100)) for i in range(9)],
        "held_out_batch": lambda epoch: moved(10 * epoch + 9, np.arange(100, 1700)),
    }
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), names)
    learned = np.asarray(names["labels"].confidence)
    assert learned.shape == (5,) and learned[0] > learned[-1]
    assert ((learned > 0.1) & (learned <= 1)).all()  # never below the accuracy nor above 1
