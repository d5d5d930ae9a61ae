"""Updates from visits: the file, the checkpoint, resuming, devices, and their limits."""

import json

import helpers
import jax
import numpy as np
import pytest
import scipy.special

from autolabel_jax import calibration, experiment, processes, run_dir, train
from autolabel_jax.types import BucketStats, CarriedStats

# 72 held-out examples in 2 buckets, of which 64 visits are made after each epoch.
VISITS = {
    **{"calibration.exact": False, "train_examples": 120, "calibration.fraction": 0.6},
    **{"augment.name": "mixup", "epochs": 5, "checkpoint.every_epochs": 5},
}


def run(workdir, should_stop=lambda: False, **changes):
    config = helpers.small_config(**VISITS | changes)
    train.train(config, workdir, progress=False, should_stop=should_stop)
    return helpers.read_metrics(workdir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(workdir, lines) of a run that nothing stops."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, run(workdir)


def column(line, name):
    return np.array([np.nan if x is None else x for x in line[name]], float)


def test_the_rule_can_be_recomputed_from_the_file(whole):
    labels = np.array([0.875, 0.625])
    for line in whole[1]:
        gap = column(line, "bucket_confidence") - column(line, "bucket_accuracy")
        gap += column(line, "bucket_gap_correction")
        of_lasting = column(line, "lasting_confidence") - column(line, "lasting_accuracy")
        excess = column(line, "lasting_ece") - np.abs(of_lasting)
        accuracy = column(line, "lasting_accuracy") + column(line, "lasting_accuracy_correction")
        excess *= np.sqrt(np.minimum(column(line, "lasting_count") / 72, 1))
        sd = np.sqrt(accuracy * (1 - accuracy) / column(line, "bucket_count") / 1.75)
        sign = scipy.special.erf(gap / sd / np.sqrt(2))
        labels = np.clip(labels - gap - sign * np.maximum(excess, 0), accuracy, 1)
        np.testing.assert_allclose(line["label_confidence"], labels, atol=2e-6)
        labels = np.array(line["label_confidence"])
    assert np.ptp([line["label_confidence"] for line in whole[1]], axis=0).max() > 0.01


def test_sums_are_carried_from_epoch_to_epoch(whole):
    recent = lasting = np.zeros(2)
    for line in whole[1]:
        recent, lasting = 0.75 * recent + 32, (1 - 64 / 144) * lasting + 32
        np.testing.assert_allclose(line["bucket_count"], recent, atol=1)
        np.testing.assert_allclose(line["lasting_count"], lasting, atol=1)
    saved = helpers.last_checkpoint(whole[0])
    counts = [x.sum(-1) for name, x in saved.items() if "lasting" in name and "count" in name]
    assert len(counts) == 2  # of the moved examples, and of the same ones unmoved
    np.testing.assert_allclose(counts, [whole[1][-1]["lasting_count"]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "stop_at", [*(pytest.param(n, marks=pytest.mark.slow) for n in (3, 7)), 10]
)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, whole, stop_at):
    calls = iter(range(100))
    with pytest.raises(processes.Stopped):
        run(tmp_path, lambda: next(calls) >= stop_at)
    assert run(tmp_path) == whole[1]
    helpers.assert_same_bits(*map(helpers.last_checkpoint, (tmp_path, whole[0])))


@pytest.mark.slow
def test_two_devices_agree_with_one(tmp_path, whole):
    settings = {name.replace(".", "__"): value for name, value in VISITS.items()}
    command = ("-m", "experiments.train", *helpers.flags(**settings), f"--workdir={tmp_path}")
    done = helpers.command(*command, devices=2)
    assert done.returncode == 0, done.stderr
    for a, b in zip(whole[1], helpers.read_metrics(tmp_path), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize(
    "changes", [{"calibration.share": 100.0}, pytest.param({"train_examples": 50}, **SLOW)]
)
def test_where_visits_would_be_no_fewer_the_pass_is_exact(tmp_path, changes):
    """To the bit: all fields of the file and the checkpoint."""
    exact = run(tmp_path / "exact", **changes, **{"calibration.exact": True})
    assert run(tmp_path / "visits", **changes) == exact
    saved = [helpers.last_checkpoint(tmp_path / name) for name in ("exact", "visits")]
    helpers.assert_same_bits(*saved)
    assert not any("lasting" in name for name in [*exact[0], *saved[0]])


def test_a_bucket_without_visits_keeps_its_label(tmp_path):
    folder = helpers.write_arrays(
        tmp_path / "data",
        sizes={"train": 200, "test": 20},
        distance=lambda n: np.linspace(0.6, 1, n, dtype=np.float32),
    )
    changes = {"dataset": "arrays", "data_dir": folder, "augment.name": "given"}
    lines = run(tmp_path / "run", train_examples=200, **changes)
    for line in lines:
        assert line["label_confidence"][0] == 1
        assert line["bucket_accuracy"][0] is line["lasting_ece"][0] is None
    assert lines[0]["bucket_count"] == [0, 64]
    assert lines[1]["bucket_count"] == [0, 112]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels.rule": "ema_teacher", "optimizer.ema": 0.5},
        pytest.param({"labels.rule": "bucket_temperature"}, **SLOW),
        pytest.param({"labels.rule": "autolabel_confusion"}, **SLOW),
        pytest.param({"labels.rule": "bucket_accuracy"}, **SLOW),
        pytest.param({"augment.name": "adversarial", "augment.num_steps": 1}, **SLOW),
    ],
)
def test_every_rule_learns_from_visits_and_resumes(tmp_path, changes):
    kept = {"epochs": 2, "checkpoint.every_epochs": 1, **changes}
    expected = run(tmp_path / "whole", **kept)
    calls = iter(range(100))
    with pytest.raises(processes.Stopped):
        run(tmp_path / "stopped", lambda: next(calls) >= 4, **kept)
    assert run(tmp_path / "stopped", **kept) == expected
    saved = [helpers.last_checkpoint(tmp_path / name) for name in ("whole", "stopped")]
    helpers.assert_same_bits(*saved)
    assert "lasting_count" in expected[0]


def test_carry_adds_with_weights():
    def stats(value):
        return BucketStats(*(np.full((1, 2), value + i, np.float32) for i in range(3)))

    carried = CarriedStats(stats(4.0), stats(8.0), stats(0.0), stats(12.0), stats(6.0))
    found = calibration.carry(carried, stats(1.0), stats(2.0), stats(5.0), share=0.25)
    expected = {
        "recent": (4, 5.75, 7.5),
        "lasting": (7, 8.75, 10.5),
        "recent_clean": (2, 3.75, 5.5),
        "lasting_clean": (11, 12.75, 14.5),
        "clean": (5, 6, 7),  # of this epoch alone
    }
    for name, sums in expected.items():
        leaves = jax.tree.leaves(getattr(found, name))
        np.testing.assert_allclose(leaves, [[[x] * 2] for x in sums], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"calibration.images_per_update": 9}, "calibration.images_per_update: got 9 with"),
        ({"labels.momentum": 0.5}, "labels.momentum: got 0.5 with calibration.exact=False"),
        ({"calibration.share": 0.0}, "calibration.share: got 0.0, must be above 0"),
        ({"calibration.share": 2e3}, "calibration.share: got 2000.0, must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, told):
    with pytest.raises(ValueError, match=told):
        experiment.check(helpers.small_config(**VISITS | changes))
    if "share" not in told:
        experiment.check(helpers.small_config(**changes))  # with the exact pass


def test_a_run_without_the_field_is_exact(tmp_path):
    config = json.loads(helpers.small_config().to_json())
    del config["calibration"]["exact"]
    (tmp_path / run_dir.CONFIG).write_text(json.dumps(config))
    loaded = run_dir.RunDir(tmp_path).load_config(helpers.small_config(**VISITS))
    assert loaded.calibration.exact
    assert loaded.calibration.share == 0.1
