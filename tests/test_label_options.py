"""Options of AutoLabel and the temperature per bucket: by hand, scikit-learn, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.isotonic import IsotonicRegression

from autolabel_jax import calibration, labels, losses
from autolabel_jax.labels import LabelState, isotonic
from autolabel_jax.types import BucketStats, CarriedStats, ConfusionStats
from configs import base

OFF = {"ece_estimate": "plugin", "alpha_decay": 0.0, "momentum": 0.0, "monotone": False}


def rule(name="autolabel", **settings):
    config = base.base()
    config.labels.rule = name
    config.labels.update(settings)
    return labels.create(config)


def init(made, own):
    """The first state, for statistics of two bins."""
    return made.init(own, num_bins=2)


def stats_of(*buckets):
    """Statistics [N, 2] from (count, accuracy, confidence) of both bins of each bucket."""
    count, accuracy, confidence = np.moveaxis(np.array(buckets, np.float32), -1, 0)
    return BucketStats(count=count, correct=count * accuracy, confidence=count * confidence)


def draw_stats(seed, num=6):
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 30, (num, 2))
    count[seed % num] = 0
    accuracy, confidence = rng.uniform(0.3, 1, (2, num, 2))
    return stats_of(*np.stack([count, accuracy, confidence], -1))


FIRST = stats_of([(10, 0.5, 0.6), (10, 0.9, 0.9)])  # Acc .7, Conf .75, ECE .05
SECOND = stats_of([(10, 0.7, 0.6), (30, 0.6, 0.9)])  # Acc .625, Conf .825, ECE (.1 + .9) / 4


def test_all_off_is_the_published_rule_to_the_bit():
    made = rule(**OFF)
    state = init(made, np.linspace(1, 0.5, 6))
    assert type(state) is LabelState
    for seed in range(3):
        stats = draw_stats(seed)
        accuracy, ece = calibration.accuracy(stats), calibration.ece(stats)
        moved = state.confidence - ece * jnp.sign(calibration.confidence(stats) - accuracy)
        moved = jnp.clip(moved, accuracy, 1)
        expected = jnp.where(calibration.count(stats) > 0, moved, state.confidence)
        state = made.update(state, stats)
        np.testing.assert_array_equal(state.confidence, expected)


def test_debiased_step():
    made = rule(ece_estimate="debiased", alpha=0.5)
    state = made.update(init(made, np.ones(1)), SECOND)
    move = float(calibration.debiased_ece(SECOND)[0])
    assert 0.2 < move < 0.25
    np.testing.assert_allclose(state.confidence, 1 - 0.5 * move, rtol=1e-6)
    np.testing.assert_allclose(state.ece, move, rtol=1e-6)


@pytest.mark.parametrize(("decay", "steps"), [(1.0, (1, 1 / 2, 1 / 3)), (0.5, (1, 0.7071, 0.5774))])
def test_step_sizes_fall_with_the_updates(decay, steps):
    made = rule(alpha=0.4, alpha_decay=decay)
    state, expected = init(made, np.ones(1)), 1.0
    for i, share in enumerate(steps):
        state = made.update(state, FIRST)
        expected -= 0.4 * share * 0.05
        np.testing.assert_allclose(state.confidence, expected, atol=1e-5)
        assert int(state.updates) == i + 1


def test_momentum_merges_the_sums_and_the_clip_reads_them():
    made = rule(momentum=0.5)
    state = made.update(init(made, np.ones(1)), FIRST)
    np.testing.assert_allclose(state.confidence, 0.95, atol=1e-6)  # the first: as without
    state = made.update(state, SECOND)
    # 5 and 10 in the low bin, 2.5 + 7 right, 3 + 6 sure; 5 and 30 in the high, 4.5 + 18, 4.5 + 27.
    ece = (abs(9.5 - 9) + abs(22.5 - 31.5)) / 50
    np.testing.assert_allclose(state.confidence, 0.95 - ece, atol=1e-6)
    np.testing.assert_allclose(state.ece, ece, atol=1e-6)
    low = made.update(state.replace(confidence=jnp.array([0.1])), SECOND)
    # The bound: (.25 · 14 + .5 · 25 + 25) right of .25 · 20 + .5 · 40 + 40.
    sums = [0.25 * 14 + 0.5 * 25 + 25, 0.25 * 20 + 0.5 * 40 + 40]
    np.testing.assert_allclose(low.confidence, sums[0] / sums[1], atol=1e-6)


def test_momentum_of_the_same_statistics_is_none():
    with_it, without = rule(momentum=0.9), rule()
    a, b = (init(made, np.ones(6)) for made in (with_it, without))
    for _ in range(4):
        a, b = with_it.update(a, draw_stats(2)), without.update(b, draw_stats(2))
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-5)


def test_a_bucket_without_images_stays_whatever_is_remembered():
    made = rule(momentum=0.5)
    state = made.update(init(made, np.ones(1)), FIRST)
    after = made.update(state, calibration.empty_stats(1, 2))
    np.testing.assert_array_equal(after.confidence, state.confidence)
    assert np.isfinite(jax.tree.leaves(after)[-1]).all()


# --- monotone --------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [1, 2, 7, 20])
def test_monotone_is_scikit_learns_isotonic_regression(num):
    rng = np.random.default_rng(num)
    values = np.concatenate([np.linspace(1, 0, num), rng.random(num), np.sort(rng.random(num))])
    values = values.astype(np.float32)
    found = np.asarray(jax.jit(isotonic.non_increasing, static_argnums=1)(values, num))
    for group in range(3):
        mine = slice(group * num, (group + 1) * num)
        oracle = IsotonicRegression(increasing=False).fit_transform(np.arange(num), values[mine])
        np.testing.assert_allclose(found[mine], oracle, atol=1e-6)
        assert (np.diff(found[mine]) <= 0).all()
    np.testing.assert_array_equal(found[:num], values[:num])  # falling already


def test_monotone_pools_within_a_group_alone():
    made = rule(monotone=True, alpha=0.0)
    stats = draw_stats(0, num=4)
    stats = stats.replace(correct=0 * stats.correct)  # so that no label meets the clip
    state = LabelState(confidence=jnp.array([0.5, 0.7, 0.9, 0.4]))
    after = made.update(state, stats, num_groups=2)
    np.testing.assert_allclose(after.confidence, [0.6, 0.6, 0.9, 0.4])


# --- bucket_temperature ----------------------------------------------------------------------


def test_temperature_follows_the_gap():
    made = rule("bucket_temperature", eta=2.0)
    state = init(made, np.array([1.0, 0.5, 0.7]))
    stats = stats_of(
        [(10, 0.5, 0.6), (10, 0.9, 0.9)],  # gap +.05
        [(0, 0, 0), (0, 0, 0)],
        [(0, 0, 0), (10, 0.9, 0.7)],  # gap -.2
    )
    np.testing.assert_array_equal(state.temperature, 1)
    for updates in (1, 2):
        state = made.update(state, stats)
        expected = np.exp([0.1 * updates, 0, -0.4 * updates])
        np.testing.assert_allclose(state.temperature, expected, rtol=1e-5)
    np.testing.assert_array_equal(state.confidence, np.float32([1.0, 0.5, 0.7]))


@pytest.mark.parametrize("divide", [False, True])
def test_loss_with_a_temperature_and_its_gradient_by_hand(divide):
    made = rule("bucket_temperature", divide_loss=divide)
    tau = np.array([0.5, 1.0, 4.0])
    state = init(made, np.ones(3)).replace(temperature=jnp.asarray(tau, jnp.float32))
    rng = np.random.default_rng(0)
    z, label, bucket = rng.normal(size=(6, 5)), rng.integers(0, 5, 6), np.array([2, 0, 1, 0, 2, 2])
    one_hot, scale = np.eye(5)[label], tau[bucket][:, None]
    probability = scipy.special.softmax(scale * z, -1)
    loss = -np.log(probability[np.arange(6), label])
    gradient = scale * (probability - one_hot)
    if divide:  # the gradient's size is that of one-hot labels, whatever the temperature
        loss, gradient = loss / scale[:, 0], gradient / scale
        assert np.abs(gradient).max() <= 1

    def total(z):
        scale = made.loss_scale(state, jnp.asarray(bucket))
        found = losses.CrossEntropy()(z, jnp.asarray(one_hot), scale)
        return found.sum(), found

    found_gradient, found = jax.grad(total, has_aux=True)(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    np.testing.assert_allclose(found_gradient, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("gap", "bound"), [(0.5, 10.0), (-0.5, 0.1)])
def test_temperature_is_bounded(gap, bound):
    made = rule("bucket_temperature", eta=10.0)
    state = init(made, np.ones(1))
    for _ in range(2):
        state = made.update(state, stats_of([(0, 0, 0), (10, 0.5, 0.5 + gap)]))
    assert float(state.temperature[0]) == np.float32(bound)


def test_other_rules_scale_no_loss():
    bucket = jnp.zeros(1, jnp.int32)
    made = {name: rule_of(name) for name in labels.TABLE}
    scales = {name: rule.loss_scale(first_state(rule), bucket) for name, rule in made.items()}
    scaled = {name for name, scale in scales.items() if scale is not None}
    assert scaled == {"bucket_temperature"}


def test_what_the_log_shows():
    made = {name: rule_of(name) for name in labels.TABLE}
    shown = {name: {*rule.metrics(first_state(rule))} for name, rule in made.items()}
    learned = {"bucket_temperature": {"confidence", "temperature"}}
    learned["camixup"] = {"confidence", "class_gap"}
    assert shown == {name: {"confidence"} for name in labels.TABLE} | learned
    debiased = rule(ece_estimate="debiased")
    assert {*debiased.metrics(debiased.init(np.ones(1)))} == {"confidence", "ece"}


def rule_of(name):
    config = base.base()
    config.labels.rule = name
    config.augment.name = "mixup" if name == "camixup" else "adversarial"
    config.optimizer.ema = 0.9
    return labels.create(config)


def first_state(made):
    by_class = made.reads_confusion or made.reads_examples or made.reads_classes
    sizes = {"num_classes": 3} if by_class else {}
    return made.init(np.ones(1), **sizes | ({"num_examples": 2} if made.reads_examples else {}))


# --- all of them -----------------------------------------------------------------------------

OPTIONS = [
    {"ece_estimate": "debiased"},
    {"alpha_decay": 0.5},
    {"momentum": 0.9},
    {"momentum": 0.9, "step": "signed_gap"},
    {"monotone": True},
    {"ece_estimate": "debiased", "alpha_decay": 0.5, "momentum": 0.9, "monotone": True},
    {"rule": "bucket_temperature"},
    {"rule": "bucket_temperature", "divide_loss": True},
]


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_options_under_jit_and_vmap(settings):
    settings = {"rule": "autolabel", **settings}
    made = rule(settings.pop("rule"), **settings)
    own = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, (3, 6)))
    together, update = jax.vmap(lambda own: init(made, own))(own), jax.jit(jax.vmap(made.update))
    alone = [init(made, row) for row in own]
    for epoch in range(3):
        stats = [draw_stats(10 * epoch + seed) for seed in range(3)]
        structure = jax.tree.structure(together)
        together = update(together, jax.tree.map(lambda *leaf: np.stack(leaf), *stats))
        assert jax.tree.structure(together) == structure
        alone = [made.update(*pair) for pair in zip(alone, stats)]
    for a, *b in zip(jax.tree.leaves(together), *map(jax.tree.leaves, alone), strict=True):
        np.testing.assert_allclose(a, np.stack(b), atol=1e-6)
        assert np.isfinite(a).all()
        assert a.dtype == b[0].dtype


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"ece_estimate": "x"},
            r"labels\.ece_estimate: got 'x', expected one of: plugin, debiased",
        ),
        (
            {"ece_estimate": "debiased", "step": "signed_gap"},
            r"labels\.ece_estimate: got 'debiased' with labels\.step='signed_gap'.*step='ece'",
        ),
        ({"alpha_decay": -0.5}, r"labels\.alpha_decay: got -0\.5, must be at least 0"),
        ({"momentum": 1.0}, r"labels\.momentum: got 1\.0, must be at least 0 and below 1"),
        ({"momentum": -0.1}, r"labels\.momentum: got -0\.1"),
        ({"momentum": float("nan")}, r"labels\.momentum: got nan"),
        (
            {"name": "bucket_temperature", "eta": -1.0},
            r"labels\.eta: got -1\.0, must be at least 0",
        ),
    ],
)
def test_errors_name_the_field_and_what_would_do(settings, message):
    with pytest.raises(ValueError, match=message):
        rule(**settings)


# --- updates from carried sums ---------------------------------------------------------------


def carried_sums(recent, lasting, recent_clean=None, lasting_clean=None, clean=None):
    """Carried sums, in which nothing is known of unmoved examples unless it is given."""
    unknown = calibration.empty_stats(len(recent.count), 1)
    return CarriedStats(
        recent=recent,
        lasting=lasting,
        recent_clean=recent_clean or unknown,
        lasting_clean=lasting_clean or unknown,
        clean=clean or calibration.empty_stats(1, 1),
    )


def carried_by_hand(
    state,
    recent,
    lasting,
    num_examples,
    alpha=1.0,
    step="ece",
    excess=None,
    of_gap=0,
    of_accuracy=0,
):
    """The update of the class's documentation in NumPy, one bucket at a time.

    ``of_gap`` and ``of_accuracy`` are the corrections, one for each bucket or for all.
    """
    labels = []
    of_gap, of_accuracy = (np.broadcast_to(x, len(state)) for x in (of_gap, of_accuracy))
    for n, label in enumerate(np.asarray(state, np.float64)):

        def sums(stats, n=n):
            return [
                np.asarray(x[n], np.float64) for x in (stats.count, stats.correct, stats.confidence)
            ]

        (count, correct, confidence), (m, right, sure) = sums(recent), sums(lasting)
        if count.sum() == 0:
            labels.append(label)
            continue
        gap = (confidence.sum() - correct.sum()) / count.sum() + of_gap[n]
        accuracy = np.clip(right.sum() / m.sum() + of_accuracy[n], 0, 1)
        extra = np.abs(right - sure).sum() / m.sum() - abs(right.sum() - sure.sum()) / m.sum()
        extra *= np.sqrt(min(m.sum() / num_examples, 1))
        extra = extra if excess is None else excess[n]
        sd = np.sqrt(accuracy * (1 - accuracy) / (count.sum() * (1 + calibration.KEEP)))
        # The expected sign of a normal variable, from its distribution function.
        sign = 1 - 2 * scipy.stats.norm.cdf(0, gap, sd) if sd > 0 else np.sign(gap)
        move = gap + (sign * extra if step == "ece" else 0)
        labels.append(np.clip(label - alpha * move, accuracy, 1))
    return labels


@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 0.3}, {"step": "signed_gap"}, {"step": "signed_gap", "alpha": 0.5}]
)
@pytest.mark.parametrize("num_examples", [20, 1000])
def test_update_from_carried_sums(settings, num_examples):
    made = rule(**settings)
    start = np.linspace(1, 0.6, 6)
    for seed in range(4):
        recent, lasting = draw_stats(seed), draw_stats(seed + 6)
        carried = carried_sums(recent, lasting)
        state = made.update_carried(init(made, start), carried, num_examples=num_examples)
        expected = carried_by_hand(start, recent, lasting, num_examples, **settings)
        np.testing.assert_allclose(state.confidence, expected, atol=1e-6)


@pytest.mark.parametrize("step", ["ece", "signed_gap"])
def test_update_with_the_unmoved_examples_as_control_variate(step):
    """The mean over visits of (moved - unmoved), plus the unmoved value of all examples."""
    made, start = rule(step=step, alpha=0.5), np.linspace(1, 0.6, 6)
    for seed in range(4):
        recent, lasting, of_recent, of_lasting = (draw_stats(seed + 6 * i) for i in range(4))
        clean = jax.tree.map(lambda x: x[:1], draw_stats(seed + 31))
        three = (of_recent, of_lasting, clean)
        total = [np.maximum(np.asarray(s.count).sum(-1), 1e-30) for s in three]
        right, sure = (
            [np.asarray(getattr(s, name)).sum(-1) / m for s, m in zip(three, total, strict=True)]
            for name in ("correct", "confidence")
        )
        seen = [m > 1e-30 for m in total]
        state = made.update_carried(
            init(made, start),
            carried_sums(recent, lasting, of_recent, of_lasting, clean),
            num_examples=50,
        )
        expected = carried_by_hand(
            start,
            recent,
            lasting,
            50,
            alpha=0.5,
            step=step,
            of_gap=((sure[2] - right[2]) - (sure[0] - right[0])) * seen[0],
            of_accuracy=(right[2] - right[1]) * seen[1],
        )
        np.testing.assert_allclose(state.confidence, expected, atol=1e-6)


def test_visits_that_do_not_move_examples_give_the_gap_of_all_of_them():
    """Whichever examples visit a bucket: their own chance cancels."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), 500).astype(np.float32)
    label = random.integers(0, 3, 500)
    stats_of_rows = jax.jit(
        calibration.stats_from_probabilities, static_argnames=("num_buckets", "num_bins")
    )
    everything = stats_of_rows(
        probabilities, label, np.zeros(500, np.int32), num_buckets=1, num_bins=1
    )
    rows, bucket = random.choice(500, 40, replace=False), np.repeat(np.arange(4), 10)
    some = stats_of_rows(probabilities[rows], label[rows], bucket, num_buckets=4, num_bins=1)
    correction = jax.jit(calibration.correction, static_argnums=0)
    for read in (calibration.gap, calibration.accuracy, calibration.confidence):
        seen, whole = np.asarray(jax.jit(read)(some)), np.asarray(jax.jit(read)(everything))
        found = seen + correction(read, some, everything)
        np.testing.assert_allclose(found, np.full(4, whole[0]), atol=1e-6)
        assert np.abs(seen - whole).max() > 0.02
    empty = calibration.empty_stats(4, 1)
    assert not calibration.correction(calibration.gap, empty, everything).any()


def test_debiased_and_decaying_update_from_carried_sums():
    made = rule(ece_estimate="debiased", alpha_decay=1.0, alpha=0.6)
    carried = carried_sums(FIRST, SECOND)
    state, expected = init(made, np.ones(1)), [1.0]
    gap = np.abs(calibration.confidence(SECOND) - calibration.accuracy(SECOND))
    excess = np.maximum(np.asarray(calibration.debiased_ece(SECOND)) - gap, 0)
    for alpha in (0.6, 0.3, 0.2):
        state = made.update_carried(state, carried, num_examples=9)
        expected = carried_by_hand(expected, FIRST, SECOND, 9, alpha=alpha, excess=excess)
        np.testing.assert_allclose(state.confidence, expected, atol=1e-6)
    assert int(state.updates) == 3


def test_monotone_update_from_carried_sums():
    plain, pooled = rule(), rule(monotone=True)
    carried = carried_sums(draw_stats(0), draw_stats(6))
    moved = plain.update_carried(init(plain, np.ones(6)), carried, num_examples=50)
    found = pooled.update_carried(init(pooled, np.ones(6)), carried, num_examples=50, num_groups=2)
    fit = IsotonicRegression(increasing=False)
    halves = np.split(np.asarray(moved.confidence), 2)
    expected = np.concatenate([fit.fit_transform(range(3), half) for half in halves])
    np.testing.assert_allclose(found.confidence, expected, atol=1e-6)


def test_with_many_visits_the_update_is_that_of_a_full_pass():
    """Where a bucket's gap is known, its sign is, and gap and excess add up to the ECE."""
    made = rule(alpha=0.5)
    stats = jax.tree.map(lambda x: 1e6 * x, draw_stats(2))
    for own in (np.ones(6), np.full(6, 0.9)):
        full = made.update(init(made, own), stats)
        carried = carried_sums(stats, stats)
        some = made.update_carried(init(made, own), carried, num_examples=1)
        np.testing.assert_allclose(some.confidence, full.confidence, atol=2e-6)


def test_a_gap_that_may_be_chance_does_not_move_a_label_by_the_whole_ece():
    made = rule()
    recent = stats_of([(8, 0.8, 0.81), (8, 0.8, 0.81)])
    lasting = stats_of([(500, 0.5, 0.7), (500, 0.9, 0.7)])  # ECE .2, no gap
    carried = carried_sums(recent, lasting)
    state = made.update_carried(init(made, np.ones(1)), carried, num_examples=1000)
    assert 0.97 < float(state.confidence[0]) < 0.98  # .01 + .2 · P(sign), not .8


def test_other_rules_read_the_recent_sums():
    carried = carried_sums(FIRST, SECOND)
    for name in ("bucket_accuracy", "bucket_temperature", "one_hot"):
        made = rule(name)
        state = init(made, np.ones(1))
        found = made.update_carried(state, carried, num_examples=9)
        jax.tree.map(np.testing.assert_array_equal, found, made.update(state, FIRST))


def test_the_confusion_is_that_of_the_lasting_sums():
    made = rule("autolabel_confusion")
    confusion = np.random.default_rng(0).uniform(0, 5, (2, 1, 3, 3)) * (1 - np.eye(3))
    both = [ConfusionStats(**vars(s), confusion=c) for s, c in zip((FIRST, SECOND), confusion)]
    state = made.init(np.ones(1), num_bins=2, num_classes=3)
    found = made.update_carried(state, carried_sums(*both), num_examples=9)
    np.testing.assert_array_equal(found.rest, made.update(state, both[1]).rest)
    plain = rule().update_carried(
        init(rule(), np.ones(1)), carried_sums(FIRST, SECOND), num_examples=9
    )
    np.testing.assert_array_equal(found.confidence, plain.confidence)
