"""Labels from given logits: against a real run, NumPy by hand, and what is refused."""

import re
import subprocess
import sys

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from autolabel_jax import datasets, files, label_updates, train
from autolabel_jax.experiment import inference_variables
from autolabel_jax.labeler import Labeler

ROOT = helpers.ROOT


def examples(n=400, num_classes=3, seed=0):
    """(logits, label, distance) of a model that is surer than it is right."""
    rng = np.random.default_rng(seed)
    label, distance = rng.integers(0, num_classes, n), rng.random(n)
    right = rng.random(n) > 0.6 * distance
    top = np.where(right, label, (label + 1) % num_classes)
    return 3 * np.eye(num_classes)[top] + rng.normal(size=(n, num_classes)), label, distance


def by_hand(labels, logits, label, bucket, *, alpha, num_bins=15):
    """The rule of docs/label_rules.md in float64."""
    probabilities, labels = softmax(logits.astype(float), -1), labels.copy()
    for n in range(len(labels)):
        confidence = probabilities[bucket == n].max(-1)
        correct = probabilities[bucket == n].argmax(-1) == label[bucket == n]
        if not len(correct):
            continue
        which = np.ceil(confidence * num_bins)
        gaps = [abs((correct - confidence)[which == r].sum()) for r in np.unique(which)]
        move = alpha * sum(gaps) / len(correct) * np.sign((confidence - correct).sum())
        labels[n] = np.clip(labels[n] - move, correct.mean(), 1)
    return labels


def test_labels_are_those_by_hand_round_by_round():
    labeler, expected = Labeler(3, buckets=4, alpha=0.7), np.ones(4)
    for seed in range(3):
        logits, label, distance = examples(seed=seed)
        bucket = np.maximum(np.ceil(distance * 4).astype(int) - 1, 0)
        measured = labeler.update(logits, label, distance)
        expected = by_hand(expected, logits, label, bucket, alpha=0.7)
        np.testing.assert_allclose(labeler.confidence, expected, atol=1e-6)
        np.testing.assert_array_equal(measured["label_confidence"], labeler.confidence)
        np.testing.assert_array_equal(measured["count"], np.bincount(bucket, minlength=4))
    assert labeler.rounds == 3 and np.ptp(expected) > 0.05
    soft = labeler.soft_labels([0, 2], [0.1, 0.9])
    assert type(soft) is np.ndarray and soft.dtype == np.float32
    p, q = expected[0], expected[3]
    by = [[p, (1 - p) / 2, (1 - p) / 2], [(1 - q) / 2, (1 - q) / 2, q]]
    np.testing.assert_allclose(soft, by, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, marks=pytest.mark.slow), {"momentum": 0.5, "alpha_decay": 1.0}],
    ids=str,
)
def test_labels_are_those_of_a_run_with_the_same_logits(tmp_path, monkeypatch, settings):
    rng = np.random.default_rng(1)
    given = {"distance": lambda n: rng.random(n), "label": lambda n: rng.integers(0, 3, n)}
    data_dir = helpers.write_arrays(tmp_path / "data", {"train": 200, "test": 50}, **given)
    data = {"dataset": "arrays", "data_dir": data_dir, "train_examples": 0, "epochs": 4}
    chosen = {f"labels__{name}": value for name, value in settings.items()}
    config = helpers.small_config(**data, augment__name="given", buckets__num=3, **chosen)
    seen, measure = [], label_updates.LabelUpdates.measure

    def recording(self, state, *arguments):
        variables = jax.device_get(inference_variables(state))
        seen.append((self.experiment.model, variables))
        return measure(self, state, *arguments)

    monkeypatch.setattr(label_updates.LabelUpdates, "measure", recording)
    train.train(config, tmp_path / "run", progress=False)
    split, labeler = datasets.load(config).calibration, Labeler(3, buckets=3, **settings)
    lines = helpers.read_metrics(tmp_path / "run")
    for line, (model, variables) in zip(lines, seen, strict=True):
        logits = model.apply(variables, jnp.asarray(split.input), train=False)
        measured = labeler.update(np.asarray(logits), split.label, split.distance)
        for name in ("accuracy", "confidence", "count"):
            np.testing.assert_allclose(measured[name], line[f"bucket_{name}"], atol=1e-6)
        np.testing.assert_allclose(labeler.confidence, line["label_confidence"], atol=1e-6)
    assert np.ptp([line["label_confidence"] for line in lines], axis=0).max() > 0.01


def test_groups_have_buckets_of_their_own():
    labeler = Labeler(3, buckets=[0, 0.25, 1], num_groups=2, alpha=0.5)
    logits, label, distance = examples()
    group = np.arange(len(label)) % 2
    bucket = 2 * group + (distance > 0.25)
    np.testing.assert_array_equal(labeler.bucket(distance, group), bucket)
    labeler.update(logits, label, distance, group)
    expected = by_hand(np.ones(4), logits, label, bucket, alpha=0.5)
    np.testing.assert_allclose(labeler.confidence, expected, atol=1e-6)
    soft = labeler.soft_labels(label, distance, group)
    np.testing.assert_allclose(soft[np.arange(len(label)), label], expected[bucket], atol=1e-6)


def test_an_empty_bucket_keeps_its_label_and_a_missing_class_changes_nothing():
    labeler = Labeler(3, buckets=2, start=[0.9, 0.8])
    logits, label, distance = examples()
    chosen = (label != 2) & (distance <= 0.5)
    measured = labeler.update(logits[chosen], label[chosen], distance[chosen])
    assert labeler.confidence[0] != np.float32(0.9) and labeler.confidence[1] == np.float32(0.8)
    assert measured["count"][1] == 0 and np.isnan(measured["accuracy"][1])
    assert labeler.soft_labels([2], [0.2])[0, 2] == labeler.confidence[0]


def test_one_bucket_has_one_label():
    labeler = Labeler(2, buckets=1)
    logits, label, distance = examples(num_classes=2)
    labeler.update(logits, label, distance)
    expected = by_hand(np.ones(1), logits, label, np.zeros(len(label)), alpha=1)
    np.testing.assert_allclose(labeler.confidence, expected, atol=1e-6)
    assert (labeler.soft_labels(label, distance).max(-1) == labeler.confidence[0]).all()


def test_a_mixture_keeps_the_ratio_of_its_classes():
    labeler = Labeler(3, buckets=2, start=[0.8, 0.6])
    soft = labeler.soft_labels([0], [0.5], second_label=[1], second_weight=[0.25])
    np.testing.assert_allclose(soft, [[0.8, 0.2, 0]], atol=1e-6)  # min(0.8 / 3, 1 - 0.8)


def test_other_rules_read_the_distance():
    labeler = Labeler(4, rule="polynomial", power=2.0)
    soft = labeler.soft_labels([1], [0.5])
    assert soft[0, 1] == pytest.approx(1 - (1 - 1 / 4) * 0.25)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.5, "alpha_decay": 1.0}], ids=str)
def test_continues_after_a_restart(tmp_path, settings):
    straight = Labeler(3, buckets=[0, 0.3, 1], **settings)
    straight.update(*examples(seed=0))
    straight.save(tmp_path / "labels.npz")
    loaded = Labeler.load(tmp_path / "labels.npz")
    for labeler in (straight, loaded):
        labeler.update(*examples(seed=1))
    np.testing.assert_array_equal(loaded.confidence, straight.confidence)
    assert loaded.rounds == straight.rounds == 2
    (tmp_path / "labels.npz").write_bytes(b"PK")
    with pytest.raises(files.DamagedError, match="labels.npz: cannot be read as arrays"):
        Labeler.load(tmp_path / "labels.npz")
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(ValueError, match="other.npz: is no file that this version of Labeler.save"):
        Labeler.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((4, 2))}, "logits: got float64 [4, 2], expected floats [n, 3]"),
        ({"logits": np.zeros((4, 3), int)}, "logits: got int64 [4, 3], expected floats [n, 3]"),
        ({"logits": np.zeros((0, 3))}, "logits: got no example"),
        ({"logits": np.zeros((3, 3))}, "label: got int64 [4], expected integers [3]"),
        (
            {"logits": np.diag([0, 0, np.nan, 0])[:, :3]},
            "logits: row 2 holds a number that is not finite",
        ),
        ({"label": [0, 3, 1, 2]}, "label: got 3 in row 1, must be from 0 to 2"),
        ({"label": [0.0, 1, 1, 2]}, "label: got float64 [4], expected integers [4]"),
        ({"distance": [0, 1, 1.5, 0]}, "distance: got 1.5 in row 2, must be from 0 to 1.0"),
        ({"distance": [0, np.nan, 0, 0]}, "distance: got nan in row 1, must be from 0 to 1.0"),
        ({"distance": 0.5}, "distance: got float64 [], expected numbers [4]"),
        ({"group": [0, 0, 0, 1]}, "group: got 1 in row 3, must be from 0 to 0"),
    ],
)
def test_what_is_given_is_checked(change, message):
    labeler = Labeler(3, buckets=2)
    given = {"logits": np.zeros((4, 3)), "label": [0, 1, 2, 0], "distance": [0, 0.1, 0.9, 1]}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        labeler.update(**given | change)
    assert (labeler.confidence == 1).all() and labeler.rounds == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes: got 1, must be at least 2"),
        ({"buckets": 0}, "buckets.num: got 0, must be at least 1"),
        ({"buckets": [0, 0.5]}, "buckets: got [0, 0.5], expected a number, or edges that rise"),
        ({"start": [1, 1, 1]}, "start: got float32 [3], expected numbers [10]"),
        ({"alfa": 1}, "alfa: is no setting of rule 'autolabel', expected some of: alpha, step"),
        ({"alpha": -1}, "rule.alpha: got -1, must be at least 0"),
        ({"rule": "auto"}, "labels.rule: got 'auto', expected one of: one_hot"),
        ({"rule": "ema_teacher"}, "rule: got 'ema_teacher', which needs more than held-out log"),
        (
            {"rule": "self_adaptive"},
            "rule: got 'self_adaptive', which needs more than held-out log",
        ),
        ({"rule": "bucket_temperature"}, "rule: got 'bucket_temperature', which needs more than"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Labeler(**{"num_classes": 3} | settings)


def test_a_mixture_needs_both_halves():
    with pytest.raises(ValueError, match="^second_label, second_weight: give both, or neither$"):
        Labeler(3).soft_labels([0], [0.5], second_label=[1])


@pytest.mark.slow
def test_the_pytorch_loop_of_the_documentation_learns_labels(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    text = (ROOT / "docs" / "own_loop.md").read_text("utf-8")
    (program,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if "import torch" in code
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=helpers.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    learned = [float(x) for x in done.stdout.strip(" []\n").split()]
    assert len(learned) == 5 and 0.1 < learned[-1] < learned[0] <= 1
    assert Labeler.load(tmp_path / "labels.npz").rounds == 30
