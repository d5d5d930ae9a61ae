"""Temperature and vector scaling against SciPy, scikit-learn and known parameters."""

import numpy as np
import pytest
from scipy import optimize, special
from sklearn import linear_model, metrics

from autolabel_jax.calibrators import temperature, vector


def nll(logits, label, t):
    probability = special.softmax(np.asarray(logits, np.float64) / t, axis=-1)
    return metrics.log_loss(label, probability, labels=np.arange(logits.shape[1]))


def draw(seed, n, k, true_temperature, spread=3.0):
    """Logits, and labels drawn from softmax(logits / T)."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, k))
    cumulative = special.softmax(logits / true_temperature, axis=-1).cumsum(-1)
    return logits, np.minimum((rng.random((n, 1)) > cumulative).sum(-1), k - 1)


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_search_by_scipy_in_the_inverse_temperature(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 12))
    logits, label = draw(seed, 300, k, float(rng.uniform(0.5, 3)))
    found = temperature.fit_temperature(logits, label)
    by_scipy = optimize.minimize(
        lambda b: nll(logits, label, 1 / b[0]), [1.0], method="Nelder-Mead", tol=1e-10
    )
    assert found == pytest.approx(1 / by_scipy.x[0], rel=1e-4)
    assert nll(logits, label, found) <= by_scipy.fun + 1e-9


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5, 8.0])
def test_recovers_the_temperature_that_labels_were_drawn_with(true_temperature):
    logits, label = draw(0, 40_000, 10, true_temperature)
    found = temperature.fit_temperature(logits, label)
    assert found == pytest.approx(true_temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_nll_never_rises(seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 60)), int(rng.integers(2, 8))
    logits = rng.normal(size=(n, k)) * 10.0 ** rng.integers(-3, 4)
    label = rng.integers(0, k, n)
    found = temperature.fit_temperature(logits, label)
    assert nll(logits, label, found) <= nll(logits, label, 1.0) * (1 + 1e-9) + 1e-12


def test_scaling_the_logits_scales_the_temperature():
    logits, label = draw(3, 500, 5, 1.5)
    one, three = (temperature.fit_temperature(c * logits, label) for c in (1, 3))
    assert three == pytest.approx(3 * one, rel=1e-4)


def test_separable_logits_stay_finite():
    label = np.arange(30) % 3
    found = temperature.fit_temperature(10 * np.eye(3)[label], label)
    assert 0.01 <= found < 1


def test_logits_that_say_nothing_stay_finite():
    """Right as often as chance: the best is uniform, as far as the range goes."""
    logits = np.tile([[1.0, 0.0], [0.0, 1.0]], (10, 1))
    label = np.repeat([0, 1], 10)
    assert 50 < temperature.fit_temperature(logits, label) <= 100 + 1e-9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_logits_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="logits: .*finite"):
        temperature.fit_temperature(np.array([[0.0, bad]]), np.array([0]))


def test_refuses_no_example():
    with pytest.raises(ValueError, match=r"logits: got shape \(0, 3\)"):
        temperature.fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("fit", [temperature.fit_temperature, vector.fit_vector])
@pytest.mark.parametrize("label", [[0, 3], [-1, 0], [0], [[0, 1]]])
def test_refuses_labels_that_do_not_fit(fit, label):
    with pytest.raises(ValueError, match="label: .*one label from 0 to 2 for each of 2 rows"):
        fit(np.zeros((2, 3)), np.array(label))


def draw_vector(seed, n, w, b, spread=2.0):
    """Logits, and labels drawn from softmax(logits · w + b)."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, len(w)))
    cumulative = special.softmax(logits * w + b, axis=-1).cumsum(-1)
    return logits, np.minimum((rng.random((n, 1)) > cumulative).sum(-1), len(w) - 1)


def vector_nll(logits, label, w, b):
    return nll(np.asarray(logits, np.float64) * w + b, label, 1.0)


def test_recovers_the_scales_and_biases_that_labels_were_drawn_with():
    w, b = np.array([0.4, 1.0, 1.6, 0.7]), np.array([1.0, -1.5, 0.0, 0.5])
    found_w, found_b = vector.fit_vector(*draw_vector(0, 60_000, w, b))
    np.testing.assert_allclose(found_w, w, atol=0.04)
    np.testing.assert_allclose(found_b, b - b.mean(), atol=0.04)


def test_vector_scaling_of_tempered_labels_is_the_temperature():
    found_w, found_b = vector.fit_vector(*draw(4, 60_000, 5, 2.0))
    np.testing.assert_allclose(found_w, 0.5, atol=0.02)
    np.testing.assert_allclose(found_b, 0, atol=0.05)


def test_two_classes_are_a_logistic_regression():
    """Its features are the two logits, its coefficients -w_0 and w_1, its intercept b_1 - b_0."""
    logits, label = draw_vector(1, 800, np.array([0.5, 1.4]), np.array([0.3, -0.3]))
    w, b = vector.fit_vector(logits, label)
    fit = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, label)
    np.testing.assert_allclose([-w[0], w[1]], fit.coef_[0], rtol=1e-4)
    assert b[1] - b[0] == pytest.approx(fit.intercept_[0], abs=1e-4)
    assert b.sum() == pytest.approx(0, abs=1e-12)


def test_vector_scaling_equals_a_search_by_scipy_without_its_gradient():
    logits, label = draw_vector(2, 200, np.array([0.5, 1.5, 1.0]), np.array([1.0, 0.0, -1.0]))
    w, b = vector.fit_vector(logits, label)
    by_scipy = optimize.minimize(
        lambda x: vector_nll(logits, label, x[:3], x[3:]), np.zeros(6), method="BFGS"
    )
    assert vector_nll(logits, label, w, b) <= by_scipy.fun + 1e-9
    np.testing.assert_allclose(w, by_scipy.x[:3], atol=1e-3)
    np.testing.assert_allclose(b, by_scipy.x[3:] - by_scipy.x[3:].mean(), atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_nll_of_vector_scaling_never_rises(seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 60)), int(rng.integers(2, 8))
    logits = rng.normal(size=(n, k)) * 10.0 ** rng.integers(-3, 4)
    label = rng.integers(0, k, n)
    w, b = vector.fit_vector(logits, label)
    found = vector_nll(logits, label, w, b)
    for t in (1.0, temperature.fit_temperature(logits, label)):
        assert found <= nll(logits, label, t) * (1 + 1e-9) + 1e-12


def test_vector_scaling_follows_the_units_of_the_logits():
    logits, label = draw_vector(5, 500, np.array([0.6, 1.2, 0.9]), np.array([0.5, 0.0, -0.5]))
    (one, b), (thousandth, b_again) = (vector.fit_vector(c * logits, label) for c in (1, 1e3))
    np.testing.assert_allclose(1e3 * thousandth, one, rtol=1e-3)
    np.testing.assert_allclose(b_again, b, atol=1e-3)


def test_a_class_that_is_never_seen_and_separable_logits_stay_finite():
    logits, label = draw(6, 300, 4, 1.0)
    w, b = vector.fit_vector(logits, np.where(label == 3, 0, label))
    assert np.isfinite(w).all() and np.abs(w).max() <= 100
    assert b.argmin() == 3 and np.abs(b).max() <= 200
    label = np.arange(30) % 3
    w, b = vector.fit_vector(10 * np.eye(3)[label], label)
    assert np.isfinite([w, b]).all() and np.abs(w).max() <= 100


@pytest.mark.parametrize("logits", [np.zeros((0, 3)), np.array([[0.0, np.nan]])])
def test_vector_scaling_refuses_what_temperature_scaling_does(logits):
    with pytest.raises(ValueError, match="logits: got shape .* expected finite logits"):
        vector.fit_vector(logits, np.zeros(len(logits), int))
