"""Held-out examples and the evaluation of calibrators, on an untrained network and by hand."""

import functools
import json
import warnings

import jax
import numpy as np
import pytest
from small_evaluation import scores_by_hand

from autolabel_jax import calibrators, corruptions, datasets, input_pipeline, train
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import AugMix, RandAugment
from autolabel_jax.calibrators import HeldOut
from autolabel_jax.calibrators.input_temperature import InputTemperature
from autolabel_jax.evaluation import calibrated, held_out, predict
from autolabel_jax.evaluation.calibrated import Outputs
from experiments import calibrating
from tests import helpers

NEIGHBOURS = ("neighbours_1", "neighbours_2", "neighbours_penultimate")
compiled = helpers.compile_methods(
    (InputTemperature, "log_temperature"), (InputTemperature, "_columns")
)
SETTINGS = {"augment__name": "augmix", "augment__max_depth": 1, "augment__max_operations": 1}


@functools.cache
def made():
    """(predictor, data, config, held-out examples) of an untrained small CNN on digits."""
    config = helpers.small_config(model__name="small_cnn", model__width=2, **SETTINGS)
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    state = experiment_lib.init_state(experiment, 0, (32, 32, 3))
    variables = experiment_lib.inference_variables(state)
    predictor = predict.create(experiment, variables, dataset.calibration)
    reference = held_out.make_reference(predictor, dataset, config.seed)
    return predictor, dataset, config, held_out.make(predictor, dataset, config, reference)


def test_every_held_out_image_is_clean_once_and_in_every_bucket_once():
    _, dataset, _, pool = made()
    n = len(dataset.calibration)
    assert np.bincount(pool.group).tolist() == [n, 3 * n, 3 * n]  # three intervals each
    for group in (1, 2):
        inside = pool.group == group
        third = np.ceil(3 * pool.distance[inside]).astype(int)
        assert np.bincount(third).tolist() == [0, n, n, n]
        for interval in (1, 2, 3):
            labels = pool.label[inside][third == interval]
            np.testing.assert_array_equal(labels, dataset.calibration.label)
    weight = np.bincount(pool.group, pool.weight)
    np.testing.assert_allclose(weight, [0.25, 0.25, 0.5], rtol=1e-5)


def test_clean_held_out_images_have_the_logits_of_the_predictor():
    predictor, dataset, _, pool = made()
    clean = pool.group == 0
    np.testing.assert_allclose(
        pool.logits[clean], predictor.logits(dataset.calibration), rtol=1e-5, atol=1e-6
    )
    assert set(pool.features) == {"trust", "mean_drift", "variance_drift", *NEIGHBOURS}
    assert all(np.isfinite(column).all() for column in pool.features.values())


def test_held_out_examples_depend_on_the_seed_alone():
    predictor, dataset, config, pool = made()
    again = held_out.make(predictor, dataset, config, None)
    np.testing.assert_array_equal(again.distance, pool.distance)
    np.testing.assert_allclose(again.logits, pool.logits, rtol=1e-5, atol=1e-6)
    assert set(again.features) == {"mean_drift", "variance_drift"}
    other = config.copy_and_resolve_references()
    other.seed = 1
    assert np.any(held_out.make(predictor, dataset, other, None).distance != pool.distance)


def test_a_large_calibration_split_is_sampled():
    key = jax.random.key(0)
    rows = held_out._sample(key, 0, 5000)
    assert (len(rows), len(np.unique(rows)), rows.max() < 5000) == (2000, 2000, True)
    assert np.any(held_out._sample(key, 1, 5000) != rows)


@pytest.mark.parametrize(
    ("name", "kinds", "severity"),
    [
        ("none", (AugMix, RandAugment), 3),
        ("mixup", (AugMix, RandAugment), 3),
        ("randaugment", (RandAugment, AugMix), 10),
    ],
)
def test_families(name, kinds, severity):
    families = held_out.families(helpers.small_config(augment__name=name))
    assert tuple(map(type, families)) == kinds
    (augmix,) = (family for family in families if isinstance(family, AugMix))
    assert augmix.severity == severity


def random_outputs(seed, shape, k=10):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(*shape, k)).astype(np.float32)
    names = ("trust", "mean_drift", "variance_drift", *NEIGHBOURS)
    features = {name: rng.normal(size=shape).astype(np.float32) for name in names}
    return Outputs(logits, features, rng.integers(0, k, shape[-1]).astype(np.int32))


def make_pool(n=1200):
    outputs = random_outputs(0, (n,))
    group = (np.arange(n) % 2).astype(np.int32)
    distance = (group / 2).astype(np.float32)
    weight = np.ones(n, np.float32)
    noise = 2 * np.random.default_rng(3).gumbel(size=outputs.logits.shape)  # T is 2
    label = (outputs.logits + noise).argmax(-1).astype(np.int32)
    return HeldOut(outputs.logits, outputs.features, label, distance, group, weight)


def test_metrics_of_a_calibrator_by_hand():
    clean, shifted = random_outputs(1, (60,)), random_outputs(2, (15, 5, 40))
    table = {name: calibrators.TABLE[name] for name in ("temperature", "drift_recentred")}
    fitted = calibrated.fit(make_pool(), table)
    rows = calibrated.evaluate(fitted, clean, shifted, table)
    assert list(rows) == ["none", "temperature", "drift_recentred"]
    assert rows["drift_recentred"]["accuracy"] == rows["none"]["accuracy"]
    assert rows["drift_recentred"]["nll"] != rows["temperature"]["nll"]

    for name, row in rows.items():

        def scores(outputs, place=(), name=name):
            features = {f: column[place] for f, column in outputs.features.items()}
            logits = outputs.logits[place]
            if name != "none":
                logits = np.asarray(table[name].apply(fitted[name], logits, features))
            return scores_by_hand(logits, outputs.label)[:3]

        found = [row["accuracy"], row["ece"], row["nll"]]
        np.testing.assert_allclose(found, scores(clean), rtol=1e-4)
        sets = np.array([[scores(shifted, (i, j)) for j in range(5)] for i in range(15)])
        related = [corruptions.CORRUPTIONS.index(related) for related in calibrated.RELATED]
        expected = {
            "corrupted": sets,
            "severe": sets[:, 4],
            "unrelated": np.delete(sets, related, axis=0),
        }
        for prefix, values in expected.items():
            found = [row[f"{prefix}_{metric}"] for metric in ("accuracy", "ece", "nll")]
            np.testing.assert_allclose(found, values.reshape(-1, 3).mean(0), rtol=1e-4)


def test_a_recentred_rule_is_fitted_once_and_equals_its_own_fit():
    pool = make_pool()
    table = {name: calibrators.TABLE[name] for name in ("drift", "drift_recentred")}
    fitted = calibrated.fit(pool, table)["drift_recentred"]
    alone = calibrators.TABLE["drift_recentred"].fit(pool)
    jax.tree.map(np.testing.assert_array_equal, fitted, alone)


def test_dump_keeps_what_fits_need_in_half_precision(tmp_path):
    pool, clean = make_pool(), random_outputs(1, (60,))
    shifted = random_outputs(2, (15, 5, calibrated.DUMPED + 10))
    calibrated.dump(tmp_path / "outputs.npz", pool, clean, shifted)
    with np.load(tmp_path / "outputs.npz") as file:
        assert file["corrupted_logits"].shape == (15, 5, calibrated.DUMPED, 10)
        np.testing.assert_allclose(file["held_out_logits"], pool.logits, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(file["held_out_group"], pool.group)
        np.testing.assert_array_equal(file["clean_label"], clean.label)
        assert file["clean_mean_drift"].dtype == np.float16


@pytest.mark.slow
def test_command_writes_a_row_for_each_calibrator(tmp_path, monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", ("contrast", "pixelate"))
    kept = ("temperature", "vector", "pooled_temperature", "entropy_trust_neighbours_recentred")
    for name in [name for name in calibrators.TABLE if name not in kept and "drift" not in name]:
        monkeypatch.delitem(calibrators.TABLE, name)
    config = helpers.small_config(epochs=1, **SETTINGS)
    train.train(config, str(tmp_path / "run"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = calibrating.evaluate(
            tmp_path / "run", config, corrupted=True, examples=20, dump=tmp_path / "o.npz"
        )
    left_out = [str(w.message) for w in caught if "left out" in str(w.message)]
    # An MLP has no batch norm: rules that read its drift are left out, not changed.
    assert len(left_out) == 9
    assert "calibrator 'drift' reads mean_drift" in left_out[0]
    names = [row["calibrator"] for row in rows]
    assert names[:4] == ["none", "temperature", "vector", "pooled_temperature"]
    assert {name for name in names if "drift" in name} == set()
    assert "entropy_trust_neighbours_recentred" in names
    first = json.loads(json.dumps(rows[0]))
    assert (first["dataset"], first["model"], first["train_examples"]) == ("digits", "mlp", 32)
    assert (first["corrupted_examples"], first["epochs"], first["seed"]) == (20, 1, 0)
    assert 0 < first["corrupted_nll"] < 10
    assert (tmp_path / "o.npz").exists()


@pytest.mark.slow
def test_command_appends_the_rows_of_each_run_once(tmp_path, monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", ("contrast",))
    config = helpers.small_config(epochs=1, **SETTINGS)
    train.train(config, str(tmp_path / "a"), progress=False)
    other = helpers.small_config(epochs=1, seed=1, **SETTINGS)
    train.train(other, str(tmp_path / "b"), progress=False)
    out = tmp_path / "rows.jsonl"
    asked = [tmp_path / "a", tmp_path / "b", "--corruptions", "--examples=10", f"--out={out}"]
    first = helpers.command("-m", "experiments.calibrators", *asked)
    assert first.returncode == 0, first.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({row["run"] for row in rows}) == 2
    again = helpers.command("-m", "experiments.calibrators", *asked)
    assert again.stdout.count("has its rows; not evaluated again") == 2
    assert len(out.read_text().splitlines()) == len(rows)
    viewed = helpers.command(
        "-m", "experiments.calibrators", tmp_path / "a", "--views=mirror", *asked[2:]
    )
    assert viewed.returncode == 0, viewed.stderr
    new = [json.loads(line) for line in out.read_text().splitlines()][len(rows) :]
    assert {row["views"] for row in new} == {"mirror"}
    assert "disagreement_recentred" in {row["calibrator"] for row in new}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected folders of training runs, or --compare"),
        (["a", "b", "--dump=o.npz"], "--dump: keeps the outputs of one run, got 2 folders"),
        (["missing"], "missing"),
    ],
)
def test_command_refuses_what_it_cannot_evaluate(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = helpers.command("-m", "experiments.calibrators", *arguments)
    assert found.returncode == 1
    assert told in found.stderr and len(found.stderr.splitlines()) == 1
