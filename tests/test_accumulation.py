"""A batch in parts against the same batch whole, on one device and on several."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autolabel_jax import accumulation, input_pipeline, train_step
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import Adversarial
from autolabel_jax.types import Batch, Distance

SHAPE = (8, 8, 3)


@pytest.fixture(scope="module")
def dataset():
    return helpers.make_dataset(SHAPE)


def one_step(dataset, parts, **changes):
    """(state, metrics) after a step from the same start, the batch cut into ``parts``."""
    fixed = helpers.make_experiment(dataset, accumulate=parts, **changes)
    state = experiment_lib.init_state(fixed, 0, SHAPE)
    whole = input_pipeline.put_split(dataset.train, fixed.mesh)
    order = jnp.arange(whole.label.shape[0], dtype=jnp.int32)
    steps = jax.jit(
        functools.partial(train_step.train_steps, experiment=fixed), static_argnames="num_steps"
    )
    return steps(state, whole, order, jax.random.key(3), np.int32(0), num_steps=1)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.mark.parametrize("parts", [2, 16])
def test_without_batch_norm_parts_give_the_step_of_the_whole(dataset, parts):
    whole, in_parts = (one_step(dataset, p, labels__rule="smoothing") for p in (1, parts))
    assert_close(in_parts[0].params, whole[0].params, rtol=1e-5, atol=1e-6)
    assert_close(in_parts[1], whole[1], rtol=1e-5)
    assert float(whole[1].loss[0]) > 0


def test_with_batch_norm_the_running_mean_is_the_whole_batchs(dataset):
    changes = {"model__name": "small_cnn", "model__width": 4}
    whole, in_parts = (one_step(dataset, p, **changes)[0] for p in (1, 2))
    first = jax.tree_util.tree_leaves_with_path(whole.batch_stats)
    means = {jax.tree_util.keystr(path) for path, _ in first if path[-1].key == "mean"}
    second = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(in_parts.batch_stats)
    }
    # The first layer sees the same pixels; later ones those that each part's own moments made.
    (earliest,) = (name for name in means if "BatchNorm_0" in name)
    for path, leaf in first:
        name = jax.tree_util.keystr(path)
        tolerance = 1e-5 if name == earliest else 0.1
        np.testing.assert_allclose(second[name], leaf, rtol=tolerance, atol=tolerance)


def test_split_takes_rows_with_a_stride_and_join_puts_them_back():
    mesh = input_pipeline.make_mesh()
    x = jnp.arange(24.0).reshape(12, 2)
    pieces = jax.jit(lambda x: accumulation.split(x, 3, mesh))(x)
    for i in range(3):
        np.testing.assert_array_equal(pieces[i], np.asarray(x)[i::3])
    np.testing.assert_array_equal(accumulation.join(pieces, mesh), x)


def test_mean_is_that_of_numpy_and_rows_keep_their_order():
    mesh = input_pipeline.make_mesh()
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)

    def moments(part):
        return part.mean(0), part * 2

    value, rows = accumulation.mean(moments, jnp.asarray(x), 4, mesh)
    np.testing.assert_allclose(value, x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows, x * 2)


def test_an_adversary_finds_the_same_images_in_parts(dataset):
    """Gradients of the pixels are each example's own, so that nothing but rounding may differ."""
    images = []
    for parts in (1, 4):
        fixed = helpers.make_experiment(
            dataset, accumulate=parts, augment__name="adversarial", augment__num_steps=3
        )
        state = experiment_lib.init_state(fixed, 0, SHAPE)
        gradient = experiment_lib.input_gradient(fixed, experiment_lib.inference_variables(state))
        image, label = dataset.train.input[:16], jnp.asarray(dataset.train.label[:16])
        ones = jnp.ones(16)
        batch = Batch(jnp.asarray(image), label, jnp.arange(16), ones, ones)
        distance = Distance(jnp.zeros(16, jnp.int32), ones)
        attack = Adversarial(max_epsilon=8 / 255, num_steps=3, step_ratio=0.25)
        augmented = attack.apply(jax.random.key(0), batch, distance, gradient)
        images.append(np.asarray(augmented.input))
    np.testing.assert_allclose(images[0], images[1], atol=1e-6)
    clean = dataset.train.input[:16] / np.float32(255)
    assert np.abs(images[0] - clean).max() > 7 / 255


def test_parts_that_do_not_divide_the_batch_are_refused(dataset):
    with pytest.raises(ValueError, match=r"accumulate: got 3.*batch_size=16.*multiple of 3"):
        helpers.make_experiment(dataset, accumulate=3)
    with pytest.raises(ValueError, match="accumulate: got 0, must be between 1 and"):
        helpers.make_experiment(dataset, accumulate=0)


@pytest.mark.slow
def test_eight_devices_in_two_parts_equal_one(tmp_path):
    """The very command on 1 and on 8 devices; both cut the batch of 16 into two parts."""
    lines = []
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        done = helpers.command(
            "-m",
            "experiments.train",
            *helpers.flags(accumulate=2),
            f"--workdir={workdir}",
            devices=devices,
        )
        assert done.returncode == 0, done.stderr
        lines.append(helpers.read_metrics(workdir))
    for one, eight in zip(*lines):
        for name in ("train_loss", "calibration_nll", "bucket_confidence"):
            np.testing.assert_allclose(eight[name], one[name], rtol=1e-4)
