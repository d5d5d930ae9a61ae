"""Affinity and diversity counted by hand; the distance curve from raw examples in a loop."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from autolabel_jax import affinity, buckets, calibration


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
