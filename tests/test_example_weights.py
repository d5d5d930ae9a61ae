"""Weights of examples: NumPy, the paper's form by two backward passes, a step by hand."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from autolabel_jax import example_weights, input_pipeline, losses, train_step
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.datasets import Relabelled

DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
REWEIGHT = {"example_weights": "reweight"}


@DTYPES
def test_weights_are_the_positive_parts_over_their_mean(dtype):
    rng = np.random.default_rng(0)
    aligned = jnp.asarray(rng.normal(size=40), dtype)
    found = example_weights.normalise(aligned)
    positive = np.maximum(np.asarray(aligned, np.float64), 0)
    np.testing.assert_allclose(found, positive / positive.mean(), rtol=1e-6)
    assert found.dtype == np.float32
    scaled = example_weights.normalise(8 * aligned)  # by any learning rate of the virtual step
    np.testing.assert_array_equal(scaled, found)


@DTYPES
def test_weights_at_their_limits(dtype):
    for aligned, expected in (
        ([-1, -2, 0], [0, 0, 0]),
        ([-1, 3, 0], [0, 3, 0]),
        ([2, 2, 2], [1, 1, 1]),
    ):
        found = example_weights.normalise(jnp.asarray(aligned, dtype))
        np.testing.assert_array_equal(found, np.float32(expected))


def test_alignment_of_a_linear_model_is_its_closed_form():
    """∇l_i = (p_i - y_i) x_iᵀ, so that ⟨∇L, ∇l_i⟩ = mean_j (x_j·x_i) ((p_j - y_j)·(p_i - y_i))."""
    rng = np.random.default_rng(1)
    weight, x = rng.normal(size=(5, 3)), rng.normal(size=(9, 5))
    one_hot = np.eye(3)[rng.integers(3, size=9)]
    error = scipy.special.softmax(x @ weight, -1) - one_hot
    held, own = slice(0, 4), slice(4, 9)
    expected = ((x[own] @ x[held].T) * (error[own] @ error[held].T)).mean(-1)

    def loss_of(rows, params):
        return losses.cross_entropy(jnp.asarray(x[rows]) @ params, jnp.asarray(one_hot[rows]))

    @jax.jit
    def alignment(weight):
        direction = jax.grad(lambda params: loss_of(held, params).mean())(weight)
        return example_weights.alignment(functools.partial(loss_of, own), weight, direction)

    np.testing.assert_allclose(alignment(weight), expected, rtol=1e-4, atol=1e-6)


def begin(shape=(6, 6, 3), **changes):
    """(experiment, state, first batch, calibration split, key of a step)."""
    dataset = helpers.make_dataset(shape)
    fixed = helpers.make_experiment(dataset, **changes)
    state = experiment_lib.init_state(fixed, 0, shape)
    whole = input_pipeline.put_split(dataset.train, fixed.mesh)
    batch = input_pipeline.take(whole, np.arange(16, dtype=np.int32), fixed.mesh)
    held_out = input_pipeline.put_split(dataset.calibration, fixed.mesh)
    return fixed, state, batch, held_out, jax.random.key(3)


def held_out_rows(key, held_out):
    """Rows of the held-out examples of a step with this key."""
    key = jax.random.fold_in(key, example_weights.HELD_OUT)
    return np.asarray(jax.random.randint(key, (16,), 0, len(held_out.label)))


def losses_of(fixed, state, params, image, label):
    """The cross-entropy of each example, normalised by its batch."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    logits, _ = fixed.model.apply(
        variables, jnp.asarray(image, jnp.float32) / 255, train=True, mutable=["batch_stats"]
    )
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1)[:, 0]


def weights_of_the_paper(fixed, state, batch, held_out, key, rate=0.1):
    """Algorithm 1 word by word: weights of 0, a virtual step, and a gradient through that step."""
    rows = held_out_rows(key, held_out)

    def after_the_virtual_step(epsilon):
        def weighted(params):
            return epsilon @ losses_of(fixed, state, params, batch.input, batch.label)

        gradient = jax.grad(weighted)(state.params)
        moved = jax.tree.map(lambda p, g: p - rate * g, state.params, gradient)
        return losses_of(fixed, state, moved, held_out.input[rows], held_out.label[rows]).mean()

    gradient = jax.jit(jax.grad(after_the_virtual_step))(jnp.zeros(16))
    weight = np.maximum(-np.asarray(gradient), 0)
    return weight / weight.sum()


MODELS = ["mlp", pytest.param("wide_resnet", marks=pytest.mark.slow)]  # with batch norm


@pytest.mark.parametrize("model", MODELS)
def test_a_step_is_that_of_the_papers_weights(model):
    sizes = {"model__depth": 10, "model__width": 1} if model == "wide_resnet" else {}
    shape = (8, 8, 3)
    changes = {"model__name": model, "labels__rule": "one_hot", **sizes}
    fixed, state, batch, held_out, key = begin(shape, **REWEIGHT, **changes)
    weight = weights_of_the_paper(fixed, state, batch, held_out, key)
    assert 0 < np.count_nonzero(weight) < 16
    step = functools.partial(train_step.train_step, experiment=fixed)
    after, metrics = jax.jit(step)(state, batch, key, held_out)

    def loss_of(params):
        return weight @ losses_of(fixed, state, params, batch.input, batch.label)

    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(state.params)
    np.testing.assert_allclose(metrics.loss / 16, loss, rtol=1e-4)
    updates, _ = jax.jit(fixed.optimizer.update)(gradient, state.opt_state, state.params)
    jax.tree.map(
        lambda p, u, new: np.testing.assert_allclose(new, np.add(p, u), rtol=1e-3, atol=1e-5),
        *(state.params, updates, after.params),
    )
    if state.batch_stats:  # they follow the training batch alone
        plain = helpers.make_experiment(helpers.make_dataset(shape), **changes)
        other, _ = train_step.train_step(state, batch, key, experiment=plain)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            *(after.batch_stats, other.batch_stats),
        )


def test_parts_and_class_weights_give_the_same_step_and_other_keys_another():
    changes = {"labels__rule": "one_hot", "class_weights": "0.5,1,2,4"}
    found = []
    for parts in (1, 2):
        fixed, state, batch, held_out, key = begin(**REWEIGHT, **changes, accumulate=parts)
        step = jax.jit(functools.partial(train_step.train_step, experiment=fixed))
        for i in range(2):
            found.append(step(state, batch, jax.random.fold_in(key, i), held_out)[1].loss)
    np.testing.assert_allclose(found[:2], found[2:], rtol=1e-5)
    assert abs(found[0] - found[1]) > 1e-4


def test_wrong_labels_get_less_weight():
    """Of a linear model that starts at 0 on two classes of opposite inputs, they get none."""
    x = jnp.asarray([[1.0], [1.0], [-1.0], [-1.0]])
    label = jnp.asarray([0, 1, 1, 0])  # the second and the last are wrong

    def loss_of(label, params):
        return losses.integer_cross_entropy(x @ params, label)

    @jax.jit
    def weights(start, clean):
        direction = jax.grad(lambda params: loss_of(clean, params).mean())(start)
        aligned = example_weights.alignment(functools.partial(loss_of, label), start, direction)
        return example_weights.normalise(aligned)

    found = weights(np.zeros((1, 2), np.float32), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found, [2, 0, 2, 0], atol=1e-6)


def test_held_out_labels_that_cannot_judge_are_refused():
    dataset = helpers.make_dataset()
    with pytest.raises(ValueError, match=r"example_weights: got 'all', expected one of: none, rew"):
        helpers.make_experiment(dataset, example_weights="all")
    with pytest.raises(ValueError, match=r"example_weights: .* with calibration\.source='train'"):
        helpers.make_experiment(dataset, **REWEIGHT, calibration__source="train")
    object.__setattr__(dataset, "relabelled", Relabelled(train=9, calibration=3))
    told = r"example_weights: .* 3 of 26 differ by data\.train_labels; use data\.clean_cal"
    with pytest.raises(ValueError, match=told):
        helpers.make_experiment(dataset, **REWEIGHT)
    helpers.make_experiment(dataset)
