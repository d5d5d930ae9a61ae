"""Every number against loops in NumPy, scikit-learn and closed forms, in any split."""

import itertools

import helpers
import jax
import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from autolabel_jax import calibration, metrics
from autolabel_jax.metrics import pairs, superclasses

EDGES = np.linspace(0, 1, 16, dtype=np.float32)


def random_logits(n, k, seed=0, spread=2.0, skill=2.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, k, n)
    logits = spread * rng.standard_normal((n, k))
    logits[np.arange(n), label] += skill
    return logits.astype(np.float32), label


def tied_logits(n=300, k=5, seed=1):
    """Few different rows, uniform ones among them: ties, and probabilities on an edge (1/5)."""
    rng = np.random.default_rng(seed)
    kinds = np.concatenate([np.zeros((1, k)), 3 * rng.standard_normal((5, k))])
    return kinds[rng.integers(0, 6, n)].astype(np.float32), rng.integers(0, k, n)


def all_right_or_wrong(right, n=200, k=4):
    logits, _ = random_logits(n, k, seed=2)
    top = logits.argmax(-1)
    return logits, top if right else (top + 1) % k


CASES = {
    "random": random_logits(500, 7),
    "two classes": random_logits(400, 2, seed=3),
    "sharp": random_logits(600, 10, seed=4, spread=5.0),
    "many chunks": random_logits(2000, 3, seed=5),
    "tied": tied_logits(),
    "all correct": all_right_or_wrong(True),
    "all wrong": all_right_or_wrong(False),
    "one class": (np.array([[0.5], [-3.0], [2.0]], np.float32), np.zeros(3, int)),
    "one class present": (random_logits(150, 4, seed=6)[0], np.full(150, 2)),
    "one example, right": (np.array([[2.0, 1.0, 0.0]], np.float32), np.array([0])),
    "one example, wrong": (np.array([[2.0, 1.0, 0.0]], np.float32), np.array([2])),
    "100,000 classes": random_logits(12, 100_000, seed=7, skill=12.0),
}


def bins_by_hand(values):
    """(low, high], the first one with its lower edge."""
    for low, high in itertools.pairwise(EDGES):
        yield (values > low) & (values <= high) | (values == 0 if low == 0 else False)


def by_hand(logits, label):
    """All numbers from their definitions: loops over bins and examples, float64 sums."""
    n, k = logits.shape
    exact = special.log_softmax(logits.astype(np.float64), axis=-1)
    p = special.softmax(logits, axis=-1)  # float32, as it is binned
    wide, rows = p.astype(np.float64), np.arange(n)
    top, right = wide.max(-1), (logits.argmax(-1) == label).astype(float)
    own = np.zeros((n, k))
    own[rows, label] = 1
    gaps = [(b.sum(), abs(right[b].mean() - top[b].mean())) for b in bins_by_hand(p.max(-1))
            if b.any()]  # fmt: skip
    class_gaps = [abs(((wide - own) * b).sum(0)).sum() / n for b in bins_by_hand(p)]
    return {
        "accuracy": right.mean(),
        "ece": sum(m * gap for m, gap in gaps) / n,
        "ece_equal_mass": equal_mass_by_hand(top, right),
        "ece_class_wise": sum(class_gaps) / k,
        "mce": max(gap for _, gap in gaps),
        "nll": -exact[rows, label].mean(),
        "brier": ((np.exp(exact) - own) ** 2).sum(-1).mean(),
        "auroc": auroc_by_hand(top, right),
        "aurc": np.mean([1 - right[top >= t].mean() for t in top]),
    }


def equal_mass_by_hand(top, right, num_bins=15):
    """Fill bins in ascending order up to n·r/R examples; an example joins its equals."""
    n, total, last = len(top), 0.0, -1.0
    ascending = np.sort(top)
    for r in range(1, num_bins + 1):
        edge = ascending[int(np.ceil(n * r / num_bins - 1e-9)) - 1]
        group = (top > last) & (top <= edge)
        total += abs((right - top)[group].sum())
        last = max(last, edge)
    return total / n


def auroc_by_hand(top, right):
    better = top[right == 1][:, None] - top[right == 0][None]
    return np.nan if better.size == 0 else ((better > 0) + 0.5 * (better == 0)).mean()


@pytest.mark.parametrize("case", CASES)
def test_equals_the_definitions(case):
    logits, label = CASES[case]
    found = metrics.from_logits(logits, label)
    assert tuple(found) == metrics.NAMES
    expected = by_hand(logits, label)
    for name in metrics.NAMES:
        tolerance = {"rel": 1e-6, "abs": 1e-6} if name == "nll" else {"rel": 0, "abs": 1e-6}
        assert found[name] == pytest.approx(expected[name], nan_ok=True, **tolerance), name


@pytest.mark.parametrize("case", ["random", "two classes", "tied", "one class present", "sharp"])
def test_equals_scikit_learn(case):
    logits, label = CASES[case]
    found = metrics.from_logits(logits, label)
    p = special.softmax(logits.astype(np.float64), axis=-1)
    classes = np.arange(logits.shape[1])
    right = logits.argmax(-1) == label
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, p.argmax(-1)), abs=1e-6)
    assert found["nll"] == pytest.approx(sk.log_loss(label, p, labels=classes), rel=1e-6)
    top = special.softmax(logits, axis=-1).max(-1)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(right, top), abs=1e-6)
    brier = sk.brier_score_loss(label, p, labels=classes, scale_by_half=False)
    own = brier if len(classes) > 2 else ((p - np.eye(len(classes))[label]) ** 2).sum(-1).mean()
    assert found["brier"] == pytest.approx(own, abs=1e-6)


def test_calibration_errors_from_the_curves_of_scikit_learn():
    logits, label = random_logits(15 * 40, 4, seed=8)
    found = metrics.from_logits(logits, label)
    p = special.softmax(logits, axis=-1)
    top, right = p.max(-1), logits.argmax(-1) == label

    def gaps(truth, score, strategy="uniform"):
        share, mean = calibration_curve(truth, score, n_bins=15, strategy=strategy)
        return abs(share - mean), np.array([b.sum() for b in bins_by_hand(score) if b.any()])

    gap, count = gaps(right, top)
    assert found["ece"] == pytest.approx(gap @ count / len(top), abs=1e-6)
    assert found["mce"] == pytest.approx(gap.max(), abs=1e-6)
    # Without ties, and with n a multiple of 15, every bin holds n/15.
    assert len(np.unique(top)) == len(top)
    equal, _ = gaps(right, top, "quantile")
    assert found["ece_equal_mass"] == pytest.approx(equal.mean(), abs=1e-6)
    each = [np.dot(*gaps(label == k, p[:, k])) / len(top) for k in range(4)]
    assert found["ece_class_wise"] == pytest.approx(np.mean(each), abs=1e-6)


def test_aurc_is_the_mean_selective_risk_over_coverages():
    """Without ties: keep 1, 2, …, n of the most confident and count the wrong ones."""
    logits, label = random_logits(300, 5, seed=9)
    order = np.argsort(-special.softmax(logits, axis=-1).max(-1))
    wrong = (logits.argmax(-1) != label)[order]
    risks = [wrong[:kept].mean() for kept in range(1, 301)]
    assert metrics.from_logits(logits, label)["aurc"] == pytest.approx(np.mean(risks), abs=1e-6)


def test_closed_forms():
    right, wrong = (metrics.from_logits(*CASES[f"all {which}"]) for which in ("correct", "wrong"))
    assert (right["accuracy"], right["aurc"]) == (1, 0)
    assert (wrong["accuracy"], wrong["aurc"]) == (0, 1)
    assert np.isnan([right["auroc"], wrong["auroc"]]).all()
    one = metrics.from_logits(*CASES["one class"])
    zeros = ("ece", "ece_equal_mass", "ece_class_wise", "mce", "nll", "brier", "aurc")
    assert one["accuracy"] == 1 and all(one[name] == 0 for name in zeros)
    uniform = metrics.from_logits(np.zeros((8, 5)), np.array([0, 0, 1, 2, 3, 4, 4, 4]))
    assert uniform["nll"] == pytest.approx(np.log(5), abs=1e-6)
    assert uniform["brier"] == pytest.approx(0.8, abs=1e-6)
    assert uniform["ece"] == uniform["ece_equal_mass"] == pytest.approx(0.05, abs=1e-6)
    # Shares of labels 2, 1, 1, 1, 3 of 8 against 1/5.
    assert uniform["ece_class_wise"] == pytest.approx((0.05 + 3 * 0.075 + 0.175) / 5, abs=1e-6)
    assert uniform["aurc"] == pytest.approx(6 / 8, abs=1e-6)
    assert uniform["auroc"] == 0.5


def test_bins_of_every_class_are_closed_above():
    """Four bins: 1/4 belongs below, apart from 0.3 and 0.4, together with 0.2 and 0.1."""
    logits = np.log([[0.25] * 4, [0.4, 0.3, 0.2, 0.1]]) + np.log(4)
    state = metrics.update(metrics.empty(4, num_bins=4), logits, np.array([0, 3]))
    gaps = (0.75 + 0.4) + (0.25 + 0.3) + (0.25 + 0.2) + abs(0.25 + 0.1 - 1)
    expected = gaps / (2 * 4)
    assert metrics.compute(state)["ece_class_wise"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", ["random", "tied", "many chunks", "one example, wrong"])
def test_any_split_and_any_order_of_merging(case):
    logits, label = CASES[case]
    rng = np.random.default_rng(10)
    expected = metrics.from_logits(logits, label)
    for pieces in (2, 7):
        parts = []
        for rows in np.array_split(rng.permutation(len(label)), pieces):
            padded = np.concatenate([rows, rng.integers(len(label), size=3)])
            mask = np.arange(len(padded)) < len(rows)
            parts.append((logits[padded], label[padded], mask))
        k = logits.shape[1]
        streamed = metrics.empty(k)
        for part in parts:
            streamed = metrics.update(streamed, *part)
        merged = metrics.empty(k)
        for part in reversed(parts):
            merged = metrics.merge(metrics.update(metrics.empty(k), *part), merged)
        for state in (streamed, merged):
            found = metrics.compute(state)
            assert found == pytest.approx(expected, abs=3e-7, nan_ok=True)


def test_chunks_on_the_device_change_nothing(monkeypatch):
    logits, label = CASES["random"]
    expected = metrics.from_logits(logits, label)
    monkeypatch.setattr(metrics, "CHUNK_ELEMENTS", 5 * logits.shape[1])
    assert metrics.from_logits(logits, label) == pytest.approx(expected, abs=3e-7)


def test_no_array_is_larger_than_the_logits_or_the_sums():
    """Nothing of the size [K, bins, B], so that 100,000 classes fit."""
    rows, k, num_bins = 40, 300, 15
    args = np.zeros((rows, k), np.float32), np.zeros(rows, np.int32), np.ones(rows, bool)
    program = jax.make_jaxpr(lambda *a: metrics._chunk(*a, num_bins=num_bins))(*args)

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (variable.aval.size for variable in equation.outvars)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from sizes(inner)

    found = list(sizes(program.jaxpr))
    assert max(found) == rows * k
    assert max(found) < k * num_bins * rows / 10


def test_ece_is_that_of_calibration():
    for case in ("random", "tied"):
        logits, label = CASES[case]
        probabilities = jax.nn.softmax(logits)
        expected = float(jax.jit(calibration.expected_calibration_error)(probabilities, label))
        state = metrics.update(metrics.empty(logits.shape[1]), logits, label)
        assert metrics.compute(state)["ece"] == pytest.approx(expected, abs=1e-6)
        found = pairs.ece(state.examples.confidence, state.examples.correct)
        assert found == pytest.approx(expected, abs=1e-6)


def test_pairs_work_along_the_last_axis():
    rng = np.random.default_rng(11)
    confidence = (np.round(rng.random((2, 3, 60)) * 20) / 20).astype(np.float32)
    correct = rng.random((2, 3, 60)) < confidence
    for function in (pairs.ece, pairs.ece_equal_mass, pairs.auroc, pairs.aurc):
        found = function(confidence, correct)
        assert found.shape == (2, 3)
        for i, j in np.ndindex(2, 3):
            single = function(confidence[i, j], correct[i, j])
            assert found[i, j] == pytest.approx(float(single), abs=1e-12)
            shuffle = rng.permutation(60)
            again = function(confidence[i, j][shuffle], correct[i, j][shuffle])
            assert float(again) == pytest.approx(float(single), abs=1e-12)


def test_many_examples_lose_nothing_in_the_sums():
    """200,000 times the same row: sums in float32 would be wrong in the fifth place."""
    k, n = 2, 200_000
    logits = np.tile(np.array([[1.3, 0.0]], np.float32), (n, 1))
    label = (np.arange(n) % 10 == 0).astype(int)
    p = special.softmax(logits[0].astype(np.float64))
    state = metrics.update(metrics.empty(k), logits[:50_000], label[:50_000])
    for _ in range(2):
        state = metrics.merge(state, state)
    found = metrics.compute(state)
    for name in ("ece", "ece_equal_mass", "ece_class_wise", "mce"):
        assert found[name] == pytest.approx(abs(0.9 - p[0]), abs=2e-7), name
    assert found["nll"] == pytest.approx(-(0.9 * np.log(p[0]) + 0.1 * np.log(p[1])), abs=2e-7)


def test_extreme_logits():
    found = metrics.from_logits(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([1, 1]))
    assert found["nll"] == 500 and found["brier"] == 1 and found["ece"] == 0.5
    masked = metrics.from_logits(np.array([[0.0, 0.0, -np.inf]]), np.array([0]))
    assert masked["nll"] == pytest.approx(np.log(2)) and masked["brier"] == pytest.approx(0.5)
    bad = metrics.from_logits(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 0]))
    assert all(np.isnan(bad[n]) for n in ("ece", "ece_equal_mass", "nll", "brier", "aurc"))


def test_no_example_is_nan():
    found = metrics.compute(metrics.empty(3))
    assert np.isnan(list(found.values())).all()
    logits, label = CASES["random"]
    state = metrics.update(metrics.empty(7), logits, label, np.zeros(len(label)))
    assert np.isnan(list(metrics.compute(state).values())).all()


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchmetrics", "netcal"])
def test_ece_of_other_libraries(library):
    torch = helpers.import_torch()
    module = pytest.importorskip(
        {"torchmetrics": "torchmetrics.functional.classification", "netcal": "netcal.metrics"}[
            library
        ]
    )
    logits, label = CASES["random"]
    p = special.softmax(logits, axis=-1)
    if library == "torchmetrics":
        other = module.multiclass_calibration_error(
            torch.tensor(p), torch.tensor(label), num_classes=7, n_bins=15, norm="l1"
        )
    else:
        other = module.ECE(15).measure(p, label)
    assert metrics.from_logits(logits, label)["ece"] == pytest.approx(float(other), abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        (np.zeros((3, 4)), np.zeros(3, int), r"logits: got shape \(3, 4\).*expected \[B, 3\]"),
        (np.zeros((3, 3)), np.zeros(2, int), r"labels \(2,\)"),
        (np.zeros(3), np.zeros(3, int), r"logits: got shape \(3,\)"),
        (np.zeros((2, 3)), np.array([0, 3]), "label: got 0 to 3; expected 0 to 2"),
        (np.zeros((2, 3)), np.array([-1, 1]), "label: got -1 to 1"),
    ],
)
def test_refuses_what_does_not_fit(logits, label, message):
    with pytest.raises(ValueError, match=message):
        metrics.update(metrics.empty(3), logits, label)


def test_headline_is_that_of_all_metrics(monkeypatch):
    rng = np.random.default_rng(8)
    logits, label = rng.normal(size=(333, 7)).astype(np.float32), rng.integers(0, 7, 333)
    monkeypatch.setattr(metrics, "CHUNK_ELEMENTS", 7 * 100)
    found = metrics.headline(metrics.examples(logits, label))
    probability = special.softmax(logits.astype(np.float64), axis=-1)
    assert found["accuracy"] == sk.accuracy_score(label, probability.argmax(-1))
    assert found["nll"] == pytest.approx(sk.log_loss(label, probability), rel=1e-6)
    assert found["ece"] == pytest.approx(metrics.from_logits(logits, label)["ece"], abs=1e-7)
    brier = np.mean(np.sum((probability - np.eye(7)[label]) ** 2, -1))
    assert found["brier"] == pytest.approx(brier, rel=1e-6)
    assert tuple(found) == metrics.HEADLINE


def test_superclasses_add_up_probabilities():
    logits = np.log([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]) + np.array([[5.0], [-900.0]])
    found = superclasses.add_up(logits, np.array([1, 0, 1, 0]))
    np.testing.assert_allclose(special.softmax(found, -1), [[0.6, 0.4], [0.2, 0.8]])
    alone = superclasses.add_up(logits, np.arange(4))
    np.testing.assert_allclose(alone, logits)


def test_nan_logits_are_wrong_and_not_class_0():
    logits = np.array([[np.nan, np.nan], [2.0, 0.0], [0.0, np.nan], [3.0, 1.0]], np.float32)
    assert metrics.from_logits(logits, np.zeros(4, np.int32))["accuracy"] == 0.5
