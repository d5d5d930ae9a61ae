"""Calibrators against SciPy, scikit-learn, known parameters and NumPy by hand."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy import optimize, special, stats
from sklearn import linear_model, metrics

from autolabel_jax import calibrators
from autolabel_jax.calibrators import (
    HeldOut,
    adjusted,
    base,
    input_temperature,
    neighbours,
    temperature,
    vector,
)
from autolabel_jax.calibrators.input_temperature import InputTemperature
from autolabel_jax.models.features import Features
from tests import helpers

compiled = helpers.compile_methods(
    (InputTemperature, "log_temperature"), (InputTemperature, "_columns")
)


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


def root(logits, label):
    """The temperature at which the NLL has no slope, by a search of SciPy in log(1/T)."""
    rows = np.arange(len(label))

    def slope(log_inverse):
        p = special.softmax(logits * np.exp(log_inverse), axis=-1)
        return np.mean((p * logits).sum(-1) - logits[rows, label])

    return np.exp(-optimize.brentq(slope, -20, 20))


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_finds_the_optimum_of_logits_of_any_size(k, size):
    logits, label = draw(7, 400, k, 1.7)
    found = temperature.find(size * logits, label)
    assert found.kind == temperature.FINITE and not found.warning
    assert found.temperature == pytest.approx(size * root(logits, label), rel=1e-4)


def test_an_optimum_beyond_the_first_range_is_found():
    """At T, p = sigmoid(1/T) of two classes equals the share of right answers, 50.1 %."""
    right = np.arange(1000) < 501
    found = temperature.find(np.tile([1.0, 0.0], (1000, 1)), np.where(right, 0, 1))
    assert found.kind == temperature.FINITE
    assert found.temperature == pytest.approx(1 / special.logit(0.501), rel=1e-6)
    found = temperature.find(np.tile([1e-3, 0.0], (10, 1)), np.arange(10) // 9)
    assert found.temperature == pytest.approx(1e-3 / special.logit(0.9), rel=1e-6)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("k", [2, 1000])
def test_an_optimum_at_zero_at_infinity_or_nowhere_is_named(k, size):
    logits, label = draw(8, 60, k, 1.0)
    logits *= size
    width = np.ptp(logits, axis=-1).max()
    right = temperature.find(logits, logits.argmax(-1))
    assert right.kind == temperature.ZERO and 0 < right.temperature <= min(0.01, 0.01 * width)
    wrong = temperature.find(logits, logits.argmin(-1))
    assert wrong.kind == temperature.INFINITE and np.isfinite(wrong.temperature)
    uniform = special.softmax(logits / wrong.temperature, axis=-1)
    np.testing.assert_allclose(uniform, 1 / k, rtol=0.11)
    constant = temperature.find(np.full((60, k), size), label)
    assert constant == (1.0, temperature.NONE)
    for found in (right, wrong, constant):
        assert f"T = {found.temperature:.4g} is used" in found.warning


def test_rounding_and_weights_of_nothing_do_not_hide_where_the_optimum_is():
    third = np.array([[1 / 3, 0.1, 0.2], [0.2, 1 / 3, 0.1], [0.1, 0.2, 1 / 3]])
    by_chance = np.tile(third, (3, 1)) + 0.1, np.repeat([0, 1, 2], 3)
    assert temperature.find(*by_chance).kind == temperature.INFINITE
    logits, label = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    assert temperature.find(logits, label).kind == temperature.FINITE
    assert temperature.find(logits, label, np.array([1, 1, 1, 0])).kind == temperature.ZERO
    with pytest.raises(ValueError, match="weight: got no positive one for 4 examples"):
        temperature.find(logits, label, np.zeros(4))
    tied = np.array([[1.0, 1.0, 0.0]])
    assert temperature.find(tied, np.array([0])).kind == temperature.ZERO


def test_no_finite_optimum_is_a_warning_of_the_plain_functions():
    logits, label = 10 * np.eye(3), np.arange(3)
    with pytest.warns(UserWarning, match=r"every held-out example is classified right.* T = 0\.01"):
        assert temperature.fit_temperature(logits, label) == 0.01
    with pytest.warns(UserWarning, match="vector scaling: .* infinite; finite ones are used"):
        vector.fit_vector(logits, label)


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


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2, 1e3, 1e4])
def test_vector_scaling_follows_the_units_of_the_logits(size):
    logits, label = draw_vector(5, 500, np.array([0.6, 1.2, 0.9]), np.array([0.5, 0.0, -0.5]))
    one, other = (vector.find(c * logits, label) for c in (1, size))
    assert one.kind == other.kind == vector.FINITE and not other.warning
    np.testing.assert_allclose(size * other.scale, one.scale, rtol=1e-3)
    np.testing.assert_allclose(other.bias, one.bias, atol=1e-3)


def test_an_infinite_optimum_of_vector_scaling_is_named():
    logits, label = draw(6, 300, 4, 1.0)
    unseen = vector.find(logits, np.where(label == 3, 0, label))
    by_one_logit = vector.find(logits, np.where(logits[:, 3] > 2, 3, label % 3))
    wrong = vector.find(logits, logits.argmin(-1))  # right with w = -1
    for found in (unseen, by_one_logit, wrong):
        assert found.kind == vector.INFINITE and np.isfinite(found.scale).all()
        assert np.isfinite(found.bias).all() and found.warning
    assert vector.find(np.zeros((30, 3)), np.arange(30) % 3).kind == vector.FINITE  # the biases are


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


# Rules with a temperature for each input.

FEATURES = (
    "trust",
    "neighbours_1",
    "neighbours_2",
    "neighbours_penultimate",
    "mean_drift",
    "variance_drift",
)


def make_held_out(seed=0, n=600, k=4, shift=1.0, constant=False) -> HeldOut:
    """Half clean, half moved; T of the moved examples rises with their drift."""
    rng = np.random.default_rng(seed)
    group = (np.arange(n) % 2).astype(np.int32)
    features = {
        name: (np.ones(n) if constant else rng.normal(size=n) + group).astype(np.float32)
        for name in FEATURES
    }
    log_t = 0.3 + shift * group * (0.5 + 0.3 * features["mean_drift"])
    logits = (3 * rng.normal(size=(n, k))).astype(np.float32)
    cumulative = special.softmax(logits / np.exp(log_t)[:, None], axis=-1).cumsum(-1)
    label = np.minimum((rng.random((n, 1)) > cumulative).sum(-1), k - 1).astype(np.int32)
    weight = np.where(group == 0, 0.5, 1.0).astype(np.float32)
    distance = (group * rng.random(n)).astype(np.float32)
    return HeldOut(logits, features, label, distance, group, weight)


def weighted_nll(logits, label, weight):
    log_p = special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    return -np.average(log_p[np.arange(len(label)), label], weights=weight)


def rule_by_hand(held_out, x, linear, rising, t0):
    """log T of a rule from its definition, with parameters x = a, u, c, v."""

    def column(name):
        if name == "entropy":
            p = special.softmax(held_out.logits.astype(np.float64) / t0, axis=-1)
            raw = np.log(stats.entropy(p, axis=-1) / np.log(p.shape[1]) + 1e-4)
        else:
            raw = held_out.features[name].astype(np.float64)
        mean = np.average(raw, weights=held_out.weight)
        return (raw - mean) / np.sqrt(np.average((raw - mean) ** 2, weights=held_out.weight))

    log_t = x[0] + sum(x[1 + i] * column(name) for i, name in enumerate(linear))
    if rising:
        c, v = x[1 + len(linear)], x[2 + len(linear) :]
        inner = c - 2 + sum(v[i] * column(name) for i, name in enumerate(rising))
        log_t = log_t + np.log(1 + np.exp(inner))
    return np.clip(log_t, -3, 4)


def objective_by_hand(held_out, x, linear, rising, t0):
    log_t = rule_by_hand(held_out, x, linear, rising, t0)
    ridge = np.sum(np.square(x[1 : 1 + len(linear)])) + np.sum(np.square(x[2 + len(linear) :]))
    scaled = held_out.logits / np.exp(log_t)[:, None]
    return weighted_nll(scaled, held_out.label, held_out.weight) + 1e-3 * ridge


# Rules differ in the features that they read, and in what is adjusted.
WIDEST = "drift_entropy_trust_neighbours"
SHORT = {"temperature", "vector", "pooled_temperature", WIDEST, f"{WIDEST}_recentred"}


def lanes(names) -> list:
    """Parameters: those of SHORT, and in the long lane the others."""
    return [n if n in SHORT else pytest.param(n, marks=pytest.mark.slow) for n in names]


EACH_RULE = pytest.mark.parametrize("name", lanes(calibrators.RULES))


@EACH_RULE
def test_a_rule_is_the_minimum_of_its_objective(name):
    held_out, rule = make_held_out(), calibrators.RULES[name]
    params = rule.fit(held_out)
    found = np.concatenate([[params["a"]], params["u"], [params["c"]], params["v"]])
    found = found if rule.rising else found[:-1]
    clean = held_out.group == 0
    t0 = temperature.fit_temperature(held_out.logits[clean], held_out.label[clean])
    arguments = rule.linear, rule.rising, t0
    log_t = rule.log_temperature(params, held_out.logits, held_out.features)
    np.testing.assert_allclose(log_t, rule_by_hand(held_out, found, *arguments), atol=2e-4)
    by_scipy = optimize.minimize(  # without a gradient, from where the fit ended
        lambda x: objective_by_hand(held_out, x, *arguments), found, method="BFGS"
    )
    assert objective_by_hand(held_out, found, *arguments) <= by_scipy.fun + 2e-5


def test_gradient_of_the_objective_by_differences():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3))
    logits -= logits.max(-1, keepdims=True)
    arguments = logits, rng.integers(0, 3, 50), rng.normal(size=(50, 4)), rng.dirichlet(np.ones(50))
    x = rng.normal(size=6)
    x[0] = 2.0  # so that some inputs are beyond the largest temperature
    _, gradient = input_temperature.objective(x, *arguments, 2)
    by_differences = optimize.approx_fprime(
        x, lambda x: input_temperature.objective(x, *arguments, 2)[0], 1e-7
    )
    np.testing.assert_allclose(gradient, by_differences, atol=1e-5)


def test_drift_finds_that_moved_inputs_need_higher_temperatures():
    held_out, test = make_held_out(0, 8000), make_held_out(1, 4000)
    scaled = {}
    for name in ("temperature", "pooled_temperature", "drift", "drift_recentred", "drift_clean"):
        calibrator = calibrators.TABLE[name]
        scaled[name] = calibrator.apply(calibrator.fit(held_out), test.logits, test.features)
    moved = test.group == 1
    nll_of = {
        name: weighted_nll(logits[moved], test.label[moved], None)
        for name, logits in scaled.items()
    }
    assert nll_of["drift"] < nll_of["pooled_temperature"] - 0.005
    assert nll_of["drift_recentred"] < nll_of["temperature"] - 0.02
    assert nll_of["drift_clean"] > nll_of["drift"] + 0.01  # clean examples say nothing about shift


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_a_rule_follows_the_units_of_the_logits(size):
    held_out, rule = make_held_out(), calibrators.RULES["drift_entropy_trust"]
    t0 = temperature.find(held_out.clean().logits, held_out.clean().label).temperature
    large = held_out.replace(logits=(held_out.logits * size).astype(np.float32))
    # The unit of the other fit is 1, of this one T₀, so limits differ; none is reached here.
    one, other = (
        rule.log_temperature(rule.fit(h), h.logits, h.features) for h in (held_out, large)
    )
    assert np.abs(one).max() < 3 and abs(np.log(t0)) < 3
    np.testing.assert_allclose(other, one + np.log(size), atol=5e-3)


def test_a_rule_starts_from_all_examples_where_clean_ones_are_all_right():
    held_out, rule = make_held_out(), calibrators.RULES["drift"]
    clean = held_out.group == 0
    label = np.where(clean, held_out.logits.argmax(-1), held_out.label)
    held_out = held_out.replace(label=label)
    with pytest.warns(UserWarning, match="clean held-out examples: .* classified right"):
        params = rule.fit(held_out)
    pooled = temperature.fit_temperature(held_out.logits, label, held_out.weight)
    assert params["clean_temperature"] == np.float32(pooled)


def test_a_rule_says_that_its_temperatures_are_at_a_limit():
    held_out, rule = make_held_out(), calibrators.RULES["drift"]
    held_out = held_out.replace(label=held_out.logits.argmin(-1))
    with pytest.warns(UserWarning, match="'drift': 100% of .* smallest or largest temperature"):
        params = rule.fit(held_out)
    scaled = np.asarray(rule.apply(params, held_out.logits, held_out.features))
    np.testing.assert_allclose(scaled, held_out.logits / params["clean_temperature"], rtol=1e-4)
    np.testing.assert_allclose(special.softmax(scaled, axis=-1), 1 / scaled.shape[1], rtol=0.2)
    with pytest.warns(UserWarning, match="not recentred: .* no better than chance"):
        assert adjusted.Recentred(rule).recentre(params, held_out)["temperature"] == 1


def test_buckets_without_a_finite_optimum_are_named():
    held_out = make_held_out()
    place = np.asarray(calibrators.Bucket()._bucket(held_out.group, held_out.distance))
    label = np.where(place == 0, held_out.logits.argmax(-1), held_out.label)
    with pytest.warns(UserWarning, match="'bucket': buckets 0 have no finite best temperature"):
        calibrators.Bucket().fit(held_out.replace(label=label))


def test_log_entropy_equals_scipy():
    logits = np.random.default_rng(0).normal(size=(20, 5)) * 5
    p = special.softmax(logits, axis=-1)
    expected = np.log(stats.entropy(p, base=5, axis=-1) + 1e-4)
    np.testing.assert_allclose(input_temperature.log_entropy(logits), expected, atol=1e-4)
    certain = input_temperature.log_entropy(np.array([[1e4, 0.0]]))
    np.testing.assert_allclose(certain, np.log(1e-4), rtol=1e-5)


@EACH_RULE
def test_constant_features_leave_one_temperature(name):
    """A feature of one value says nothing, so plain is pooled and recentred is TS."""
    rule = calibrators.RULES[name]
    if "entropy" in rule.linear:
        rule = dataclasses.replace(rule, linear=tuple(f for f in rule.linear if f != "entropy"))
    held_out = make_held_out(n=1000, constant=True)
    other = {name: column + 1 for name, column in held_out.features.items()}

    def applied(calibrator, features=held_out.features):
        return np.asarray(calibrator.apply(calibrator.fit(held_out), held_out.logits, features))

    expected = applied(calibrators.TABLE["pooled_temperature"])
    np.testing.assert_allclose(applied(rule), expected, rtol=2e-3)
    np.testing.assert_allclose(applied(rule, other), expected, rtol=2e-3)
    expected = applied(calibrators.TABLE["temperature"])
    np.testing.assert_allclose(applied(adjusted.Recentred(rule)), expected, rtol=2e-3)


def test_without_moved_examples_the_pooled_temperature_is_that_of_clean_ones():
    clean = make_held_out().clean()
    one, other = (calibrators.TABLE[n].fit(clean) for n in ("temperature", "pooled_temperature"))
    assert one["temperature"] == other["temperature"]


@pytest.mark.parametrize("k", [2, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", lanes(calibrators.TABLE))
def test_any_number_of_classes_jitted_and_exported(name, k):
    held_out, calibrator = make_held_out(n=80 if k == 1000 else 600, k=k), calibrators.TABLE[name]
    if name == "vector" and k == 1000:
        pytest.skip("2,000 parameters: slow, and tested with few classes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        params = calibrator.fit(held_out)
    logits, features = held_out.logits[:7], {n: c[:7] for n, c in held_out.features.items()}
    plain = calibrator.apply(params, logits, features)
    assert (plain.shape, plain.dtype) == ((7, k), jnp.dtype("float32"))
    jitted = jax.jit(calibrator.apply)
    np.testing.assert_allclose(jitted(params, logits, features), plain, rtol=1e-4, atol=1e-5)
    exported = export.export(jitted)(params, logits, features)
    np.testing.assert_allclose(exported.call(params, logits, features), plain, rtol=1e-4, atol=1e-5)
    if name != "vector":
        np.testing.assert_array_equal(plain.argmax(-1), logits.argmax(-1))


def test_log_temperature_is_limited():
    rule = calibrators.RULES["drift"]
    params = rule.fit(make_held_out())
    far = {name: np.array([1e6, -1e6], np.float32) for name in FEATURES}
    log_t = rule.log_temperature(params, np.zeros((2, 4), np.float32), far)
    assert log_t.max() == 4
    assert log_t.min() >= -3


def test_recentring_is_temperature_scaling_of_the_calibrated_clean_examples():
    held_out, rule = make_held_out(), calibrators.RULES["drift_entropy_trust"]
    inner, clean = rule.fit(held_out), held_out.clean()
    scaled = rule.apply(inner, clean.logits, clean.features)
    expected = temperature.fit_temperature(scaled, clean.label)
    params = adjusted.Recentred(rule).fit(held_out)
    assert params["temperature"] == pytest.approx(expected, rel=1e-6)


def test_bucket_looks_up_the_temperature_of_each_distance():
    held_out, calibrator = make_held_out(n=2000), calibrators.Bucket(num=2)
    params = calibrator.fit(held_out)
    far = (held_out.group == 1) & (held_out.distance > 0.5)
    expected = temperature.fit_temperature(held_out.logits[far], held_out.label[far])
    assert params["temperature"][3] == pytest.approx(expected, rel=1e-5)
    pooled = temperature.fit_temperature(held_out.logits, held_out.label, held_out.weight)
    assert params["temperature"][1] == pytest.approx(pooled, rel=1e-5)  # clean and far: empty
    known = {"group": np.array([0, 1]), "distance": np.array([0.0, 0.9], np.float32)}
    scaled = calibrator.apply(params, np.ones((2, 4), np.float32), known)
    np.testing.assert_allclose(scaled[:, 0], 1 / params["temperature"][[0, 3]], rtol=1e-6)
    with pytest.raises(base.MissingFeatureError, match="'bucket' reads group, distance"):
        calibrator.apply(params, np.ones((2, 4), np.float32), {})


def test_a_missing_feature_is_named():
    held_out = make_held_out().replace(features={"trust": np.ones(600, np.float32)})
    message = r"calibrator 'drift' reads mean_drift, variance_drift, .* this model \(trust\)"
    with pytest.raises(base.MissingFeatureError, match=message):
        calibrators.TABLE["drift"].fit(held_out)


def test_warns_below_500_clean_examples():
    with pytest.warns(UserWarning, match="fitted on 400 clean held-out examples; with fewer"):
        calibrators.TABLE["drift"].fit(make_held_out(n=800))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrators.TABLE["drift"].fit(make_held_out(n=1000))


def test_refuses_a_pool_without_clean_examples():
    held_out = make_held_out()
    with pytest.raises(ValueError, match="group: got no clean example"):
        calibrators.TABLE["temperature"].fit(held_out.take(np.flatnonzero(held_out.group == 1)))


# Features of neighbours, in loops over NumPy's float64.


def make_features(seed, n, scale=1.0) -> Features:
    rng = np.random.default_rng(seed)
    sizes = (3, 4, 5)
    stages = tuple(np.float32(scale * rng.normal(size=(n, size))) for size in sizes)
    drift = rng.normal(size=(n, 2)).astype(np.float32)
    return Features(stages=stages, penultimate=np.abs(stages[2]), drift=drift)


def distance_by_hand(x, rows):
    mean, deviation = rows.mean(0), rows.std(0)
    x, rows = (x - mean) / deviation, (rows - mean) / deviation
    squared = np.sort(np.mean((x[:, None] - rows[None]) ** 2, axis=-1), axis=-1)
    return 0.5 * np.log(squared[:, :10].mean(-1))


def trust_by_hand(x, rows, label, predicted, k):
    x, rows = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (x, rows))
    found = []
    for i, row in enumerate(x):
        d = []
        for c in range(k):
            cosine = np.sort(rows[label == c] @ row)[::-1][:5]
            d.append(0.01 + np.sqrt(2 - 2 * (cosine.mean() if len(cosine) else -1)))
        own = d.pop(predicted[i])
        found.append(np.log(min(d) / own))
    return found


def test_features_of_neighbours_by_hand():
    k, train, test = 4, make_features(0, 60), make_features(1, 8, scale=1.3)
    label = np.random.default_rng(2).permutation([0] * 40 + [1] * 17 + [3] * 3)  # none of class 2
    logits = np.random.default_rng(3).normal(size=(8, k)).astype(np.float32)
    reference = neighbours.make_reference(train, label, k)
    found = jax.jit(neighbours.scalars)(logits, test, reference)
    assert set(found) == set(FEATURES)
    layers = zip(test.stages[:2], train.stages[:2], strict=True)
    for i, (x, rows) in enumerate([*layers, (test.penultimate, train.penultimate)]):
        name = neighbours.DISTANCES[i]
        expected = distance_by_hand(x.astype(np.float64), rows.astype(np.float64))
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    expected = trust_by_hand(
        *(np.float64(f.penultimate) for f in (test, train)), label, logits.argmax(-1), k
    )
    np.testing.assert_allclose(found["trust"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found["mean_drift"], test.drift[:, 0])
    np.testing.assert_array_equal(found["variance_drift"], test.drift[:, 1])


def test_features_without_neighbours_or_drift():
    features, logits = make_features(0, 6), np.zeros((6, 4), np.float32)
    assert set(neighbours.scalars(logits, features, None)) == {"mean_drift", "variance_drift"}
    bare = Features(stages=(), penultimate=None, drift=None)
    assert neighbours.make_reference(bare, np.zeros(6, int), 4) is None
    assert neighbours.scalars(logits, bare, None) == {}


def test_a_dead_unit_and_a_training_image_itself_are_finite():
    train = make_features(0, 12)
    dead = train.replace(penultimate=np.concatenate([train.penultimate, np.zeros((12, 1))], -1))
    reference = neighbours.make_reference(dead, np.arange(12) % 4, 4)
    logits = np.eye(4, dtype=np.float32)[np.arange(12) % 4]
    found = jax.jit(neighbours.scalars)(logits, dead, reference)
    assert all(np.isfinite(column).all() for column in found.values())


class Tensor:
    """Is an array of another framework, which NumPy can read."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_works_like_an_estimator_of_scikit_learn_on_arrays_of_any_framework():
    held_out = make_held_out()
    features = {name: Tensor(column) for name, column in held_out.features.items()}
    rule = calibrators.Calibrator("drift_recentred").fit(
        Tensor(held_out.logits),
        Tensor(held_out.label),
        features=features,
        group=held_out.group,
        weight=held_out.weight,
    )
    params = calibrators.TABLE["drift_recentred"].fit(held_out)
    jax.tree.map(np.testing.assert_array_equal, rule.params_, params)
    found = rule.predict_proba(
        Tensor(held_out.logits[:5]), features=held_out.take(slice(5)).features
    )
    scaled = calibrators.TABLE["drift_recentred"].apply(
        params, held_out.logits[:5], held_out.take(slice(5)).features
    )
    np.testing.assert_allclose(found, special.softmax(np.float64(scaled), axis=-1), rtol=1e-6)


def test_estimator_is_temperature_scaling_by_default():
    logits, label = draw(0, 600, 3, 1.7)
    found = calibrators.Calibrator().fit(logits, label).transform(logits)
    expected = logits / temperature.fit_temperature(logits, label)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="calibrator: got 'platt', expected one of: temperature"):
        calibrators.Calibrator("platt")
    with pytest.raises(ValueError, match="'vector' is not fitted; call fit first"):
        calibrators.Calibrator("vector").transform(logits)
