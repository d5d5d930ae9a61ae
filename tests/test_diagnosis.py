"""Affinity and diversity counted by hand; distances and curves from raw examples."""

import functools

import helpers
import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score

from autolabel_jax import buckets, calibration, calibration_step, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.diagnosis import affinity

KEY = jax.random.key(3)


def logits_for(predicted, k=4, seed=0):
    """Logits whose top class is the one given."""
    noise = np.random.default_rng(seed).random((len(predicted), k))
    return noise + 2 * np.eye(k)[predicted]


def test_counted_by_hand():
    label = np.array([0, 1, 2, 3])
    clean = logits_for([0, 1, 2, 0])  # 3 of 4
    augmented = logits_for([0, 1, 0, 0, 1, 1, 3, 3], seed=1)
    twice = np.array([0, 1, 2, 3, 0, 1, 2, 3])  # 4 of 8
    assert affinity.affinity(clean, label, augmented, twice) == pytest.approx(0.5 / 0.75)
    assert affinity.affinity_difference(clean, label, augmented, twice) == pytest.approx(-0.25)


def test_affinity_from_the_accuracies_of_scikit_learn():
    rng = np.random.default_rng(2)
    label = rng.integers(0, 4, 300)
    clean, augmented = (
        (logits + skill * np.eye(4)[label])
        for logits, skill in zip(rng.normal(size=(2, 300, 4)), (3, 1))
    )
    a, c = (accuracy_score(label, logits.argmax(-1)) for logits in (augmented, clean))
    assert affinity.affinity(clean, label, augmented, label) == pytest.approx(a / c)
    assert affinity.affinity_difference(clean, label, augmented, label) == pytest.approx(a - c)
    assert a < c


def test_no_shift_and_no_skill():
    label = np.array([0, 1, 2])
    right, wrong = logits_for(label), logits_for((label + 1) % 4)
    assert affinity.affinity(right, label, right, label) == 1
    assert affinity.affinity_difference(right, label, right, label) == 0
    assert affinity.affinity(right, label, wrong, label) == 0
    assert np.isnan(affinity.affinity(wrong, label, right, label))
    assert affinity.affinity_difference(wrong, label, right, label) == 1


def test_interval_is_that_of_scipy():
    rng = np.random.default_rng(5)
    clean = rng.random(80) < 0.8
    augmented = np.where(clean, rng.binomial(4, 0.7, 80), rng.binomial(4, 0.2, 80)) / 4
    found = affinity.affinity_interval(clean, augmented, seed=6)
    expected = scipy.stats.bootstrap(
        (clean, augmented),
        lambda clean, augmented, axis: augmented.mean(axis) / clean.mean(axis),
        n_resamples=1000,
        paired=True,
        method="percentile",
        rng=np.random.default_rng(6),
    ).confidence_interval
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.isnan(affinity.affinity_interval(np.zeros(9, bool), np.ones(9))).all()


def test_diversity():
    assert affinity.diversity(np.array([[0.2, 0.4], [0.6, 0.8]]), [0.1, 0.3]) == pytest.approx(2.5)
    same = np.random.default_rng(3).random(50)
    assert affinity.diversity(same, same) == 1
    assert np.isnan(affinity.diversity([0.5], [0.0]))


@pytest.mark.parametrize(
    ("augmented", "clean", "message"),
    [
        ([], [1.0], "augmented_loss: got 0 values"),
        ([1.0], [np.nan], "clean_loss: got 1 values, not all finite"),
        ([-0.1], [1.0], "augmented_loss: .*≥ 0"),
    ],
)
def test_refuses_what_is_no_loss(augmented, clean, message):
    with pytest.raises(ValueError, match=message):
        affinity.diversity(augmented, clean)


@pytest.mark.parametrize("function", [affinity.affinity, affinity.affinity_difference])
def test_refuses_shapes_that_do_not_fit(function):
    good, label = np.zeros((2, 3)), np.zeros(2, int)
    with pytest.raises(ValueError, match=r"augmented_logits: got shape \(2, 3\) with labels \(1,"):
        function(good, label, good, label[:1])
    with pytest.raises(ValueError, match=r"clean_logits: got shape \(0, 3\)"):
        function(good[:0], label[:0], good, label)


def test_distance_curve_from_raw_examples():
    rng = np.random.default_rng(4)
    n, edges = 400, np.array([0, 0.2, 0.5, 1], np.float32)
    group, interval = rng.integers(0, 2, n), rng.integers(0, 3, n)
    interval[(group == 1) & (interval == 1)] = 2  # one bucket stays empty
    logits = 2 * rng.normal(size=(n, 3))
    label = rng.integers(0, 3, n).astype(np.int32)
    stats = calibration.bucket_stats(
        logits.astype(np.float32), label, (3 * group + interval).astype(np.int32), num_buckets=6
    )
    found = affinity.distance_curve(stats, edges, num_groups=2)
    np.testing.assert_array_equal(found.group, [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(found.distance, [0.1, 0.35, 0.75] * 2, rtol=1e-6)
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in range(6):
        chosen = (group == row // 3) & (interval == row % 3)
        assert found.count[row] == chosen.sum()
        numbers = found.accuracy[row], found.confidence[row], found.ece[row]
        if not chosen.any():
            assert row == 4 and np.isnan(numbers).all()
            continue
        right = probability[chosen].argmax(-1) == label[chosen]
        top = probability[chosen].max(-1)
        cell = np.minimum(np.ceil(top * 15), 15)
        ece = sum(abs((right - top)[cell == r].sum()) for r in range(1, 16)) / chosen.sum()
        np.testing.assert_allclose(numbers, [right.mean(), top.mean(), ece], atol=1e-5)


def test_distance_curve_of_one_group_and_other_edges():
    edges = buckets.make_edges("equal_width", 4)
    found = affinity.distance_curve(calibration.empty_stats(4), edges)
    np.testing.assert_allclose(found.distance, [0.125, 0.375, 0.625, 0.875])
    with pytest.raises(ValueError, match="edges: 2 groups of 4 intervals .* 4 buckets"):
        affinity.distance_curve(calibration.empty_stats(4), edges, num_groups=2)


@functools.cache
def model_for(calibration=26, distance=False, **settings):
    """A data set of noise, a task and its first state, images on the device, a compiled step."""
    dataset = helpers.make_dataset(calibration=calibration, distance=distance)
    experiment = helpers.make_experiment(dataset, **settings)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(affinity.move_batch, experiment=experiment))
    return dataset.calibration, experiment, state, whole, step


def moved(n=None, key=KEY, **settings):
    """The calibration split moved into bucket n."""
    _, experiment, state, whole, step = model_for(**settings)
    variables = experiment_lib.inference_variables(state)
    return affinity.move(variables, whole, key, step=step, experiment=experiment, bucket=n)


def logits_of(image, **settings):
    _, experiment, state, _, _ = model_for(**settings)
    variables = experiment_lib.inference_variables(state)
    return experiment.model.apply(variables, image.astype(np.float32), train=False)


MIXUP = {"calibration": 2, "augment__name": "mixup"}
ADVERSARY = {"augment__name": "adversarial", "augment__max_epsilon": 0.2, "augment__num_steps": 1}


@pytest.mark.parametrize("n", [0, 1])
def test_mixup_of_two_images_is_measured_from_the_dominant_one(n):
    """Each is the other's partner: moved by γ of the way between them."""
    found, split = moved(n, **MIXUP), model_for(**MIXUP)[0]
    image = split.input / 255
    between = image[1] - image[0]
    gamma = found.l2 / np.linalg.norm(between)
    assert (gamma > n / 4).all() and (gamma <= (n + 1) / 4 + 1e-6).all()
    np.testing.assert_allclose(found.absolute, gamma * abs(between).mean(), rtol=1e-4)
    np.testing.assert_array_equal(found.bucket, [n, n])
    np.testing.assert_array_equal(found.label, split.label)
    mixed = image + gamma[:, None, None, None] * np.stack([between, -between])
    np.testing.assert_allclose(found.logits, logits_of(mixed, **MIXUP), atol=1e-4)


def test_buckets_are_those_of_the_calibration_pass():
    """The same images at the same distances, from the same key."""
    found = []
    for n in range(2):
        one = moved(n, jax.random.fold_in(KEY, n), **MIXUP)
        found.append(calibration.bucket_stats(one.logits, one.label, one.bucket, num_buckets=2))
    _, experiment, state, whole, _ = model_for(**MIXUP)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    expected = calibration_step.calibrate(state, whole, KEY, step=step, experiment=experiment)
    total = jax.tree.map(lambda a, b: a + b, *found)
    for a, b in zip(jax.tree.leaves(total), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_nothing_moves_without_an_augmentation():
    settings = {"calibration": 70, "augment__name": "none"}  # a batch of 64, and 6
    found, split = moved(**settings), model_for(**settings)[0]
    assert found.logits.shape == (70, 4) and not found.l2.any() and not found.absolute.any()
    np.testing.assert_allclose(found.logits, logits_of(split.input / 255, **settings), atol=1e-4)
    np.testing.assert_array_equal(found.label, split.label)


def test_an_adversary_stays_in_the_ball_of_its_distance():
    inside = moved(0, **ADVERSARY)
    assert inside.absolute.max() <= 0.1 + 1e-6 and inside.l2.max() <= 0.1 * 108**0.5 + 1e-5
    drawn = moved(None, **ADVERSARY)
    assert set(drawn.bucket) == {0, 1}
    assert (drawn.absolute <= np.where(drawn.bucket == 0, 0.1, 0.2) + 1e-6).all()
    assert (drawn.absolute > 0).all() and drawn.absolute.max() > 0.1 / 2


def test_images_that_came_augmented_have_no_clean_selves():
    settings = {"distance": True, "augment__name": "given"}
    found, split = moved(0, **settings), model_for(**settings)[0]
    assert np.isnan(found.l2).all() and np.isnan(found.absolute).all()
    np.testing.assert_array_equal(found.bucket, split.distance > 0.5)
