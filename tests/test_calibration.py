"""Oracles: loops in NumPy by hand, scikit-learn, closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy import stats as distributions
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score

from autolabel_jax import calibration
from autolabel_jax.types import BucketStats

SUMS = tuple(BucketStats.__dataclass_fields__)

ece_of = jax.jit(calibration.expected_calibration_error, static_argnames="num_bins")
stats_of = jax.jit(
    calibration.stats_from_probabilities, static_argnames=("num_buckets", "num_bins")
)


def by_hand(probabilities, label, num_bins=15):
    """ECE in a loop over bins (low, high], float64."""
    confidence, total = probabilities.max(1), 0.0
    edges = np.linspace(0, 1, num_bins + 1, dtype=np.float32)
    for low, high in itertools.pairwise(edges):
        chosen = (confidence > low) & (confidence <= high)
        if low == 0:
            chosen |= confidence == 0
        if chosen.any():
            right = probabilities[chosen].argmax(1) == label[chosen]
            total += abs(right.sum() - confidence[chosen].astype(np.float64).sum())
    return total / len(label)


def random_problem(seed, num=500, num_classes=4, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((num, num_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), rng.integers(num_classes, size=num).astype(np.int32)


def two_class(confidence, right):
    """Probabilities whose top class, 0, has the given confidence; labels right or wrong."""
    confidence = np.asarray(confidence, np.float32)
    rows = np.stack([confidence, 1 - confidence], 1)
    return rows, np.where(right, 0, 1).astype(np.int32)


def test_ece_on_random_probabilities():
    for seed, num_bins in itertools.product(range(3), (1, 10, 15)):
        probabilities, label = random_problem(seed)
        found = ece_of(probabilities, label, num_bins=num_bins)
        assert float(found) == pytest.approx(by_hand(probabilities, label, num_bins), abs=1e-6)


def test_ece_and_bins_against_scikit_learn():
    probabilities, label = random_problem(3, num=2000)
    right = (probabilities.argmax(1) == label).astype(int)
    confidence = probabilities.max(1)
    share, mean = calibration_curve(right, confidence, n_bins=15)
    stats = stats_of(probabilities, label, jnp.zeros_like(label), num_buckets=1)
    filled = np.asarray(stats.count[0]) > 0
    np.testing.assert_allclose((stats.correct[0] / stats.count[0])[filled], share, rtol=1e-5)
    np.testing.assert_allclose((stats.confidence[0] / stats.count[0])[filled], mean, rtol=1e-5)
    weight = np.asarray(stats.count[0])[filled] / 2000
    assert float(calibration.ece(stats)[0]) == pytest.approx(weight @ abs(share - mean), abs=1e-6)
    expected = accuracy_score(label, probabilities.argmax(1))
    assert float(calibration.accuracy(stats)[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("confidence", "right", "expected"),
    [
        ([0.9, 0.8, 0.7], [1, 1, 1], 0.2),  # all correct: mean of 1 - confidence
        ([0.9, 0.8, 0.7], [0, 0, 0], 0.8),  # all wrong: mean confidence
        ([0.75], [1], 0.25),  # one example
        ([1.0, 1.0], [1, 1], 0.0),  # confidence of exactly 1
        ([1.0, 1.0], [1, 0], 0.5),
        ([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0], 0.15),  # one bin: |Conf - Acc|
        ([0.95, 0.65], [0, 1], 0.65),  # two bins: errors of either sign do not cancel
    ],
)
def test_ece_in_closed_form(confidence, right, expected):
    # Padded to one shape, so that all of these compile once.
    rows = np.arange(4) % len(right)
    probabilities, label = two_class(np.take(confidence, rows), np.take(right, rows))
    found = ece_of(probabilities, label, mask=np.arange(4) < len(right))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_tied_probabilities_take_the_first_class():
    probabilities = np.full((8, 4), 0.25, np.float32)
    label = np.array([0, 0, 0, 1, 1, 2, 3, 3], np.int32)
    found = ece_of(probabilities, label)
    assert float(found) == pytest.approx(3 / 8 - 0.25, abs=1e-6)


def test_one_class_only():
    probabilities = np.ones((5, 1), np.float32)
    assert float(ece_of(probabilities, np.zeros(5, np.int32))) == 0


def test_no_example_is_nan():
    found = ece_of(np.zeros((0, 3)), np.zeros(0, np.int32))
    assert np.isnan(found)


@pytest.mark.parametrize("num_bins", [2, 4, 10, 15, 16])
def test_bins_are_closed_above(num_bins):
    edges = np.array([np.float32(k / num_bins) for k in range(num_bins + 1)])
    edges = edges[edges >= 0.5]
    above = np.nextafter(edges[:-1], np.float32(2))
    confidence = np.concatenate([edges, above])
    stats = stats_of(
        *two_class(confidence, np.ones(len(confidence))),
        np.arange(len(confidence), dtype=np.int32),
        num_buckets=len(confidence),
        num_bins=num_bins,
    )
    place = np.argmax(stats.count, axis=1)
    k = np.round(edges * num_bins).astype(int)
    np.testing.assert_array_equal(place, np.concatenate([k - 1, k[:-1]]))


def test_sums_by_bucket_against_a_loop():
    probabilities, label = random_problem(5, num=300)
    bucket = np.random.default_rng(6).integers(4, size=300).astype(np.int32)
    bucket[bucket == 2] = 3  # bucket 2 stays empty
    stats = stats_of(probabilities, label, bucket, num_buckets=4)
    for n in range(4):
        rows = bucket == n
        assert float(calibration.count(stats)[n]) == rows.sum()
        found = calibration.accuracy(stats), calibration.confidence(stats), calibration.ece(stats)
        if not rows.any():
            assert all(np.isnan(values[n]) for values in found)
            continue
        expected = (
            (probabilities[rows].argmax(1) == label[rows]).mean(),
            probabilities[rows].max(1).mean(),
            by_hand(probabilities[rows], label[rows]),
        )
        np.testing.assert_allclose([values[n] for values in found], expected, atol=1e-6)


def test_any_split_and_any_padding_merge_to_the_same_sums():
    probabilities, label = random_problem(7, num=257)
    rng = np.random.default_rng(8)
    bucket = rng.integers(3, size=257).astype(np.int32)
    settings = {"num_buckets": 3, "num_bins": 10}
    whole = stats_of(probabilities, label, bucket, **settings)
    for pieces in (2, 5):
        total = calibration.empty_stats(3, 10)
        for rows in np.array_split(rng.permutation(257), pieces):
            padded = np.concatenate([rows, rng.integers(257, size=4)])
            mask = np.arange(len(padded)) < len(rows)
            part = stats_of(
                probabilities[padded], label[padded], bucket[padded], mask=mask, **settings
            )
            total = calibration.merge(total, part)
        for name in SUMS:
            np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-5)


def test_masked_rows_count_nowhere():
    probabilities, label = random_problem(9, num=40)
    mask = np.arange(40) % 3 > 0
    found = ece_of(probabilities, label, mask=mask)
    expected = by_hand(probabilities[mask], label[mask])
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_logits_and_probabilities_agree_under_jit_and_vmap():
    rng = np.random.default_rng(10)
    logits = rng.standard_normal((3, 50, 5)).astype(np.float32)
    label = rng.integers(5, size=(3, 50)).astype(np.int32)
    bucket = rng.integers(2, size=(3, 50)).astype(np.int32)

    def ece(logits, label, bucket):
        return calibration.ece(calibration.bucket_stats(logits, label, bucket, num_buckets=2))

    found = jax.jit(jax.vmap(ece))(logits, label, bucket)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for i, n in itertools.product(range(3), range(2)):
        rows = bucket[i] == n
        expected = by_hand(probabilities[i][rows], label[i][rows])
        assert float(found[i, n]) == pytest.approx(expected, abs=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    logits = jnp.asarray(np.random.default_rng(11).standard_normal((64, 10)), jnp.bfloat16)
    stats = calibration.bucket_stats(
        logits, jnp.zeros(64, jnp.int32), jnp.zeros(64, jnp.int32), num_buckets=1
    )
    wide = np.asarray(logits.astype(jnp.float32), np.float64)
    expected = (np.exp(wide) / np.exp(wide).sum(1, keepdims=True)).max(1).mean()
    assert float(calibration.confidence(stats)[0]) == pytest.approx(expected, abs=1e-6)


def test_ece_is_at_least_the_gap():
    for seed in range(5):
        probabilities, label = random_problem(seed, num=100)
        gap = abs(probabilities.max(1).mean() - (probabilities.argmax(1) == label).mean())
        found = float(ece_of(probabilities, label))
        assert found >= gap - 1e-6


@pytest.mark.parametrize(("num", "low", "high"), [(5000, 0.0018, 0.0034), (500, 0.007, 0.013)])
def test_ece_of_a_perfectly_calibrated_model_is_not_zero(num, low, high):
    # Confidences ~ U[.92, 1], labels drawn with just these; NumPy alone: .0026 and .0100.
    rng = np.random.default_rng(12)
    confidence = 1 - 0.08 * rng.random((50, num), np.float32)
    probabilities = np.stack([confidence, 1 - confidence], -1)
    label = (rng.random((50, num)) > confidence).astype(np.int32)
    found = jax.jit(jax.vmap(calibration.expected_calibration_error))(probabilities, label)
    assert low < np.mean(found) < high


# --- ECE less its bias -----------------------------------------------------------------------

debiased_of = jax.jit(calibration.debiased_ece)


def sums_of(count, accuracy, confidence):
    """BucketStats [N, R] from figures of each bin."""
    count, accuracy, confidence = (np.asarray(x, np.float32) for x in (count, accuracy, confidence))
    return BucketStats(count=count, correct=count * accuracy, confidence=count * confidence)


def calibrated_sums(num, draws, seed=13):
    """Sums [draws, 15] of a model whose labels are drawn with just its confidences, U[.5, 1]."""
    rng = np.random.default_rng(seed)
    confidence = 0.5 + 0.5 * rng.random((draws, num))
    right = rng.random((draws, num)) < confidence
    cell = np.arange(draws)[:, None] * 15 + np.ceil(15 * confidence).astype(int) - 1
    sums = [
        np.bincount(cell.ravel(), weight.ravel(), 15 * draws).reshape(draws, 15)
        for weight in (np.ones_like(confidence), right, confidence)
    ]
    return BucketStats(*(s.astype(np.float32) for s in sums))


def test_debiased_ece_is_made_of_scipys_folded_normals():
    rng = np.random.default_rng(14)
    count = rng.integers(1, 60, (40, 6))
    confidence, accuracy = rng.uniform(0.3, 0.99, (2, 40, 6))
    accuracy[:20] = rng.binomial(count[:20], confidence[:20]) / count[:20]  # calibrated
    gap, sd = abs(accuracy - confidence), np.sqrt(confidence * (1 - confidence) / count)
    bias = distributions.foldnorm.mean(gap / sd, scale=sd) - gap
    weight = count / count.sum(1, keepdims=True)
    expected = np.maximum((weight * (gap - bias)).sum(1), 0)
    assert (expected == 0).any() and (expected > 0.1).any()
    found = debiased_of(sums_of(count, accuracy, confidence))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_debiased_ece_of_one_bin_against_drawing():
    # 100 images, Conf .8, Acc .75: s = .04.
    drawn = np.abs(np.random.default_rng(15).normal(0.05, 0.04, 1_000_000)).mean()
    found = debiased_of(sums_of([[100]], [[0.75]], [[0.8]]))
    assert float(found[0]) == pytest.approx(2 * 0.05 - drawn, abs=2e-4)
    assert float(found[0]) < 0.0478


def test_debiased_ece_of_ever_more_images_is_the_ece():
    few = sums_of([[3, 5, 2]], [[1, 0.4, 0.5]], [[0.7, 0.5, 0.95]])
    many = jax.tree.map(lambda x: 1e5 * x, few)
    np.testing.assert_allclose(debiased_of(many), calibration.ece(few), rtol=1e-5)
    assert float(debiased_of(few)[0]) < 0.8 * float(calibration.ece(few)[0])


def test_debiased_ece_where_nothing_is_known_or_all_is():
    stats = sums_of(
        [[0, 0], [4, 0], [4, 0], [1, 0]],
        [[0, 0], [0.5, 0], [0.75, 0], [1, 0]],
        [[0, 0], [1, 0], [0.75, 0], [0.9, 0]],
    )
    found = np.asarray(debiased_of(stats))
    assert np.isnan(found[0])  # no image
    assert found[1] == 0.5  # sure of all: no variance, so no bias
    assert found[2] == 0  # no gap: the bias is more than that
    # One image, right: .1 - (foldnorm of mean .1 and s = .3, less .1), which is below 0.
    assert found[3] == 0


@pytest.mark.parametrize("num", [50, 500])
def test_debiased_ece_of_a_calibrated_model_is_nearer_to_zero(num):
    # Where all bins are large it is 2 - sqrt(2) = .586 of the ECE: the gap itself is of size s.
    stats = calibrated_sums(num, draws=400)
    ratio = np.mean(debiased_of(stats)) / np.mean(calibration.ece(stats))
    assert 0.55 < ratio < 0.67


def test_numpy_sums_of_any_axes_give_the_same_numbers_in_their_own_type():
    rng = np.random.default_rng(0)
    count = rng.integers(0, 20, (2, 3, 5)).astype(np.float64)
    count[1, 2] = 0
    share, mean = rng.random((2, 2, 3, 5))
    stats = BucketStats(count=count, correct=count * share, confidence=count * mean)
    by_hand = [
        [sum(n * abs(s - m) for n, s, m in zip(*row)) / max(sum(row[0]), 1) for row in zip(*rows)]
        for rows in zip(count, share, mean)
    ]
    by_hand[1][2] = np.nan
    values = calibration.ece(stats)
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, by_hand, rtol=1e-12)
    for function in (calibration.ece, calibration.accuracy, calibration.confidence):
        on_device = function(jax.tree.map(jnp.asarray, stats))
        assert isinstance(on_device, jax.Array)
        np.testing.assert_allclose(on_device, function(stats), rtol=1e-6)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_a_confidence_on_an_edge_is_in_the_bin_below_it(num_bins):
    edges = calibration.bin_edges(num_bins)
    exact = np.arange(num_bins + 1) / num_bins  # float64
    np.testing.assert_array_equal(edges, exact.astype(np.float32))
    above = np.nextafter(edges[1:-1], np.float32(2))
    for confidence, expected in ((edges[1:], range(num_bins)), (above, range(1, num_bins))):
        for values in (confidence, jnp.asarray(confidence)):
            np.testing.assert_array_equal(calibration.bin_index(values, num_bins), [*expected])


def test_nan_is_no_class():
    scores = jnp.array([[np.nan, 0.2], [0.1, 0.9], [0.9, np.nan]])
    np.testing.assert_array_equal(calibration.top_class(scores), [-1, 1, -1])
    label = jnp.zeros(3, jnp.int32)
    stats = calibration.bucket_stats(scores, label, label, num_buckets=1)
    assert float(stats.correct.sum()) == 0


def test_confusion_sums_wrong_classes_by_bucket_and_class():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(40, 5)).astype(np.float32)
    label, second = rng.integers(5, size=(2, 40))
    second[:20] = label[:20]
    bucket, mask = rng.integers(2, size=40), rng.random(40) > 0.3
    logits[~mask] = np.nan
    expected = np.zeros((3, 5, 5))
    for i in np.flatnonzero(mask):
        p = scipy.special.softmax(logits[i].astype(np.float64))
        for k in range(5):
            if k not in (label[i], second[i]):
                expected[bucket[i], label[i], k] += p[k]
    found = calibration.confusion(
        jnp.asarray(logits), label, second, bucket, num_buckets=3, mask=jnp.asarray(mask)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found[2] == 0).all() and (np.diagonal(found, axis1=1, axis2=2) == 0).all()
