"""Means over views against passes over each view by hand, and the commands that evaluate them."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_evaluation
from scipy import special
from scipy.spatial import distance

from autolabel_jax import files, train, trained
from autolabel_jax.evaluation import predict, views
from autolabel_jax.models import features


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir) of a finished run of a convolutional network on digits."""
    workdir = tmp_path_factory.mktemp("views")
    config = helpers.small_config(model__name="small_cnn", model__width=4)
    train.train(config, workdir, progress=False)
    return config, workdir


def make_logits(seed=0, num_views=3, n=40, k=5):
    return np.random.default_rng(seed).normal(size=(num_views, n, k)).astype(np.float32) * 2


def test_logits_are_the_mean_over_image_and_mirror_image(run):
    config, workdir = run
    restored = trained.restore(workdir, config)
    test = restored.dataset.test
    plain, viewed = restored.predictor(), restored.predictor(view_names=["mirror"])
    flipped = np.ascontiguousarray(test.input[:, :, ::-1])
    other = plain.logits(dataclasses.replace(test, input=flipped))
    np.testing.assert_allclose(viewed.logits(test), (plain.logits(test) + other) / 2, atol=1e-5)
    assert viewed.scaling.temperature != plain.scaling.temperature
    assert (plain.views, viewed.views) == ("", "mirror")


def test_features_are_those_of_the_image_with_the_disagreement(run):
    config, workdir = run
    restored = trained.restore(workdir, config)
    image = jnp.asarray(restored.dataset.test.input[:8]) / 255
    model, variables = restored.experiment.model, restored.variables
    viewed = views.average(model, ["mirror"], restored.dataset.spec)
    forward = jax.jit(features.forward, static_argnums=0)
    first, plain = forward(model, variables, image)
    second, _ = forward(model, variables, image[:, :, ::-1])
    mean, found = forward(viewed, variables, image)
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-5)
    np.testing.assert_allclose(found.drift, plain.drift, atol=1e-5)
    np.testing.assert_allclose(found.penultimate, plain.penultimate, atol=1e-5)
    p, q = special.softmax(first, -1), special.softmax(second, -1)
    js = distance.jensenshannon(p, q, axis=-1) ** 2
    np.testing.assert_allclose(found.disagreement, np.log(js + 1e-4), atol=1e-3)
    assert plain.disagreement is None


def test_disagreement_is_the_jensen_shannon_divergence():
    logits = make_logits()
    p = special.softmax(logits.astype(float), -1)
    entropy = special.entr(p.mean(0)).sum(-1) - special.entr(p).sum(-1).mean(0)
    np.testing.assert_allclose(views.disagreement(logits), np.log(entropy + 1e-4), atol=1e-5)


def test_disagreement_has_its_limits():
    same = np.repeat(make_logits(num_views=1), 4, axis=0)
    np.testing.assert_allclose(views.disagreement(same), np.log(1e-4), atol=0.02)
    opposite = np.array([[[50.0, 0]], [[0, 50.0]]], np.float32)
    np.testing.assert_allclose(views.disagreement(opposite), np.log(np.log(2) + 1e-4), rtol=1e-5)
    huge = views.disagreement(1e4 * make_logits())
    assert np.isfinite(huge).all()


@pytest.mark.parametrize("name", [pytest.param("augmix", marks=pytest.mark.slow), "randaugment"])
def test_a_moved_view_depends_on_the_image_alone(name):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (6, 8, 8, 3)) / 255, jnp.float32)
    view = views.Moved(views.MOVES[name](), 0.3)
    whole = jax.jit(view)(image)
    np.testing.assert_array_equal(whole[::-1], jax.jit(view)(image[::-1]))
    assert whole.shape == image.shape
    moved = np.abs(np.asarray(whole - image)).max((1, 2, 3)) > 0.01
    assert moved.sum() >= 3
    # AugMix at a distance of s moves a pixel by no more than s.
    assert name != "augmix" or np.abs(whole - image).max() <= 0.3 + 1e-5


def test_a_view_at_almost_no_distance_is_the_image():
    image = jnp.asarray(np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3)) / 255)
    view = views.Moved(views.MOVES["augmix"](), 1e-6)
    np.testing.assert_allclose(jax.jit(view)(image), image, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["flip"], "got 'flip', expected some of: mirror, augmix@DISTANCE, randaugment@DISTANCE"),
        (["augmix"], "got 'augmix', expected"),
        (["augmix@0"], "got 'augmix@0', expected .* distance in"),
        (["augmix@nan"], "got 'augmix@nan', expected"),
        (["mirror@0.1"], "got 'mirror@0.1', expected"),
        (["mirror", "mirror"], "got 'mirror' twice"),
    ],
)
def test_wrong_names_are_refused(names, told):
    with pytest.raises(ValueError, match=f"--views: {told}"):
        views.check(names)


def test_views_without_a_gradient_are_not_attacked():
    views.check(["mirror"], attacked=True)
    with pytest.raises(ValueError, match="'augmix@0.1' with --attacks.*no gradient"):
        views.check(["mirror", "augmix@0.1"], attacked=True)


def test_vectors_have_no_views(tmp_path):
    helpers.write_arrays(tmp_path / "data")
    changes = {"dataset": "arrays", "data_dir": str(tmp_path / "data"), "test_examples": 0}
    config = helpers.small_config(**changes, train_examples=0)
    train.train(config, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="--views: got mirror for inputs of kind 'features'"):
        trained.evaluate(tmp_path / "run", config, view_names=["mirror"])


def test_an_evaluation_with_views_stands_beside_the_plain_one(run):
    config, workdir = run
    plain = trained.evaluate(workdir, config, attack_names=["fgsm"], examples=20)
    found = trained.evaluate(
        workdir, config, attack_names=["fgsm"], examples=20, view_names=["mirror"]
    )
    assert {name: found[name] for name in plain} == plain
    restored = trained.restore(workdir, config)
    viewed = restored.predictor(view_names=["mirror"])
    logits, label = viewed.logits(restored.dataset.test), restored.dataset.test.label
    scores = small_evaluation.scores_by_hand(logits, label)
    names = ("accuracy", "ece", "nll", "brier")
    np.testing.assert_allclose([found[f"views_{name}"] for name in names], scores, rtol=1e-4)
    assert found["views"] == "mirror"
    assert found["views_cost"] > 0
    assert found["views_temperature"] == viewed.scaling.temperature
    assert found["views_attacked_examples"] == 20
    assert found["views_fgsm_accuracy"] <= found["views_accuracy"] + 0.2
    # Later evaluations, without views and with others.
    again = trained.evaluate(workdir, config, attack_names=["fgsm"], examples=20)
    assert again["fgsm_accuracy"] == plain["fgsm_accuracy"]
    assert again["views_accuracy"] == found["views_accuracy"]
    other = trained.evaluate(workdir, config, view_names=["mirror", "augmix@0.1"])
    assert other["views"] == "mirror,augmix@0.1"
    assert "views_fgsm_accuracy" not in other
    assert files.read_json(workdir / "result.json")["views"] == "mirror,augmix@0.1"


def test_cost_is_a_ratio(run):
    config, workdir = run
    restored = trained.restore(workdir, config)
    plain = restored.predictor()
    assert 0.05 < predict.cost(plain, plain, restored.dataset.test) < 20
