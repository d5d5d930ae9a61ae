"""Labels that read the confusion or a teacher: by hand, limits, whole runs."""

import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from autolabel_jax import calibration, labels, processes, train
from autolabel_jax.labels import AutoLabel, AutoLabelConfusion, EMATeacher, autolabel_confusion
from autolabel_jax.types import CarriedStats, ConfusionStats

NUM_BUCKETS, NUM_CLASSES = 3, 4


def draw_stats(seed=0, num_classes=NUM_CLASSES):
    """Statistics of one bin, an empty bucket (1), and a class without examples (2)."""
    rng = np.random.default_rng(seed)
    count = np.array([[40.0], [0.0], [20.0]])
    accuracy, confidence = rng.uniform(0.5, 1, (2, NUM_BUCKETS, 1))
    confusion = rng.uniform(0, 3, (NUM_BUCKETS, num_classes, num_classes))
    confusion *= 1 - np.eye(num_classes)
    confusion[1] = 0
    confusion[:, 2 % num_classes] = 0
    sums = (count, count * accuracy, count * confidence, confusion)
    return ConfusionStats(*(x.astype(np.float32) for x in sums))


def soft_labels(rule):
    """The labels of a rule as one program."""
    return jax.jit(rule.soft_labels, static_argnames="num_classes")


def rest_by_hand(confusion, pseudo_count):
    """The shrunk distribution, one number at a time, float64."""
    num, num_classes, _ = confusion.shape
    rest = np.zeros(confusion.shape)
    for y, k in itertools.product(range(num_classes), repeat=2):
        if k != y:
            pooled = confusion[:, y, k].sum() + pseudo_count / (num_classes - 1)
            pooled /= confusion[:, y].sum() + pseudo_count
            for n in range(num):
                rest[n, y, k] = confusion[n, y, k] + pseudo_count * pooled
                rest[n, y, k] /= confusion[n, y].sum() + pseudo_count
    return rest


def label_by_hand(p, true, second, gamma, rest):
    """The label of one example; ``rest`` [K] are the weights of wrong classes."""
    label = np.zeros(len(rest))
    label[true] = p
    named = {true}
    if gamma > 0:
        label[second] += min(p * gamma / (1 - gamma), 1 - p)
        named.add(second)
    others = [k for k in range(len(rest)) if k not in named]
    left = 1 - label.sum()
    if others:
        label[others] += left * rest[others] / rest[others].sum()
    else:
        label[second] += left
    return label


# --- autolabel_confusion ---------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("pseudo_count", [0.1, 5.0])
def test_the_rest_is_the_shrunk_confusion(num_classes, pseudo_count):
    confusion = draw_stats(num_classes=num_classes).confusion
    rest_of = jax.jit(autolabel_confusion.rest_of, static_argnums=1)
    found = np.asarray(rest_of(confusion, pseudo_count))
    np.testing.assert_allclose(found, rest_by_hand(confusion, pseudo_count), rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    evenly = (1 - np.eye(num_classes)) / (num_classes - 1)
    missing = 2 % num_classes  # the class without examples
    np.testing.assert_allclose(found[:, missing], [evenly[missing]] * NUM_BUCKETS, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_labels_of_mixtures_follow_the_confusion(num_classes):
    made = AutoLabelConfusion(pseudo_count=0.5)
    state = made.init(np.array([0.8, 0.6, 0.9]), num_classes=num_classes)
    stats = draw_stats(num_classes=num_classes)
    state = jax.jit(made.update)(state, stats)
    classes, gammas = range(num_classes), (0.0, 0.2, 0.5)
    grid = itertools.product(range(NUM_BUCKETS), classes, classes, gammas)
    bucket, true, second, gamma = (np.array(column) for column in zip(*grid, strict=True))
    found = soft_labels(made)(
        state,
        true,
        bucket,
        num_classes=num_classes,
        second_label=second,
        second_weight=gamma.astype(np.float32),
    )
    found = np.asarray(found)
    rest = rest_by_hand(stats.confusion, 0.5)
    rest[1] = (1 - np.eye(num_classes)) / (num_classes - 1)  # an empty bucket does not change
    confidence = np.asarray(state.confidence, np.float64)
    for i, (n, y, k, share) in enumerate(zip(bucket, true, second, gamma, strict=True)):
        expected = label_by_hand(confidence[n], y, k, share, rest[n, y])
        np.testing.assert_allclose(found[i], expected, atol=2e-6)
    assert (confidence[1:] < 0.9).all()


def test_confusion_that_is_uniform_gives_autolabel():
    plain, made = AutoLabel(), AutoLabelConfusion(pseudo_count=1e6)
    stats = draw_stats()
    own = np.array([0.9, 0.8, 0.7])
    expected = plain.update(plain.init(own), calibration.BucketStats(*stats_leaves(stats)))
    state = made.update(made.init(own, num_classes=NUM_CLASSES), stats)
    np.testing.assert_array_equal(state.confidence, expected.confidence)
    label, bucket = np.arange(12) % 4, np.arange(12) % 3
    settings = {
        "num_classes": NUM_CLASSES,
        "second_label": np.arange(12) // 4,
        "second_weight": np.linspace(0, 0.5, 12, dtype=np.float32),
    }
    np.testing.assert_allclose(
        soft_labels(made)(state, label, bucket, **settings),
        soft_labels(plain)(expected, label, bucket, **settings),
        atol=1e-5,
    )


def stats_leaves(stats):
    return stats.count, stats.correct, stats.confidence


def test_visits_move_labels_as_autolabel_does_and_the_rest_by_the_lasting_sums():
    plain, made = AutoLabel(), AutoLabelConfusion(pseudo_count=0.5)
    recent, lasting = draw_stats(1), draw_stats(2)
    own, settings = np.array([0.8, 0.6, 0.9]), {"num_examples": 40.0}
    clean = [calibration.empty_stats(num, num_bins=1) for num in (NUM_BUCKETS, NUM_BUCKETS, 1)]
    plain_sums = (calibration.BucketStats(*stats_leaves(s)) for s in (recent, lasting))
    sums = CarriedStats(*plain_sums, *clean)
    expected = jax.jit(plain.update_carried)(plain.init(own), sums, **settings)
    state = made.init(own, num_classes=NUM_CLASSES)
    sums = CarriedStats(recent, lasting, *clean)
    state = jax.jit(made.update_carried)(state, sums, **settings)
    np.testing.assert_array_equal(state.confidence, expected.confidence)
    rest = rest_by_hand(lasting.confusion, 0.5)
    np.testing.assert_allclose(np.asarray(state.rest)[[0, 2]], rest[[0, 2]], rtol=1e-5)


def test_momentum_needs_the_full_pass():
    changes = {**VISITS, "labels__momentum": 0.5}
    with pytest.raises(ValueError, match=r"labels\.momentum: got 0\.5 with calibration\.exact=F"):
        helpers.make_experiment(helpers.make_dataset(), **changes)


def test_options_of_autolabel_are_kept():
    settings = {"momentum": 0.5, "alpha_decay": 0.5, "ece_estimate": "debiased", "monotone": True}
    plain, made = AutoLabel(**settings), AutoLabelConfusion(**settings)
    expected = plain.init(np.ones(NUM_BUCKETS), num_bins=1)
    state = made.init(np.ones(NUM_BUCKETS), num_bins=1, num_classes=NUM_CLASSES)
    update_plain, update = jax.jit(plain.update), jax.jit(made.update)
    for seed in range(3):
        stats = draw_stats(seed)
        expected = update_plain(expected, calibration.BucketStats(*stats_leaves(stats)))
        state = update(state, stats)
        jax.tree.map(np.testing.assert_array_equal, state.autolabel, expected)
    assert made.metrics(state).keys() == plain.metrics(expected).keys() == {"confidence", "ece"}


def test_too_many_classes_are_refused_by_name():
    made = AutoLabelConfusion()
    with pytest.raises(ValueError, match=r"labels\.rule: .*30 buckets × 1000².*at most 16,777,216"):
        made.init(np.ones(30), num_classes=1000)
    shape = jax.eval_shape(lambda: made.init(np.ones(16), num_classes=1000)).rest.shape
    assert shape == (16, 1000, 1000)


# --- ema_teacher -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_labels_mix_one_hot_and_teacher(dtype, num_classes):
    made = EMATeacher(teacher_temperature=2.0)
    rng = np.random.default_rng(0)
    logits = jnp.asarray(3 * rng.normal(size=(30, num_classes)), dtype)
    label, second = rng.integers(num_classes, size=(2, 30))
    bucket, gamma = np.arange(30) % 3, np.linspace(0, 0.5, 30).astype(np.float32)
    share = np.array([0.0, 0.3, 1.0])  # of the teacher
    state = labels.LabelState(confidence=jnp.asarray(1 - share, jnp.float32))
    settings = {"num_classes": num_classes, "teacher_logits": logits}
    teacher = scipy.special.softmax(np.asarray(logits, np.float64) / 2, -1)
    mine = (1 - share[bucket])[:, None] * np.eye(num_classes)[label]
    mine += share[bucket][:, None] * teacher
    found = soft_labels(made)(state, label, bucket, **settings)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, mine, atol=1e-6)
    found = soft_labels(made)(
        state, label, bucket, second_label=second, second_weight=gamma, **settings
    )
    found = np.asarray(found)
    pair = (1 - gamma[:, None]) * mine + gamma[:, None] * np.eye(num_classes)[second]
    np.testing.assert_allclose(found, pair, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_without_a_share_the_label_is_one_hot():
    made, plain = EMATeacher(), labels.OneHot()
    state = made.init(np.array([0.9, 0.6]))
    label, bucket = np.arange(6) % 3, np.arange(6) % 2
    settings = {
        "num_classes": 3,
        "second_label": np.arange(6) // 2,
        "second_weight": np.linspace(0, 0.5, 6, dtype=np.float32),
    }
    teacher = 5 * jnp.ones((6, 3)).at[:, 0].set(-2)
    found = made.soft_labels(state, label, bucket, teacher_logits=teacher, **settings)
    np.testing.assert_array_equal(found, plain.soft_labels(state, label, bucket, **settings))


def test_the_share_follows_the_gap_between_its_bounds():
    made = EMATeacher(teacher_step=0.5)
    count = np.full((4, 1), 10.0)
    count[3] = 0
    gap = np.array([[0.2], [-0.1], [0.4], [0.0]])
    stats = calibration.BucketStats(count, 0.5 * count, (0.5 + gap) * count)
    state = made.init(np.ones(4))
    for expected in ([0.9, 1, 0.8, 1], [0.8, 1, 0.6, 1]):
        state = made.update(state, stats)
        np.testing.assert_allclose(state.confidence, expected, atol=1e-6)
    for _ in range(4):
        state = made.update(state, stats)
    np.testing.assert_allclose(state.confidence, [0.4, 1, 0, 1], atol=1e-6)


def test_a_teacher_needs_the_moving_average():
    with pytest.raises(
        ValueError, match=r"optimizer\.ema: got 0\.0 with labels\.rule='ema_teacher'"
    ):
        helpers.make_experiment(helpers.make_dataset(), labels__rule="ema_teacher")


# --- whole runs ------------------------------------------------------------------------------

CONFUSION = {"labels__rule": "autolabel_confusion", "labels__momentum": 0.5}
TEACHER = {"labels__rule": "ema_teacher", "optimizer__ema": 0.9, "labels__teacher_step": 5.0}
VISITS = {  # 128 visits an update, of 64 held-out images in three buckets
    **{"labels__rule": "autolabel_confusion", "calibration__exact": False},
    **{"train_examples": 96, "calibration__fraction": 2 / 3, "buckets__num": 3},
}
# Visits hold the state of the exact pass, and more.
SLOW = pytest.param(CONFUSION, id="confusion", marks=pytest.mark.slow)
EACH = pytest.mark.parametrize(
    "changes",
    [
        SLOW,
        pytest.param(TEACHER, id="teacher", marks=pytest.mark.slow),
        pytest.param(VISITS, id="visits"),
    ],
)


@pytest.mark.slow
@EACH
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, changes):
    config = helpers.small_config(augment__name="mixup", accumulate=2, **changes)
    calls = iter(range(99))
    train.train(config, tmp_path / "whole", progress=False)
    with pytest.raises(processes.Stopped):
        train.train(
            config, tmp_path / "stopped", progress=False, should_stop=lambda: next(calls) > 2
        )
    train.train(config, tmp_path / "stopped", progress=False)
    folders = [tmp_path / name for name in ("whole", "stopped")]
    helpers.assert_same_bits(*map(helpers.last_checkpoint, folders))
    lines = [helpers.read_metrics(folder) for folder in folders]
    assert lines[0] == lines[1]
    assert lines[0][0]["label_confidence"] != lines[0][1]["label_confidence"]


@pytest.mark.slow
@EACH
def test_bfloat16_gives_finite_labels_in_float32(tmp_path, changes):
    config = helpers.small_config(dtype="bfloat16", epochs=1, **changes)
    train.train(config, tmp_path, progress=False)
    (line,) = helpers.read_metrics(tmp_path)
    assert np.isfinite(line["label_confidence"]).all()
    saved = helpers.last_checkpoint(tmp_path)
    kinds = {x.dtype for name, x in saved.items() if "['labels']" in name}
    assert kinds == {np.dtype(np.float32)}


@pytest.mark.slow
@EACH
def test_two_devices_agree_with_one(tmp_path, changes):
    lines = []
    for devices in (1, 2):
        flags = helpers.flags(augment__name="mixup", accumulate=2, **changes)
        workdir = tmp_path / str(devices)
        done = helpers.command(
            "-m", "experiments.train", *flags, f"--workdir={workdir}", devices=devices
        )
        assert done.returncode == 0, done.stderr
        lines.append(helpers.read_metrics(workdir))
    for a, b in zip(*lines, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
