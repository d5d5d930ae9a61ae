"""Losses against SciPy, scikit-learn, NumPy by hand and closed forms; whole runs."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from autolabel_jax import losses, processes, train
from configs import base


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(300, 7)).astype(np.float32)
    return logits, rng.dirichlet(np.ones(7), 300).astype(np.float32), rng.integers(0, 7, 300)


def test_cross_entropy_is_scipys(example):
    logits, soft_label, _ = example
    expected = -(soft_label * log_softmax(logits.astype(np.float64), axis=-1)).sum(-1)
    loss = losses.cross_entropy(logits, soft_label)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-6)


def test_hard_labels_give_sklearns_log_loss(example):
    logits, _, label = example
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=-1))
    expected = log_loss(label, probabilities, labels=np.arange(7))
    np.testing.assert_allclose(
        losses.cross_entropy(logits, np.eye(7)[label]).mean(), expected, rtol=2e-6
    )
    np.testing.assert_allclose(
        losses.integer_cross_entropy(logits, label).mean(), expected, rtol=2e-6
    )


def test_closed_forms():
    one_hot = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(losses.cross_entropy(np.zeros((4, 4)), one_hot), np.log(4), 1e-6)
    # Two classes: log(1 + exp(-margin)), far beyond where exp(margin) overflows.
    logits = np.array([[2.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]])
    expected = [np.log1p(np.exp(-2.0)), 0, 1000]
    np.testing.assert_allclose(
        losses.integer_cross_entropy(logits, np.zeros(3, int)), expected, 1e-6
    )
    # The model that predicts the soft label itself: its entropy.
    soft_label = np.array([[0.7, 0.2, 0.1]])
    entropy = -(soft_label * np.log(soft_label)).sum(-1)
    np.testing.assert_allclose(losses.cross_entropy(np.log(soft_label), soft_label), entropy, 1e-6)


def test_gradient_is_softmax_minus_soft_label(example):
    logits, soft_label, _ = example
    gradient = jax.grad(lambda x: losses.cross_entropy(x, soft_label).sum())(logits)
    expected = np.exp(log_softmax(logits.astype(np.float64), axis=-1)) - soft_label
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_bfloat16_logits_are_summed_in_float32():
    # In bfloat16, 1000 probabilities of 1/1000 could not even be added up to 1.
    logits = jnp.zeros((2, 1000), jnp.bfloat16)
    soft_label = np.full((2, 1000), 1e-3, np.float32)
    label = np.array([0, 1])
    for loss in (
        losses.cross_entropy(logits, soft_label),
        losses.integer_cross_entropy(logits, label),
    ):
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, np.log(1000), rtol=1e-5)


def test_balanced_weights_are_sklearns():
    rng = np.random.default_rng(0)
    label = rng.choice(6, 500, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    config = helpers.small_config(class_weights="balanced")
    found = losses.class_weights(config, label, 6)
    expected = compute_class_weight("balanced", classes=np.arange(6), y=label)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[label].mean() == pytest.approx(1)
    # A class that nobody has leaves the others as they are.
    np.testing.assert_allclose(losses.class_weights(config, label, 7), [*expected, 1], rtol=1e-6)


def test_weights_are_checked():
    config = helpers.small_config(class_weights="0.5, 2,1")
    found = losses.class_weights(config, np.zeros(3, int), 3)
    np.testing.assert_array_equal(found, np.float32([0.5, 2, 1]))
    with pytest.raises(ValueError, match="class_weights: got 3 numbers for 4 classes"):
        losses.class_weights(config, np.zeros(3, int), 4)
    for text in ("even", "1,0", "1,-2", "1,nan", "1,,2", "", "inf"):
        with pytest.raises(ValueError, match=f"class_weights: got '{text}', expected 'none'"):
            losses.given_weights(helpers.small_config(class_weights=text))


# --- the table -------------------------------------------------------------------------------

DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


def of(loss, logits, soft_label, dtype=jnp.float32):
    """(losses [B], logits as NumPy sees them, float64)."""
    logits = jnp.asarray(logits, dtype)
    found = loss(logits, jnp.asarray(soft_label))
    assert found.dtype == jnp.float32
    return np.asarray(found), np.asarray(logits, np.float64)


def cross_entropy_by_hand(logits, soft_label):
    return -(soft_label * log_softmax(logits, axis=-1)).sum(-1)


def gradient_of(loss, logits, soft_label):
    return jax.grad(lambda z: loss(z, jnp.asarray(soft_label)).sum())(jnp.asarray(logits))


@DTYPES
def test_mbls_is_a_penalty_beyond_the_margin(example, dtype):
    logits, soft_label, _ = example
    found, z = of(losses.MbLS(margin=3.0, weight=0.7), logits, soft_label, dtype)
    expected = cross_entropy_by_hand(z, soft_label)
    for row, of_row in enumerate(z):
        expected[row] += 0.7 * np.mean([max(0, of_row.max() - k - 3) for k in of_row])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    plain = losses.CrossEntropy()(jnp.asarray(logits, dtype), soft_label)
    for limit in (losses.MbLS(weight=0.0), losses.MbLS(margin=1e4)):
        np.testing.assert_array_equal(of(limit, logits, soft_label, dtype)[0], plain)


def test_mbls_without_a_margin_pulls_all_logits_to_the_largest(example):
    logits, soft_label, _ = example
    loss = losses.MbLS(margin=0.0, weight=0.5)
    gradient = gradient_of(loss, logits, soft_label)
    plain = gradient_of(losses.CrossEntropy(), logits, soft_label)
    top = np.eye(7)[logits.argmax(-1)]
    np.testing.assert_allclose(gradient - plain, 0.5 * (top - 1 / 7), atol=2e-6)


@DTYPES
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_weighs_each_class_by_its_own_probability(example, dtype, gamma):
    logits, soft_label, label = example
    found, z = of(losses.Focal(gamma=gamma), logits, soft_label, dtype)
    log_prob = log_softmax(z, axis=-1)
    expected = -(soft_label * (1 - np.exp(log_prob)) ** gamma * log_prob).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    found, z = of(losses.Focal(gamma=gamma), logits, np.eye(7)[label], dtype)
    true = log_softmax(z, axis=-1)[np.arange(len(label)), label]
    np.testing.assert_allclose(found, -((1 - np.exp(true)) ** gamma) * true, rtol=1e-4, atol=1e-6)


@DTYPES
def test_focal_without_gamma_is_the_cross_entropy(example, dtype):
    logits, soft_label, _ = example
    found, z = of(losses.Focal(gamma=0.0), logits, soft_label, dtype)
    np.testing.assert_allclose(found, cross_entropy_by_hand(z, soft_label), rtol=1e-5)
    expected = np.exp(log_softmax(logits.astype(np.float64), axis=-1)) - soft_label
    gradient = gradient_of(losses.Focal(gamma=0.0), logits, soft_label)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


@DTYPES
def test_flsd_53_has_gamma_5_below_a_fifth_and_else_3(example, dtype):
    logits, _, label = example
    found, z = of(losses.Focal(schedule="flsd53"), logits, np.eye(7)[label], dtype)
    true = log_softmax(z, axis=-1)[np.arange(len(label)), label]
    gamma = np.where(np.exp(true) < 0.2, 5, 3)
    assert set(gamma) == {3, 5}
    np.testing.assert_allclose(found, -((1 - np.exp(true)) ** gamma) * true, rtol=1e-4, atol=1e-6)


@DTYPES
@pytest.mark.parametrize("temperature", [0.04, 1.0])
def test_logit_norm_is_the_cross_entropy_of_unit_logits(example, dtype, temperature):
    logits, soft_label, _ = example
    loss = losses.LogitNorm(temperature=temperature)
    found, z = of(loss, logits, soft_label, dtype)
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True) / temperature
    np.testing.assert_allclose(found, cross_entropy_by_hand(unit, soft_label), rtol=1e-5)
    np.testing.assert_allclose(of(loss, 8 * logits, soft_label, dtype)[0], found, rtol=1e-5)
    gradient = np.asarray(gradient_of(loss, logits, soft_label))
    # It does not change the norm of the logits.
    np.testing.assert_allclose((gradient * logits).sum(-1), 0, atol=1e-4)


def test_logit_norm_has_a_smallest_loss():
    best = np.array([[3.0, -1.0, -1.0, -1.0]])
    for temperature in (0.04, 0.5):
        loss = losses.LogitNorm(temperature=temperature)(best, np.eye(4)[:1])
        most = 1 / (1 + 3 * np.exp(-np.sqrt(4 / 3) / temperature))
        np.testing.assert_allclose(loss, -np.log(most), rtol=1e-4, atol=1e-7)
    hot = losses.LogitNorm(temperature=100.0)(best, np.eye(4)[:1])
    np.testing.assert_allclose(hot, np.log(4), rtol=0.02)  # τ → ∞: the uniform distribution


LOSSES = [
    *(method() for method in losses.TABLE.values()),
    losses.Focal(gamma=0.5),
    losses.Focal(schedule="flsd53"),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_extreme_logits_give_finite_losses_and_gradients(loss):
    z = np.array([[0.0, 0, 0], [200, 0, 0], [-200, 0, 0], [1e4, -1e4, 0]], np.float32)
    label = np.eye(3)[[0, 0, 0, 1]]
    assert np.isfinite(loss(z, label)).all()
    assert np.isfinite(gradient_of(loss, z, label)).all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_scale_of_a_rule_multiplies_logits_and_divides_the_loss(example, loss):
    logits, soft_label, _ = example
    factor, divisor = np.random.default_rng(1).uniform(0.5, 3, (2, 300)).astype(np.float32)
    found = loss(jnp.asarray(logits), soft_label, (factor, divisor))
    expected = loss(factor[:, None] * logits, soft_label) / divisor
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "hinge"},
            r"loss\.name: got 'hinge', expected one of: cross_entropy, mbls, focal",
        ),
        ({"gamma": -1.0}, r"loss\.gamma: got -1\.0, must be at least 0"),
        ({"schedule": "flsd"}, r"loss\.schedule: got 'flsd', expected one of: fixed, flsd53"),
        ({"temperature": 0.0}, r"loss\.temperature: got 0\.0, must be between 0\.001 and 100"),
        ({"margin": -1.0}, r"loss\.margin: got -1\.0"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    config = base.base()
    config.loss.update(settings)
    with pytest.raises(ValueError, match=message):
        losses.create(config)


# --- whole runs ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbls", "focal", "logit_norm"])
def test_a_run_trains_with_its_loss_and_resumes_to_the_bit(tmp_path, name):
    config = helpers.small_config(loss__name=name, augment__name="mixup", accumulate=2)
    calls = iter(range(99))
    train.train(config, tmp_path / "whole", progress=False)
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path / "cut", progress=False, should_stop=lambda: next(calls) > 2)
    train.train(config, tmp_path / "cut", progress=False)
    helpers.assert_same_bits(*(helpers.last_checkpoint(tmp_path / n) for n in ("whole", "cut")))
    config.loss.name = "cross_entropy"
    train.train(config, tmp_path / "plain", progress=False)
    own, plain = (helpers.read_metrics(tmp_path / n)[-1]["train_loss"] for n in ("whole", "plain"))
    assert own != plain
