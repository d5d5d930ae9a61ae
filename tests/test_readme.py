"""The code, commands and links that README.md and docs/ show."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from autolabel_jax import buckets, calibration
from autolabel_jax.labels import AutoLabel

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def code_of(text):
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return compile(code, "document", "exec")


def assert_learned(confidence):
    """Labels fall with the distance, never below the held-out accuracy nor above 1."""
    learned = np.asarray(confidence)
    assert learned.shape == (5,)
    assert learned[0] > learned[-1]
    assert ((learned > 0.1) & (learned <= 1)).all()


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 120


def test_the_loop_of_the_readme_with_a_linear_model():
    """What the reader brings is written here: data, a model, a step, moves by noise."""
    x, y = map(jnp.asarray, load_digits(return_X_y=True))
    x = x / 16

    def moved(seed, rows):
        keys = jax.random.split(jax.random.key(seed))
        s = jax.random.uniform(keys[0], (len(rows),))
        return x[rows] + 2 * s[:, None] * jax.random.normal(keys[1], x[rows].shape), y[rows], s

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
    exec(code_of(README), names)
    assert_learned(names["labels"].confidence)


def test_the_whole_loop_runs_and_learns_labels():
    names = {}
    exec(code_of((ROOT / "docs" / "own_loop.md").read_text("utf-8")), names)
    assert_learned(names["labels"].confidence)


@each_document
def test_what_a_document_links_to_is_there(path):
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link:
            assert (path.parent / link).exists(), link


@each_document
def test_every_config_and_module_that_a_document_names_is_there(path):
    text = path.read_text("utf-8")
    for name in re.findall(r"(?<![\w/])(?:configs|docs|autolabel_jax|tests)/[\w/]+\.py\b", text):
        assert (ROOT / name).exists(), name
    for module in re.findall(r"python -m ((?:experiments|benchmarks)[\w.]*)", text):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_every_module_of_the_layout_is_there():
    text = (ROOT / "docs" / "layout.md").read_text("utf-8")
    rows = re.findall(r"^\| ((?:`[\w./]+` ?)+)\|", text, re.MULTILINE)
    listed = {path for row in rows for path in re.findall(r"`([\w/]+(?:\.py|/))`", row)}
    library = ROOT / "autolabel_jax"
    there = {f"{p.name}{'/' * p.is_dir()}" for p in library.iterdir() if p.name[0] != "_"}
    assert listed == there
