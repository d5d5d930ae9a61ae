"""Oracles: the table of the method written as loops, optax, closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from autolabel_jax import calibration, labels
from autolabel_jax.labels import AutoLabel, LabelState
from autolabel_jax.types import BucketStats, ConfusionStats, Distance
from configs import base

NUM_CLASSES = 5

spread = jax.jit(labels.spread, static_argnames="num_classes")


def config(rule="autolabel", augment="augmix", **settings):
    made = base.base()
    made.augment.name = augment
    made.labels.rule = rule
    made.labels.update(settings)
    if rule == "ema_teacher":
        made.optimizer.ema = 0.9
    return made


def rule(name, **settings):
    augment = next(iter(labels.find(name).augmentations), "augmix")
    return labels.create(config(name, augment, **settings))


def state_of(values):
    return LabelState(confidence=jnp.asarray(values, jnp.float32))


def init(made, own):
    counted = made.reads_confusion or made.reads_examples or made.reads_classes
    sizes = {"num_classes": NUM_CLASSES} if counted else {}
    return made.init(own, **sizes | ({"num_examples": 16} if made.reads_examples else {}))


def with_confusion(stats):
    """The same, with wrong classes that are all alike."""
    shape = (len(stats.count), NUM_CLASSES, NUM_CLASSES)
    return ConfusionStats(**vars(stats), confusion=np.ones(shape) - np.eye(NUM_CLASSES))


def distance_of(values):
    values = jnp.asarray(values, jnp.float32)
    return Distance(group=jnp.zeros(values.shape, jnp.int32), value=values)


def stats_of(rows):
    """Statistics [N, 1] from (count, accuracy, confidence) of each bucket."""
    count, accuracy, confidence = np.array(rows, np.float32).T[:, :, None]
    return BucketStats(count=count, correct=count * accuracy, confidence=count * confidence)


def mixed_by_hand(p, true, second, gamma, num_classes):
    """The mixup rule, one class at a time, float64."""
    share = min(p * gamma / (1 - gamma), 1 - p)
    if gamma == 0:
        second = true
        share = 0.0
    label = np.zeros(num_classes)
    label[true] = p
    label[second] += share
    others = [k for k in range(num_classes) if k not in (true, second)]
    if others:
        label[others] = (1 - label.sum()) / len(others)
    else:
        label[second] = 1 - p
    return label


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_autolabel_without_mixing(num_classes):
    p = np.array([1.0, 0.6, 0.1], np.float32)
    label, bucket = np.array([0, 1, 1, 0]), np.array([0, 1, 2, 2])
    found = rule("autolabel").soft_labels(state_of(p), label, bucket, num_classes=num_classes)
    expected = np.zeros((4, num_classes))
    for i, (k, n) in enumerate(zip(label, bucket, strict=True)):
        expected[i] = (1 - p[n]) / (num_classes - 1)
        expected[i, k] = p[n]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_autolabel_of_mixtures_on_a_grid(num_classes):
    grid = list(
        itertools.product(
            np.linspace(0, 1, 11), range(2), range(num_classes), np.linspace(0, 0.5, 6)
        )
    )
    p, true, second, gamma = (np.array(column) for column in zip(*grid, strict=True))
    found = spread(
        jnp.asarray(p, jnp.float32),
        true,
        num_classes=num_classes,
        second_label=second,
        second_weight=jnp.asarray(gamma, jnp.float32),
    )
    expected = [
        mixed_by_hand(*row, num_classes) for row in zip(p, true, second, gamma, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(np.sum(found, 1), 1, atol=1e-6)
    assert np.min(found) >= 0


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_mixup_itself_where_p_is_one_minus_gamma(num_classes):
    gamma = np.linspace(0, 0.5, 9, dtype=np.float32)
    for second in (0, 1):  # the same class, and another
        seconds = np.full(9, second)
        found = spread(
            jnp.asarray(1 - gamma),
            np.zeros(9, int),
            num_classes=num_classes,
            second_label=seconds,
            second_weight=jnp.asarray(gamma),
        )
        pair = np.eye(num_classes)[[0, second]]
        expected = (1 - gamma[:, None]) * pair[0] + gamma[:, None] * pair[1]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_mixture_keeps_the_ratio_of_its_two_classes():
    found = spread(
        jnp.array([0.6]),
        np.array([2]),
        num_classes=4,
        second_label=np.array([0]),
        second_weight=jnp.array([0.25]),
    )
    np.testing.assert_allclose(found, [[0.2, 0.1, 0.6, 0.1]], atol=1e-6)


def test_one_hot_is_the_augmentations_own_label():
    label, second = np.array([0, 2, 1]), np.array([1, 2, 0])
    gamma = jnp.array([0.3, 0.5, 0.0])
    plain = rule("one_hot").soft_labels(state_of([0.5]), label, label * 0, num_classes=3)
    np.testing.assert_array_equal(plain, np.eye(3)[label])
    found = rule("one_hot").soft_labels(
        state_of([0.5]),
        label,
        label * 0,
        num_classes=3,
        second_label=second,
        second_weight=gamma,
    )
    np.testing.assert_allclose(found, [[0.7, 0.3, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothing_is_optax(smoothing):
    label = np.arange(NUM_CLASSES)
    found = rule("smoothing", smoothing=smoothing).soft_labels(
        state_of([1.0]), label, label * 0, num_classes=NUM_CLASSES
    )
    expected = optax.smooth_labels(jax.nn.one_hot(label, NUM_CLASSES), smoothing)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_polynomial(power):
    s, label = np.linspace(0, 1, 6), np.array([0, 1, 2, 3, 0, 1])
    found = rule("polynomial", power=power).soft_labels(
        state_of([1.0]), label, label * 0, num_classes=4, distance=distance_of(s)
    )
    p = 1 - 0.75 * s**power
    np.testing.assert_allclose(found[np.arange(6), label], p, atol=1e-6)
    np.testing.assert_allclose(found[0], [1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[5], [0.25] * 4, atol=1e-6)
    np.testing.assert_allclose(found[np.arange(6), label - 1], (1 - p) / 3, atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 1.0, 10.0])
def test_ccat(rho):
    s, label = np.linspace(0, 1, 6), np.array([0, 1, 2, 3, 0, 1])
    found = rule("ccat", rho=rho).soft_labels(
        state_of([1.0]), label, label * 0, num_classes=4, distance=distance_of(s)
    )
    weight = ((1 - s) ** rho)[:, None]
    expected = weight * np.eye(4)[label] + (1 - weight) / 4
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", labels.TABLE)
def test_every_rule_under_jit_and_vmap(name):
    made, seeds, batch = rule(name), 3, 16
    rng = np.random.default_rng(0)
    label = rng.integers(NUM_CLASSES, size=(seeds, batch))
    bucket = rng.integers(4, size=(seeds, batch))
    second = rng.integers(NUM_CLASSES, size=(seeds, batch))
    state = jax.vmap(lambda own: init(made, own))(jnp.asarray(rng.uniform(0.2, 1, (seeds, 4))))
    distance = distance_of(rng.random((seeds, batch)))
    gamma = distance.value / 2
    stats = with_confusion(stats_of(np.tile([[10, 0.5, 0.9]], (4, 1))))
    teacher = rng.normal(size=(batch, NUM_CLASSES)).astype(np.float32)
    extra = {"teacher_logits": teacher} if made.reads_teacher else {}
    extra |= {"index": np.arange(batch)} if made.reads_examples else {}

    def both(state, label, bucket, distance, second, gamma):
        soft_label = made.soft_labels(
            state,
            label,
            bucket,
            num_classes=NUM_CLASSES,
            distance=distance,
            second_label=second,
            second_weight=gamma,
            **extra,
        )
        return soft_label, made.update(state, stats)

    found, after = jax.jit(jax.vmap(both))(state, label, bucket, distance, second, gamma)
    assert found.shape == (seeds, batch, NUM_CLASSES)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert np.min(found) >= 0
    assert after.confidence.shape == (seeds, 4)
    learned = {"autolabel", "autolabel_confusion", "ema_teacher", "bucket_accuracy"}
    assert bool(jnp.array_equal(after.confidence, state.confidence)) == (name not in learned)
    single = jax.jit(both)
    for i in range(seeds):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (state, label, bucket, distance))
        alone, _ = single(*one, second[i], gamma[i])
        np.testing.assert_allclose(found[i], alone, atol=1e-6)


@pytest.mark.parametrize("name", labels.TABLE)
def test_init_takes_the_augmentations_own_confidence(name):
    own = np.array([0.95, 0.75, 0.55])
    # The state of ema_teacher is a share of the augmentation's own label.
    expected = np.ones(3) if name == "ema_teacher" else own
    np.testing.assert_allclose(init(rule(name), own).confidence, expected, rtol=1e-6)


UPDATES = [  # label before, accuracy, confidence, α, label after
    (1.0, 0.7, 0.8, 1.0, 0.9),  # over-confident: lowered
    (0.8, 0.9, 0.85, 1.0, 0.9),  # under-confident: raised, to the clip at Acc
    (0.8, 0.6, 0.5, 1.0, 0.9),  # under-confident: raised
    (0.8, 0.6, 0.5, 0.5, 0.85),  # half the step
    (0.98, 0.5, 0.4, 1.0, 1.0),  # clip at 1
    (0.75, 0.7, 0.9, 1.0, 0.7),  # clip at Acc
    (0.4, 0.6, 0.6, 1.0, 0.6),  # clip at Acc without any step
    (0.9, 0.5, 0.5, 1.0, 0.9),  # sign(0) = 0
    (0.9, 0.5, 0.7, 0.0, 0.9),  # α = 0
    (1.0, 1.0, 1.0, 5.0, 1.0),
]


@pytest.mark.parametrize("step", ["ece", "signed_gap"])
def test_update_of_buckets_with_one_bin(step):
    # With one confidence bin, ECE is |Conf - Acc| and both steps agree.
    before, accuracy, confidence, alpha, after = np.array(UPDATES).T
    stats = stats_of(np.stack([np.full(len(after), 16), accuracy, confidence], 1))
    for size in np.unique(alpha):
        found = rule("autolabel", alpha=float(size), step=step).update(state_of(before), stats)
        here = alpha == size
        np.testing.assert_allclose(found.confidence[here], after[here], atol=1e-6)


def test_the_two_steps_where_bins_differ():
    # Two bins of 10: 5 right at .9 and 9 right at .7, so Conf .8, Acc .7, ECE (4 + 2) / 20.
    stats = BucketStats(
        count=np.array([[10.0, 10.0]]),
        correct=np.array([[9.0, 5.0]]),
        confidence=np.array([[7.0, 9.0]]),
    )
    for step, move in (("ece", 0.3), ("signed_gap", 0.1)):
        made = rule("autolabel", alpha=0.5, step=step)
        found = made.update(state_of([0.95]), stats)
        assert float(found.confidence[0]) == pytest.approx(0.95 - 0.5 * move, abs=1e-6)


def test_ece_without_a_gap_moves_nothing():
    # Over-confident in one bin and as much under-confident in the other.
    stats = BucketStats(
        count=np.array([[8.0, 8.0]]),
        correct=np.array([[6.0, 6.0]]),
        confidence=np.array([[5.0, 7.0]]),
    )
    assert float(calibration.ece(stats)[0]) == pytest.approx(0.125)
    assert float(rule("autolabel").update(state_of([0.9]), stats).confidence[0]) == np.float32(0.9)


@pytest.mark.parametrize("name", labels.TABLE)
def test_empty_buckets_stay(name):
    state = init(rule(name), np.array([0.9, 0.3, 0.8]))
    stats = with_confusion(stats_of([[10, 0.5, 0.9], [0, 0, 0], [10, 0.6, 0.9]]))
    after = np.asarray(rule(name).update(state, stats).confidence)
    assert after[1] == state.confidence[1]
    assert np.isfinite(after).all()
    nothing = rule(name).update(state, calibration.empty_stats(3, num_classes=NUM_CLASSES))
    jax.tree.map(np.testing.assert_array_equal, nothing, state)


def test_bucket_accuracy_is_the_accuracy():
    found = rule("bucket_accuracy").update(
        state_of([1.0, 0.2]), stats_of([[20, 0.35, 0.9], [4, 1, 0.5]])
    )
    np.testing.assert_allclose(found.confidence, [0.35, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            config("nonsense"),
            r"labels\.rule: got 'nonsense', expected .*one_hot.*autolabel",
        ),
        (config(step="gap"), r"labels\.step: got 'gap', expected one of: ece, signed_gap"),
        (config("ccat", "mixup"), r"labels\.rule: got 'ccat'.*'mixup'.*adversarial"),
        (config(alpha=-1.0), r"labels\.alpha: got -1\.0, must be at least 0"),
        (config(alpha=float("nan")), r"labels\.alpha: got nan"),
        (
            config("smoothing", smoothing=1.5),
            r"labels\.smoothing: got 1\.5, must be between 0 and 1",
        ),
        (config("polynomial", power=-2.0), r"labels\.power: got -2\.0"),
        (config("ccat", "adversarial", rho=-1.0), r"labels\.rho: got -1\.0"),
    ],
)
def test_errors_name_the_field_and_what_would_do(made, message):
    with pytest.raises(ValueError, match=message):
        labels.create(made)


def test_a_rule_is_made_without_a_config():
    made = AutoLabel(alpha=0.5)
    after = made.update(made.init(np.ones(1)), stats_of([[10, 0.5, 0.9]]))
    assert float(after.confidence[0]) == pytest.approx(0.8)
    assert {*made.metrics(after)} == {"confidence"}


def test_names_of_the_table():
    assert {rule(name).name for name in labels.TABLE} == set(labels.TABLE)
