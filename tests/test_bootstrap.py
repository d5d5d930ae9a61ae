"""Intervals against SciPy's bootstrap, resamples in a loop, and simulated coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from autolabel_jax import metrics
from autolabel_jax.metrics import bootstrap, pairs


def mean(x):
    return x.mean(-1)


def make_pairs(n=120, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, n).astype(np.float32)
    return confidence, rng.random(n) < confidence - 0.1


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_equals_scipy_on_means(level):
    x = np.random.default_rng(1).exponential(size=80)
    found = bootstrap.interval(mean, [x], seed=7, level=level, resamples=500)
    expected = stats.bootstrap(
        (x,),
        np.mean,
        method="percentile",
        n_resamples=500,
        confidence_level=level,
        rng=np.random.default_rng(7),
    ).confidence_interval
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_equals_scipy_on_a_statistic_of_pairs():
    confidence, correct = make_pairs()

    def auroc(c, r):
        return sk.roc_auc_score(r, c)

    expected = stats.bootstrap(
        (confidence, correct),
        auroc,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=200,
        rng=np.random.default_rng(3),
    ).confidence_interval
    found = bootstrap.interval(pairs.auroc, (confidence, correct), seed=3, resamples=200)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_ece_of_resampled_pairs_in_a_loop():
    confidence, correct = make_pairs()
    rng, values = np.random.default_rng(5), []
    for _ in range(150):
        rows = rng.integers(0, len(confidence), len(confidence))
        c, r, total = confidence[rows].astype(float), correct[rows], 0.0
        for low, high in itertools.pairwise(np.linspace(0, 1, 16)):
            inside = (c > low) & (c <= high)
            total += abs(r[inside].sum() - c[inside].sum())
        values.append(total / len(rows))
    found = bootstrap.interval(pairs.ece, (confidence, correct), seed=5, resamples=150)
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]), atol=1e-6)


@pytest.mark.parametrize(("level", "tolerance"), [(0.95, 0.035), (0.5, 0.08)])
def test_covers_the_truth_as_often_as_it_says(level, tolerance):
    """600 sets of 200 draws; four standard errors are 0.035 and 0.08."""
    rng = np.random.default_rng(11)
    covered = 0
    for i in range(600):
        x = rng.random(200) < 0.7
        low, high = bootstrap.interval(mean, [x], seed=i, level=level, resamples=200)
        covered += low <= 0.7 <= high
    assert covered / 600 == pytest.approx(level, abs=tolerance)


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch):
    columns = make_pairs()
    expected = bootstrap.interval(pairs.ece, columns, seed=2, resamples=100)
    other = bootstrap.interval(pairs.ece, columns, seed=3, resamples=100)
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 7 * 120)
    again = bootstrap.interval(pairs.ece, columns, seed=2, resamples=100)
    np.testing.assert_array_equal(again, expected)
    assert not np.array_equal(other, expected)


def test_a_statistic_of_many_numbers():
    x = np.random.default_rng(4).normal(size=50)
    found = bootstrap.interval(
        lambda x: np.stack([x.mean(-1), x.std(-1)], -1), [x], seed=1, resamples=60
    )
    assert found.shape == (2, 2)
    for i, one in enumerate((mean, lambda x: x.std(-1))):
        np.testing.assert_array_equal(
            found[:, i], bootstrap.interval(one, [x], seed=1, resamples=60)
        )


def test_resamples_without_an_answer_are_left_out():
    confidence = np.array([0.9, 0.8, 0.7], np.float32)
    correct = np.array([True, True, False])
    found = bootstrap.interval(pairs.auroc, (confidence, correct), seed=0, resamples=200)
    np.testing.assert_array_equal(found, [1, 1])
    none = bootstrap.interval(pairs.auroc, (confidence, correct | True), seed=0, resamples=50)
    assert np.isnan(none).all()


def test_intervals_of_the_headline_numbers():
    rng = np.random.default_rng(6)
    label = rng.integers(0, 5, 400)
    logits = 2 * rng.normal(size=(400, 5)) + 2 * np.eye(5)[label]
    state = metrics.update(metrics.empty(5), logits, label)
    numbers, rows = metrics.compute(state), state.examples
    found = bootstrap.intervals(rows, seed=9, resamples=300)
    assert set(found) == set(metrics.NAMES) - {"ece_class_wise"}
    for name in ("accuracy", "nll", "brier", "auroc", "aurc"):
        assert found[name][0] < numbers[name] < found[name][1], name
    one_by_one = {
        "accuracy": (mean, [rows.correct]),
        "nll": (mean, [rows.nll.astype(float)]),
        "ece": (pairs.ece, (rows.confidence, rows.correct)),
        "ece_equal_mass": (pairs.ece_equal_mass, (rows.confidence, rows.correct)),
        "aurc": (pairs.aurc, (rows.confidence, rows.correct)),
    }
    for name, (statistic, columns) in one_by_one.items():
        single = bootstrap.interval(statistic, columns, seed=9, resamples=300)
        assert found[name] == pytest.approx(tuple(single), abs=1e-9), name
    # Normal theory for the mean of 400 values: 1.96 standard errors either way.
    error = 1.96 * rows.nll.std() / 20
    assert np.diff(found["nll"])[0] / 2 == pytest.approx(error, rel=0.2)


def test_headline_resamples_in_a_loop(monkeypatch):
    """A product with counts is the same as taking the drawn examples out one by one."""
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 1000)
    rng = np.random.default_rng(5)
    logits, label = 2 * rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    counts = bootstrap.resample_counts(200, seed=3, resamples=50)
    found = bootstrap.headline_resamples(metrics.examples(logits, label), counts)
    rows = np.random.default_rng(3).integers(0, 200, (50, 200))
    np.testing.assert_array_equal(counts, [np.bincount(r, minlength=200) for r in rows])
    for i, r in enumerate(rows):
        expected = metrics.from_logits(logits[r], label[r])
        for name, values in found.items():
            assert values[i] == pytest.approx(expected[name], rel=1e-4, abs=1e-6)
    assert set(found) == {"accuracy", "ece", "nll", "brier"}


def test_percentiles_of_known_values():
    values = np.random.default_rng(0).permutation(np.arange(1001))
    assert bootstrap.percentiles(values) == pytest.approx([25.0, 975.0])
    assert bootstrap.percentiles(values, level=0.5) == pytest.approx([250.0, 750.0])


@pytest.mark.parametrize(("correct", "num"), [(30, 100), (99, 100), (0, 50), (50, 50)])
def test_interval_of_a_share_is_the_bootstraps(correct, num):
    data = (np.arange(num) < correct).astype(float)
    found = bootstrap.share_interval(correct, num)
    drawn = np.random.default_rng(0).choice(data, (20_000, num)).mean(-1)
    np.testing.assert_allclose(found, np.quantile(drawn, [0.025, 0.975]), atol=1.01 / num)


def test_reliability_in_a_loop():
    confidence, correct = make_pairs(200, seed=8)
    found = bootstrap.reliability(confidence, correct, seed=4, num_bins=10, resamples=120)
    rng = np.random.default_rng(4)
    draws = [rng.integers(0, 200, 200) for _ in range(120)]
    for r in range(10):
        inside = (confidence > r / 10) & (confidence <= (r + 1) / 10)
        assert found.count[r] == inside.sum()
        row = (found.accuracy[r], found.confidence[r], found.low[r], found.high[r])
        if not inside.any():
            assert np.isnan(row).all()
            continue
        shares = [correct[d][inside[d]].mean() for d in draws if inside[d].any()]
        expected = correct[inside].mean(), confidence[inside].mean()
        np.testing.assert_allclose(row[:2], expected, rtol=1e-6)
        np.testing.assert_allclose(row[2:], np.quantile(shares, [0.025, 0.975]), rtol=1e-9)
    assert found.count.sum() == 200 and np.isnan(found.accuracy[:3]).all()


def test_bands_of_reliability_are_as_wide_as_the_binomial_says():
    confidence = np.full(900, 0.75, np.float32)
    correct = np.arange(900) % 4 > 0
    found = bootstrap.reliability(confidence, correct, seed=0, resamples=2000)
    (place,) = np.flatnonzero(found.count)
    assert place == 11  # (11/15, 12/15]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 900)
    np.testing.assert_allclose(
        [found.low[place], found.high[place]], [0.75 - half, 0.75 + half], atol=0.1 * half
    )


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ([np.zeros(0)], {}, r"columns: got lengths \[0\]"),
        ([np.zeros(3), np.zeros(2)], {}, r"columns: got lengths \[3, 2\]"),
        ([np.zeros(3)], {"level": 95}, r"level: got 95, must be inside \(0, 1\)"),
        ([np.zeros(3)], {"resamples": 0}, "resamples: got 0"),
    ],
)
def test_refuses_what_it_cannot_resample(columns, settings, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.interval(mean, columns, seed=0, **settings)
