"""Cross-entropies against SciPy, scikit-learn and closed forms."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from autolabel_jax import losses


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
