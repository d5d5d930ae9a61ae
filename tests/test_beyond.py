"""Accuracy and temperature by distance, against passes over each bucket by hand."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special
from sklearn import metrics

from autolabel_jax import claim, input_pipeline, registry, train
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import AugMix, RandAugment
from autolabel_jax.datasets import InputSpec
from autolabel_jax.diagnosis import beyond
from autolabel_jax.run_dir import RunDir
from autolabel_jax.types import Batch, Distance


def make(dataset, **changes):
    """(experiment, variables, calibration split on the device) of an untrained network."""
    experiment = helpers.make_experiment(dataset, **changes)
    state = experiment_lib.init_state(experiment, 0, dataset.spec.shape)
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    return experiment, experiment_lib.inference_variables(state), whole


def measure(dataset, **changes):
    experiment, variables, whole = make(dataset, **changes)
    return beyond.measure(experiment, variables, whole, dataset.spec, jax.random.key(0))


def image_spec(dtype="uint8", channels=3):
    return InputSpec(kind="image", shape=(8, 8, channels), dtype=dtype, low=0, high=1)


@pytest.mark.parametrize(
    ("name", "inside", "far"),
    [
        ("augmix", ["augmix, training"], ["augmix, severity 10", "randaugment", "noise"]),
        ("randaugment", ["randaugment, training"], ["augmix, severity 10", "noise"]),
        ("none", [], ["augmix, severity 10", "randaugment", "noise"]),
        ("mixup", ["mixup, training"], ["augmix, severity 10", "randaugment", "noise"]),
    ],
)
def test_families_are_the_training_range_and_what_lies_beyond(name, inside, far):
    dataset = helpers.make_dataset()
    augmentation = helpers.make_experiment(dataset, augment__name=name).augmentation
    found = beyond.families(augmentation, image_spec())
    assert [family.name for family in found if family.inside] == inside
    assert [family.name for family in found if not family.inside] == far


def test_adversarial_runs_are_measured_at_larger_radii():
    dataset = helpers.make_dataset()
    changes = {"augment__name": "adversarial", "augment__max_epsilon": 4 / 255}
    augmentation = helpers.make_experiment(dataset, **changes).augmentation
    found = beyond.families(augmentation, image_spec("float32"))
    assert [family.name for family in found] == [
        "adversarial, training",
        "adversarial, ε up to 16/255",
    ]
    assert found[1].move.max_epsilon == pytest.approx(16 / 255)


def test_families_match_the_settings_of_the_run():
    far = beyond.families(AugMix(severity=10.0), image_spec())
    assert [family.name for family in far] == ["augmix, training", "randaugment", "noise"]
    weak = beyond.families(RandAugment(max_magnitude=2.0), image_spec())
    assert "randaugment" in [family.name for family in weak if not family.inside]


@pytest.mark.slow
def test_clean_row_is_that_of_the_calibration_split():
    dataset = helpers.make_dataset(calibration=80)
    experiment, variables, whole = make(dataset)
    found = beyond.measure(experiment, variables, whole, dataset.spec, jax.random.key(0))
    image = dataset.calibration.input.astype(np.float32) / 255
    logits = np.asarray(experiment.model.apply(variables, image, train=False), np.float64)
    label = dataset.calibration.label
    assert found["family"][0] == "clean" and found["low"][0] == found["high"][0] == 0
    assert found["count"][0] == 80
    assert found["accuracy"][0] == pytest.approx(metrics.accuracy_score(label, logits.argmax(-1)))
    top = special.softmax(logits, -1).max(-1).mean()
    assert found["confidence"][0] == pytest.approx(top, rel=1e-5)


def test_temperature_is_the_optimum_of_each_bucket(monkeypatch):
    """The outputs of the network are replaced by calibrated logits times a known factor."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4)).astype(np.float32) * 2
    label = np.array([rng.choice(4, p=p) for p in special.softmax(logits.astype(float), -1)])
    monkeypatch.setattr(beyond, "_outputs", lambda *_: (3 * logits, label))
    found = measure(helpers.make_dataset(), augment__name="augmix")
    rows = np.arange(len(label))

    def nll(t):
        return -special.log_softmax(3 * logits.astype(float) / t, -1)[rows, label].mean()

    best = optimize.minimize_scalar(nll, bounds=(0.5, 20), method="bounded").x
    assert best == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(found["temperature"], best, rtol=1e-3)


@pytest.mark.slow
def test_rows_cover_each_bucket_of_each_family():
    found = measure(helpers.make_dataset(), augment__name="augmix", augment__max_depth=2)
    names, groups = np.array(found["family"]), np.array(found["group"])
    sizes = {"clean": 1, "augmix, training": 6, "augmix, severity 10": 9}
    sizes |= {"randaugment": 6, "noise": 3}
    assert {name: int((names == name).sum()) for name in sizes} == sizes
    assert len(names) == sum(sizes.values())
    augmentation = helpers.make_experiment(
        helpers.make_dataset(), augment__name="augmix", augment__max_depth=2
    ).augmentation
    assert beyond.num_buckets(augmentation, image_spec()) == len(names)
    own = names == "augmix, training"
    assert groups[own].tolist() == [0, 0, 0, 1, 1, 1]
    edges = np.linspace(0, 1, 4, dtype=np.float32)
    np.testing.assert_array_equal(np.array(found["low"])[own], np.tile(edges[:-1], 2))
    np.testing.assert_array_equal(np.array(found["high"])[own], np.tile(edges[1:], 2))
    assert found["inside"] == [int(name in ("clean", "augmix, training")) for name in names]
    assert set(found["count"]) == {26}


def test_large_splits_are_sampled(monkeypatch):
    monkeypatch.setattr(beyond, "MOST_EXAMPLES", 10)
    monkeypatch.setattr(beyond, "families", lambda *_: [])
    assert measure(helpers.make_dataset())["count"] == [10]


def test_noise_has_the_deviation_of_its_distance():
    grey = jnp.full((50, 8, 8, 3), 0.5)
    zeros = jnp.zeros(50, jnp.int32)
    batch = Batch(grey, zeros, zeros, jnp.ones(50), jnp.zeros(50))
    for value in (0.0, 0.1, 0.2):
        distance = Distance(group=zeros, value=jnp.full(50, value))
        moved = beyond.Noise().apply(jax.random.key(0), batch, distance).input
        assert float(moved.std()) == pytest.approx(value / 2, rel=0.05)
        assert 0 <= moved.min() <= moved.max() <= 1


def test_training_measures_at_the_end_and_on_a_schedule(tmp_path, monkeypatch):
    monkeypatch.setattr(beyond, "families", lambda *_: [])
    changes = {"epochs": 3, "calibration__beyond": True, "calibration__beyond_every": 2}
    config = helpers.small_config(**changes)
    train.train(config, tmp_path / "run", progress=False)
    lines = helpers.read_metrics(tmp_path / "run")
    assert ["beyond_family" in line for line in lines] == [False, True, True]
    assert lines[-1]["beyond_family"] == ["clean"] and lines[-1]["beyond_count"] == [32]
    # Both compute the ECE of the same clean images, and the same temperature.
    assert lines[-1]["beyond_ece"][0] == pytest.approx(lines[-1]["calibration_ece"], abs=1e-6)
    result = RunDir(tmp_path / "run").read_result()
    assert lines[-1]["beyond_temperature"][0] == pytest.approx(result["temperature"], rel=1e-4)
    # It changes nothing else, and no run has to be trained again for it.
    other = helpers.small_config(epochs=3)
    train.train(other, tmp_path / "plain", progress=False)
    kept = [{n: v for n, v in line.items() if not n.startswith("beyond_")} for line in lines]
    plain = helpers.read_metrics(tmp_path / "plain")
    assert kept == plain
    claim.check_config(RunDir(tmp_path / "plain"), registry.complete(config))


@pytest.mark.parametrize(
    ("beyond_at_end", "every", "due"),
    [(False, 0, []), (False, 1, []), (True, 0, [4]), (True, 2, [2, 4]), (True, 3, [3, 4])],
)
def test_when_it_is_due(beyond_at_end, every, due):
    config = helpers.small_config(
        epochs=4, calibration__beyond=beyond_at_end, calibration__beyond_every=every
    )
    assert [
        epoch + 1 for epoch in range(4) if beyond.is_due(config, epoch, is_last=epoch == 3)
    ] == due


def test_vectors_have_their_own_family_alone(tmp_path):
    spec = InputSpec(kind="features", shape=(5,), dtype="float32", low=-3, high=3)
    dataset = helpers.make_dataset()
    augmentation = helpers.make_experiment(dataset, augment__name="mixup").augmentation
    assert [family.name for family in beyond.families(augmentation, spec)] == ["mixup, training"]


@pytest.mark.slow
def test_the_diagnosis_is_that_of_training_and_is_drawn(tmp_path):
    config = helpers.small_config(epochs=1, calibration__beyond=True)
    train.train(config, tmp_path / "run", progress=False)
    done = helpers.command("-m", "experiments.diagnose", f"--workdir={tmp_path}/run", "--beyond")
    assert done.returncode == 0, done.stderr
    part = RunDir(tmp_path / "run").read_diagnosis()["beyond"]
    (line,) = helpers.read_metrics(tmp_path / "run")
    assert {n: v for n, v in part.items() if n != "stamp"} == {
        name.removeprefix("beyond_"): v for name, v in line.items() if name.startswith("beyond_")
    }
    assert done.stdout.count("augmix, severity 10") == 9 and "randaugment" in done.stdout
    for form in ("png", "pdf"):
        assert (tmp_path / "run" / "diagnosis" / f"temperature_by_distance.{form}").exists()
