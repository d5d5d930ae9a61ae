"""Logits of padded batches, and the clean metrics against scikit-learn and loops.

Corrupted, published and attacked sets: test_evaluation_corrupted.py, test_evaluation_units.py.
"""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline
from autolabel_jax.calibrators import temperature, vector
from autolabel_jax.evaluation import clean, predict, scaling
from autolabel_jax.evaluation.scaling import Scaling


def make_logits(seed, n=400, k=5, spread=2.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, k, n)
    logits = spread * (rng.normal(size=(n, k)) + np.eye(k)[label])
    return logits.astype(np.float32), label.astype(np.int32)


def ece_by_hand(probability, label, bins=15):
    top, right = probability.max(-1), probability.argmax(-1) == label
    total = 0.0
    for r in range(bins):
        inside = (top > r / bins) & (top <= (r + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    return total


def check_scores(found, logits, label):
    probability = special.softmax(logits.astype(np.float64), axis=-1)
    k = logits.shape[1]
    assert found["accuracy"] == pytest.approx(
        metrics.accuracy_score(label, probability.argmax(-1)), abs=1e-6
    )
    assert found["nll"] == pytest.approx(
        metrics.log_loss(label, probability, labels=np.arange(k)), rel=1e-5
    )
    brier = np.mean([np.sum((p - np.eye(k)[y]) ** 2) for p, y in zip(probability, label)])
    assert found["brier"] == pytest.approx(brier, rel=1e-5)
    assert found["ece"] == pytest.approx(ece_by_hand(probability, label), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_scores(seed):
    logits, label = make_logits(seed, n=[1, 33, 400, 400][seed], k=[2, 3, 5, 10][seed])
    check_scores(clean.scores(logits, label), logits, label)


def test_scores_of_certain_and_wrong_logits_are_finite():
    logits = np.array([[200.0, 0.0], [0.0, 200.0]], np.float32)
    found = clean.scores(logits, np.array([1, 1]))
    expected = {"accuracy": 0.5, "ece": 0.5, "nll": 100.0, "brier": 1.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_temperature_comes_from_the_held_out_set_alone():
    logits, label = make_logits(0)
    held_out, held_out_label = make_logits(1, spread=6.0)
    fitted = scaling.fit(held_out, held_out_label)
    metrics = clean.scaled_scores(logits, label, fitted)
    t = temperature.fit_temperature(held_out, held_out_label)
    assert fitted.temperature == t
    assert abs(t - temperature.fit_temperature(logits, label)) > 0.5
    check_scores({n: metrics[n] for n in ("accuracy", "nll", "brier", "ece")}, logits, label)
    scaled = {n: metrics[f"{n}_ts"] for n in ("accuracy", "nll", "brier", "ece")}
    check_scores(scaled, logits / np.float32(t), label)


def test_vector_scaling_may_move_accuracy():
    logits, label = make_logits(0)
    bias = np.array([0, 3.0, 0, -3, 0])
    fitted = Scaling(2.0, (np.full(5, 1.5), bias))
    found = clean.scaled_scores(logits, label, fitted)
    scaled = {n: found[f"{n}_vs"] for n in ("accuracy", "nll", "brier", "ece")}
    check_scores(scaled, 1.5 * logits + bias, label)
    assert found["accuracy_vs"] != found["accuracy"] == found["accuracy_ts"]


def test_intervals_are_quantiles_of_resampled_scores():
    logits, label = make_logits(2, n=60)
    found = clean.intervals(logits, label, Scaling(1.7))
    rows = np.random.default_rng(0).integers(0, 60, (1000, 60))
    probability = special.softmax(logits.astype(np.float64) / 1.7, axis=-1)
    nll = -np.log(probability[np.arange(60), label])[rows].mean(-1)
    np.testing.assert_allclose(found["nll_ts_interval"], np.quantile(nll, [0.025, 0.975]), 1e-4)
    ece = [ece_by_hand(probability[r], label[r]) for r in rows]
    np.testing.assert_allclose(
        found["ece_ts_interval"], np.quantile(ece, [0.025, 0.975]), rtol=1e-4
    )
    assert set(found) == {
        f"{n}{end}_interval" for n in ("accuracy", "ece", "nll", "brier") for end in ("", "_ts")
    }


@pytest.fixture(scope="module")
def trained():
    """(model, variables, mesh, test split) of an untrained network with batch norm."""
    dataset = helpers.make_dataset(test=30)
    experiment = helpers.make_experiment(dataset, model__name="small_cnn", model__width=4)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    return (
        experiment.model,
        experiment_lib.inference_variables(state),
        experiment.mesh,
        dataset.test,
    )


@pytest.mark.parametrize("batch_size", [1, 8, 29, 30, 500])
def test_padded_batches_equal_the_whole_set_at_once(trained, batch_size):
    model, variables, mesh, split = trained
    logits_of = predict.make_predict(model, mesh, batch_size)
    found = logits_of(variables, input_pipeline.put_split(split, mesh))
    image = jnp.asarray(split.input.astype(np.float32) / 255)
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image)
    assert isinstance(found, np.ndarray)
    assert found.shape == (30, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_transform_sees_the_index_and_the_stored_image(trained):
    """Darkening by the index moves each image the same, whatever the batch."""
    model, variables, mesh, split = trained

    def darken(index, image):
        assert image.dtype == jnp.uint8
        share = 1 / (1 + index.astype(jnp.float32))
        return image.astype(jnp.float32) / 255 * share[:, None, None, None]

    whole = input_pipeline.put_split(split, mesh)
    found = [predict.make_predict(model, mesh, b, darken)(variables, whole) for b in (8, 30)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    dark = split.input.astype(np.float32) / 255 / (1 + np.arange(30))[:, None, None, None]
    expected = model.apply(variables, jnp.asarray(dark, jnp.float32), train=False)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_superclass_figures_by_hand():
    # Two superclasses of two classes each; T = 1/2 squares the probabilities.
    probability = np.array([[0.4, 0.0001, 0.3, 0.2999], [0.9, 0.05, 0.04, 0.01]])
    logits, label = np.log(probability).astype(np.float32), np.array([0, 1])
    half = Scaling(0.5)
    found = clean.superclass_metrics(logits, label, half, np.array([0, 0, 1, 1]))
    squares = probability**2 / np.sum(probability**2, -1, keepdims=True)
    first, second = 0.3 + 0.2999, 0.95  # top of each; the first is wrong, the second right
    expected = {
        "superclass_accuracy": 0.5,
        "superclass_ece": (first + 1 - second) / 2,
        # Then wrong again, as .09 + .09 > .16, and with more confidence.
        "superclass_accuracy_ts": 0.5,
        "superclass_ece_ts": (squares[0, 2:].sum() + 1 - squares[1, :2].sum()) / 2,
    }
    assert found == pytest.approx(expected, abs=1e-6)
    sharp = Scaling(0.1)
    found = clean.superclass_metrics(logits, label, sharp, np.array([0, 0, 1, 1]))
    # .4^10 > 2 · .3^10: a temperature may move which superclass is on top.
    assert (found["superclass_accuracy"], found["superclass_accuracy_ts"]) == (0.5, 1.0)


def test_scaled_logits():
    logits = np.random.default_rng(0).normal(size=(300, 3))
    label = (3 * logits + [0, 1, -1] + np.random.default_rng(1).gumbel(size=(300, 3))).argmax(-1)
    plain = scaling.fit(logits, label)
    assert set(plain.scaled_logits(logits)) == {"", "_ts"}
    both = scaling.fit(logits, label, vector=True)
    assert both.temperature == plain.temperature
    scaled = both.scaled_logits(logits)
    np.testing.assert_allclose(scaled[""], logits, rtol=1e-6)
    np.testing.assert_allclose(scaled["_ts"], logits / both.temperature, rtol=1e-5)
    w, b = vector.fit_vector(logits, label)
    np.testing.assert_allclose(scaled["_vs"], logits * w + b, rtol=1e-4, atol=1e-5)
    assert {x.dtype for x in scaled.values()} == {np.dtype("float32")}


def test_a_predictor_fits_its_scaling_on_the_calibration_split():
    dataset = helpers.make_dataset(test=30)
    experiment = helpers.make_experiment(dataset)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    variables = experiment_lib.inference_variables(state)
    predictor = predict.create(experiment, variables, dataset.calibration, vector=True)
    image = dataset.calibration.input.astype(np.float32) / 255
    held_out = np.asarray(experiment.model.apply(variables, image, train=False))
    label = dataset.calibration.label
    expected = temperature.find(held_out, label).temperature
    assert predictor.scaling.temperature == pytest.approx(expected, rel=1e-3)
    assert predictor.scaling.vector is not None and predictor.num_classes == 4
    by_name, logits = clean.evaluate(predictor, dataset)
    np.testing.assert_array_equal(logits, predictor.logits(dataset.test))
    assert by_name["accuracy"] == pytest.approx(
        np.mean(logits.argmax(-1) == dataset.test.label), abs=1e-6
    )
    assert by_name["temperature"] == predictor.scaling.temperature
    assert by_name["temperature_optimum"] == temperature.find(held_out, label).kind
    assert {"ece_vs", "nll_ts_interval"} <= set(by_name)


def test_the_result_says_where_the_best_temperature_is(capsys):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 3)).astype(np.float32)
    found = scaling.fit(logits, rng.integers(0, 2, 200), vector=True)
    assert found.optima["vector_optimum"] == "infinite"  # of the bias of class 2
    assert capsys.readouterr().err.count("vector scaling: the held-out examples lack a class") == 1
    right = scaling.fit(logits, logits.argmax(-1))
    assert right.optima == {"temperature_optimum": "zero"} and right.temperature == 0.01
    assert "the best temperature is 0; T = 0.01 is used\n" in capsys.readouterr().err
    sharp = scaling.fit(3 * logits, (3 * logits + rng.gumbel(size=(200, 3))).argmax(-1))
    assert sharp.optima == {"temperature_optimum": "finite"}
    assert capsys.readouterr().err == ""
