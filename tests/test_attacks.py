import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy import optimize, special
from sklearn.datasets import load_digits

from autolabel_jax import attacks, input_pipeline, models
from autolabel_jax.attacks import apgd, fab, gradient, search, square
from autolabel_jax.attacks.ball import Ball, draw_noise
from autolabel_jax.datasets.split import spec_of
from tests.helpers import import_torch, small_config

SHAPE = (8, 8, 3)
PIXELS = 192
NUM = 50
EPSILON = 8 / 255
CLASSES = 5
BALL = Ball(0.005)  # where the curved model gets some right and some wrong


def images_with_edges(num=NUM, shape=SHAPE, seed=0):
    """Random float32 images, a fifth of the pixels black and a fifth white."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.uniform(-1 / 3, 4 / 3, (num, *shape)), 0, 1).astype(np.float32)


def grey_images():
    """None so near to 0 or 1 that the box matters."""
    return np.random.default_rng(1).uniform(0.3, 0.7, (NUM, *SHAPE)).astype(np.float32)


@functools.cache
def weights(num_classes=CLASSES):
    return np.random.default_rng(2).normal(size=(PIXELS, num_classes)).astype(np.float32)


def linear(image):
    return image.reshape(image.shape[0], -1) @ weights()


def binary(image):
    return image.reshape(image.shape[0], -1) @ weights()[:, :2]


def curved(image):
    """A small network with random weights, harder to attack than a linear model."""
    rng = np.random.default_rng(3)
    hidden = rng.normal(size=(PIXELS, 32)).astype(np.float32) / 4
    last = rng.normal(size=(32, CLASSES)).astype(np.float32)
    return jnp.tanh((image.reshape(image.shape[0], -1) - 0.5) @ hidden) @ last


def stepped(image):
    """A linear model that hides its gradient."""
    return linear(jnp.floor(image * 20) / 20)


def labels_of(logits_fn, image):
    return np.asarray(logits_fn(image).argmax(-1)).astype(np.int32)


def keys(num=NUM, seed=0):
    return jax.random.split(jax.random.key(seed), num)


@functools.cache
def made(kind, logits_fn, ball, **settings):
    """Most of the time here goes into compiling: tests share attacks and shapes."""
    make = {
        "fgsm": gradient.make_fgsm,
        "pgd": gradient.make_pgd,
        "apgd": apgd.make_apgd,
        "fab": fab.make_fab,
        "square": square.make_square,
    }[kind]
    if kind == "pgd":
        settings = {"num_steps": 20, "step_size": ball.epsilon / 4} | settings
    return make(logits_fn, ball, **settings)


AUTO_EPSILON = 0.02


@functools.cache
def auto():
    return attacks.create(
        "auto", linear, num_classes=CLASSES, epsilon=AUTO_EPSILON, num_queries=100
    )


def attacked(kind, logits_fn, ball, image, label, seed=0, **settings):
    return np.asarray(made(kind, logits_fn, ball, **settings)(image, label, keys(seed=seed)))


def cross_entropy(logits, label):
    logits = np.asarray(logits, np.float64)
    return special.logsumexp(logits, axis=-1) - np.take_along_axis(logits, label[:, None], -1)[:, 0]


def assert_inside(image, clean, epsilon, norm="linf"):
    """In float32 as a user checks it, and in exact arithmetic."""
    assert image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    for dtype in (np.float32, np.float64):
        delta = image.astype(dtype) - clean.astype(dtype)
        if norm == "linf":
            assert float(np.abs(delta).max()) <= epsilon
        else:
            assert np.linalg.norm(delta.reshape(len(delta), -1), axis=1).max() <= epsilon


# The ball.


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 1e-3, EPSILON, 0.1, 0.5, 3.0])
def test_projection_is_inside_to_the_last_bit(norm, epsilon):
    clean = images_with_edges(16, (64, 64, 3))
    far = clean + np.random.default_rng(4).normal(size=clean.shape).astype(np.float32)
    ball = Ball(epsilon, norm)
    moved = np.asarray(jax.jit(ball.project)(clean, far))
    assert_inside(moved, clean, epsilon, norm)
    if norm == "linf":  # and nothing is given away but a bit
        exact = np.clip(far.astype(float), np.maximum(clean - epsilon, 0), clean + epsilon)
        np.testing.assert_allclose(moved, np.clip(exact, 0, 1), atol=2e-7)


def test_multiples_of_a_level_are_inside_too():
    clean = np.broadcast_to(
        np.arange(256, dtype=np.float32)[:, None, None, None] / 255, (256, *SHAPE)
    )
    for levels in (1, 2, 4, 8, 16):
        ball = Ball(levels / 255)
        for toward in (0.0, 1.0):
            moved = np.asarray(ball.project(clean, np.full_like(clean, toward)))
            assert_inside(moved, clean, levels / 255)
            reach = np.minimum(levels / 255, np.abs(clean - toward))
            np.testing.assert_allclose(np.abs(moved - clean), reach, atol=1e-6)


@pytest.mark.parametrize(("norm", "fars"), [("linf", (False, True)), ("l2", (False,))])
def test_random_points_fill_the_ball(norm, fars):
    clean = grey_images()
    ball = Ball(0.1, norm)
    size = np.inf if norm == "linf" else 2
    lengths = {}
    for far in fars:
        noise = draw_noise(keys(), 0, shape=SHAPE, which=norm, far=far)
        moved = np.asarray(jax.jit(ball.random_point)(clean, noise))
        assert_inside(moved, clean, 0.1, norm)
        lengths[far] = np.linalg.norm((moved - clean).reshape(NUM, -1), size, axis=1)
    if True in fars:
        np.testing.assert_allclose(lengths[True], 0.1, rtol=1e-4)
    assert lengths[False].max() < 0.1
    # linf: the largest of 192 uniform numbers; l2: a uniform length.
    expected = 0.1 * (PIXELS / (PIXELS + 1) if norm == "linf" else 0.5)
    assert abs(lengths[False].mean() - expected) < 4 * 0.1 / np.sqrt(12 * NUM)


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "apgd"])
def test_attacks_stay_inside(kind):
    clean = images_with_edges()
    moved = attacked(kind, curved, BALL, clean, labels_of(curved, clean))
    assert_inside(moved, clean, BALL.epsilon)
    assert np.any(moved != clean)


@pytest.mark.parametrize("name", ["apgd_ce", "apgd_t_1", "fab_t_2", "square"])
def test_the_parts_of_the_ensemble_stay_inside(name):
    clean = images_with_edges()
    label = labels_of(linear, clean)
    moved = np.asarray(dict(auto().stages)[name](clean, label, keys()))
    assert_inside(moved, clean, AUTO_EPSILON)
    assert np.any(moved != clean)
    broken = labels_of(linear, moved) != label
    assert 0 < broken.mean() < 1
    if name == "fab_t_2":  # it tells of no image outside
        np.testing.assert_array_equal(moved[~broken], clean[~broken])


def test_a_radius_of_zero_moves_nothing():
    clean = images_with_edges()
    label = labels_of(curved, clean)
    np.testing.assert_array_equal(attacked("fgsm", curved, Ball(0.0), clean, label), clean)


# Closed forms on linear models.


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_reaches_the_worst_case_of_a_linear_model(kind):
    clean = images_with_edges()
    label = labels_of(binary, clean)
    moved = attacked(kind, binary, Ball(EPSILON), clean, label)
    flat = clean.reshape(NUM, -1).astype(float)
    toward = np.where(label[:, None] == 0, 1, -1) * np.diff(weights()[:, :2], axis=1)[:, 0]
    worst = np.clip(flat + EPSILON * np.sign(toward), 0, 1)
    np.testing.assert_allclose(moved.reshape(NUM, -1), worst, atol=2e-7)


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_reaches_the_worst_case_in_l2(kind):
    clean = grey_images()
    label = labels_of(binary, clean)
    moved = attacked(kind, binary, Ball(0.5, "l2"), clean, label)
    assert_inside(moved, clean, 0.5, "l2")
    toward = np.where(label[:, None] == 0, 1, -1) * np.diff(weights()[:, :2], axis=1)[:, 0]
    unit = toward / np.linalg.norm(toward, axis=1, keepdims=True)
    gained = np.sum((moved - clean).reshape(NUM, -1) * unit, axis=1)
    np.testing.assert_allclose(gained, 0.5, rtol=1e-3)


def closed_form_robust(clean, label, epsilon):
    """Whether a linear model keeps each label everywhere in the ball and the box."""
    flat = clean.reshape(len(clean), -1).astype(float)
    low, high = np.maximum(flat - epsilon, 0) - flat, np.minimum(flat + epsilon, 1) - flat
    robust = np.ones(len(clean), bool)
    for other in range(CLASSES):
        slope = weights()[:, other][None] - weights().T[label]
        lead = np.sum(flat * slope + np.maximum(slope * low, slope * high), axis=1)
        robust &= (lead < 0) | (label == other)
    return robust


def test_the_ensemble_finds_all_that_a_linear_model_has():
    clean = images_with_edges(3 * NUM)
    label = labels_of(linear, clean)
    label[:15] = (label[:15] + 1) % CLASSES  # these are wrong from the start
    attacked = attacks.robust_accuracy(auto(), clean, label, jax.random.key(0), batch_size=NUM)
    robust = closed_form_robust(clean, label, AUTO_EPSILON)
    robust[:15] = False
    np.testing.assert_array_equal(attacked.correct, robust)
    assert 0.2 < attacked.accuracy < 0.8 and attacked.accuracy == robust.mean()
    assert_inside(attacked.images, clean, AUTO_EPSILON)
    np.testing.assert_array_equal(attacked.images[:15], clean[:15])
    np.testing.assert_array_equal(
        labels_of(linear, attacked.images)[15:] == label[15:], robust[15:]
    )
    after = attacked.accuracy_after
    names = [
        *("clean", "apgd_ce"),
        *(f"{attack}_{rank}" for attack in ("apgd_t", "fab_t") for rank in (1, 2, 3, 4)),
        "square",
    ]
    assert list(after) == names and after["clean"] == 0.9
    assert all(a >= b for a, b in zip(list(after.values()), list(after.values())[1:]))


def test_targeted_reaches_its_class():
    clean = grey_images()
    target = (labels_of(linear, clean) + 1) % CLASSES
    moved = attacked("pgd", linear, Ball(0.25), clean, target, targeted=True)
    np.testing.assert_array_equal(labels_of(linear, moved), target)


# Gradient attacks beyond the linear.


def test_momentum_is_mi_fgsm():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, PIXELS))
    clean, epsilon, steps = grey_images(), 0.2, 5
    flat = clean.reshape(NUM, -1).astype(float)
    logit = np.sum(a * (flat - 0.5) ** 2 + b * (flat - 0.5), axis=1)
    label = (logit < 0).astype(np.int32)  # the higher of (logit, 0)

    def logits_fn(image):
        x = image.reshape(image.shape[0], -1) - 0.5
        first = jnp.sum(jnp.float32(a) * x**2 + jnp.float32(b) * x, -1)
        return jnp.stack([first, jnp.zeros_like(first)], -1)

    pgd = gradient.make_pgd(
        logits_fn, Ball(epsilon), num_steps=steps, step_size=epsilon / steps,
        random_start=False, momentum=1.0,
    )  # fmt: skip
    moved = np.asarray(pgd(clean, label, keys()))
    x, velocity = flat, 0
    for _ in range(steps):
        slope = np.where(label[:, None] == 0, -1, 1) * (2 * a * (x - 0.5) + b)
        velocity = velocity + slope / np.abs(slope).sum(1, keepdims=True)
        x = np.clip(x + epsilon / steps * np.sign(velocity), 0, 1)
    np.testing.assert_allclose(moved.reshape(NUM, -1), x, atol=1e-6)


def test_cross_entropy_keeps_its_gradient_where_the_model_is_certain():
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(NUM, CLASSES)) * np.geomspace(0.1, 60, NUM)[:, None]
    label = rng.integers(0, CLASSES, NUM).astype(np.int32)
    label[::2] = logits[::2].argmax(1)
    logits = logits.astype(np.float32)
    loss, gradient = jax.jit(jax.value_and_grad(lambda z: search.cross_entropy(z, label).sum()))(
        logits
    )
    logits = logits.astype(np.float64)
    np.testing.assert_allclose(loss, cross_entropy(logits, label).sum(), rtol=1e-5)
    # In float64 by the others' probabilities, which do not cancel.
    expected = special.softmax(logits, axis=1)
    rows = np.arange(NUM)
    expected[rows, label] = 0
    expected[rows, label] = -expected.sum(1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-37)


def test_restarts_and_apgd_only_add():
    clean = images_with_edges()
    label = labels_of(curved, clean)

    def judged(moved):
        logits = np.asarray(curved(moved))
        return logits.argmax(-1) == label, cross_entropy(logits, label)

    once = judged(attacked("pgd", curved, BALL, clean, label))
    more = judged(attacked("pgd", curved, BALL, clean, label, restarts=4))
    assert 0.2 < once[0].mean() < 1
    assert np.all(more[0] <= once[0])  # example by example
    both = more[0] & once[0]
    assert np.all(more[1][both] >= once[1][both] - 1e-6)
    auto = judged(attacked("apgd", curved, BALL, clean, label))
    both = auto[0] & once[0]
    assert auto[0].mean() <= once[0].mean()
    assert auto[1][both].mean() >= once[1][both].mean() * (1 - 1e-5)


def test_a_lax_loop_does_what_python_does():
    clean = images_with_edges()
    label = labels_of(curved, clean)
    one = attacked("pgd", curved, BALL, clean, label)
    other = attacked("pgd", curved, BALL, clean, label, in_python=False)
    assert np.mean(np.abs(one - other) > 1e-6) < 0.01  # a rounded gradient may change its sign
    broken = [labels_of(curved, moved) != label for moved in (one, other)]
    assert 0.05 < broken[0].mean() < 1
    np.testing.assert_array_equal(*broken)


@pytest.mark.parametrize("in_python", [True, False])
def test_loops_count_their_steps_and_stop_when_done(in_python):
    def step(i, total):
        return total + i

    run = functools.partial(search.make_loop, step, 40, in_python=in_python)
    assert run()(jnp.int32(5)) == 5 + sum(range(40))
    assert run(done=lambda total: total >= 5)(jnp.int32(5)) == 5
    stopped = run(done=lambda total: total >= 10)(jnp.int32(0))
    assert 10 <= stopped < sum(range(11))


def test_checkpoints_are_the_papers():
    # p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)
    windows = apgd.checkpoint_windows(100)
    assert (np.flatnonzero(windows) + 1).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert windows[windows > 0].tolist() == [22, 19, 16, 13, 10, 7, 6, 6]
    assert apgd.checkpoint_windows(3).tolist() == [1, 1, 1]


def test_dlr_is_the_papers():
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(NUM, 6)).astype(np.float32)
    label, target = rng.permuted(np.tile(np.arange(6, dtype=np.int32), (NUM, 1)), axis=1)[:, :2].T
    loss = apgd.targeted_dlr(logits, label=label, target=target)
    rows = np.arange(NUM)
    top = np.sort(logits.astype(float), axis=1)[:, ::-1]
    expected = logits[rows, target].astype(float) - logits[rows, label]
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    np.testing.assert_allclose(loss, expected / scale, rtol=1e-5)
    # Neither shift nor scale of the logits changes it.
    again = apgd.targeted_dlr(1000 * logits + 7, label=label, target=target)
    np.testing.assert_allclose(again, loss, rtol=1e-3)
    few = apgd.targeted_dlr(logits[:, :3], label=label % 3, target=(label + 1) % 3)
    expected = logits[rows, (label + 1) % 3] - logits[rows, label % 3]
    np.testing.assert_allclose(few, expected, rtol=1e-6)


def test_the_other_class_of_a_rank():
    logits = np.array([[3.0, 1.0, 4.0, 2.0], [9.0, 8.0, 7.0, 6.0]], np.float32)
    label = np.array([0, 2], np.int32)
    classes = [search.other_class(logits, label, rank).tolist() for rank in range(3)]
    assert classes == [[2, 0], [3, 1], [1, 3]]


# FAB.


def test_projection_on_a_hyperplane_is_the_linear_programs():
    rng = np.random.default_rng(7)
    num, size = 40, 6
    image = images_with_edges(num, (size,))
    normal = rng.normal(size=(num, size)).astype(np.float32)
    value = (3 * rng.normal(size=num)).astype(np.float32)
    delta = np.asarray(jax.jit(fab.project_on_hyperplane)(image, normal, value)).astype(float)
    reachable = 0
    for x, w, c, d in zip(image.astype(float), normal.astype(float), value.astype(float), delta):
        # min r over (δ, r) with w·δ = -c, -r ≤ δ ≤ r, and the box.
        sides = [[*row, -1] for row in (*np.eye(size), *-np.eye(size))]
        program = optimize.linprog(
            [0] * size + [1], A_ub=sides, b_ub=[0] * 2 * size, A_eq=[[*w, 0]], b_eq=[-c],
            bounds=[*zip(-x, 1 - x), (0, None)],
        )  # fmt: skip
        assert np.all(x + d >= 0) and np.all(x + d <= 1 + 1e-7)
        if program.success:
            reachable += 1
            np.testing.assert_allclose(w @ d, -c, atol=1e-5)
            np.testing.assert_allclose(np.abs(d).max(), program.fun, atol=1e-6)
        else:
            end = np.where(w * c < 0, 1 - x, -x)
            np.testing.assert_allclose(d, end, atol=1e-6)
    assert 5 < reachable < num - 5


def test_fab_finds_the_nearest_image_of_a_linear_model():
    clean = grey_images()
    label = labels_of(binary, clean)
    minimal = fab.make_minimal(binary, num_steps=50)
    nearest, distance = map(np.asarray, minimal(clean, label, 1 - label))
    lead = np.abs(clean.reshape(NUM, -1).astype(float) @ np.diff(weights()[:, :2])[:, 0])
    closed_form = lead / np.abs(np.diff(weights()[:, :2])).sum()
    assert closed_form.max() < 0.3  # so the box does not matter
    assert np.all(labels_of(binary, nearest) != label)
    np.testing.assert_allclose(np.abs(nearest - clean).max((1, 2, 3)), distance, rtol=1e-6)
    assert np.all(distance >= closed_form - 1e-6)
    np.testing.assert_allclose(distance, closed_form, rtol=2e-3)


# Square.


def test_square_breaks_a_model_that_hides_its_gradient():
    clean = images_with_edges()
    label = labels_of(stepped, clean)
    ball = Ball(0.1)
    unmoved = attacked("fgsm", stepped, ball, clean, label)
    np.testing.assert_array_equal(unmoved, clean)
    by_search = attacked("square", stepped, ball, clean, label, num_queries=2000)
    assert_inside(by_search, clean, 0.1)
    assert (labels_of(stepped, by_search) == label).mean() < 0.3


def test_squares_shrink_as_published():
    sides = square.square_sides(5000, 0.8, (32, 32))
    # √(0.8 · 32² / 2^h) after 10, 50, 200, … queries.
    at = {0: 29, 10: 29, 11: 20, 50: 20, 51: 14, 201: 10, 501: 7, 1001: 5, 2001: 4, 4001: 3}
    assert {i: int(sides[i]) for i in at} == at
    assert square.square_sides(20, 0.8, (4, 40)).max() == 4
    assert square.square_sides(9000, 0.8, (8, 8)).min() == 1


def test_square_starts_from_stripes():
    clean = grey_images()
    # A model that is never fooled, and to which all images are alike.
    moved = attacked("square", _constant, Ball(0.1), clean, np.zeros(NUM, np.int32), num_queries=1)
    delta = moved - clean
    np.testing.assert_allclose(np.abs(delta), 0.1, atol=1e-6)
    assert np.all(np.sign(delta) == np.sign(delta[:, :1]))  # the same down each column
    columns = np.sign(delta[:, 0])
    assert abs(columns.mean()) < 4 / np.sqrt(columns.size)


def _constant(image):
    return jnp.broadcast_to(jnp.array([1.0, 0.0]), (image.shape[0], 2))


# The ensemble, and robust accuracy.


def test_stages_run_in_order_on_survivors_only():
    clean = images_with_edges(40, (4, 4, 1))
    clean[:, 0, 0, 0] = np.linspace(0.25, 0.75, 40)  # all that the model below looks at
    label = np.ones(40, np.int32)
    seen = []

    def predict(image):
        return (image[:, 0, 0, 0] < 1).astype(jnp.int32)

    def breaks_below(name, limit):
        def run(image, label, keys):
            first = np.asarray(image)[:, 0, 0, 0]
            seen.append((name, sorted(set(first.tolist())), image.shape[0], keys.shape))
            moved = np.array(image)
            moved[first < limit, 0, 0, 0] = 1
            return jnp.asarray(moved)

        return name, run

    stages = (breaks_below("a", 0.4), breaks_below("b", 0.3), breaks_below("c", 0.6))
    ensemble = attacks.Ensemble(predict, stages)
    label[5] = 0  # wrong from the start
    attacked = attacks.robust_accuracy(ensemble, clean, label, jax.random.key(0), batch_size=16)
    first = clean[:, 0, 0, 0]
    start = label == 1
    for name, alive in (
        ("a", start), ("b", start & (first >= 0.4)), ("c", start & (first >= 0.4)),
    ):  # fmt: skip
        calls = [call for call in seen if call[0] == name]
        assert sum((values for _, values, _, _ in calls), []) == sorted(first[alive].tolist())
        assert all(size == 16 and shape == (16,) for _, _, size, shape in calls)
    assert [name for name, *_ in seen] == ["a"] * 3 + ["b"] * 2 + ["c"] * 2
    survivors = start & (first >= 0.6)
    np.testing.assert_array_equal(attacked.correct, survivors)
    assert attacked.accuracy_after == {
        "clean": 39 / 40,
        "a": np.mean(start & (first >= 0.4)),
        "b": np.mean(start & (first >= 0.4)),
        "c": np.mean(survivors),
    }
    np.testing.assert_array_equal(attacked.images[:, 0, 0, 0] == 1, start & ~survivors)


@functools.cache
def pgd_ensemble():
    created = attacks.create("pgd20", curved, num_classes=CLASSES, epsilon=BALL.epsilon)
    # The same attack, compiled once.
    assert [name for name, _ in created.stages] == ["pgd20"]
    return attacks.Ensemble(created.predict, (("pgd20", made("pgd", curved, BALL)),))


def test_the_key_decides_and_a_cut_changes_nothing():
    clean = images_with_edges()
    label = labels_of(curved, clean)

    def run(image, label, seed=0, **settings):
        key = jax.random.key(seed)
        return attacks.robust_accuracy(
            pgd_ensemble(), image, label, key, batch_size=NUM, progress=False, **settings
        )

    whole, again, other = run(clean, label), run(clean, label), run(clean, label, seed=1)
    np.testing.assert_array_equal(whole.images, again.images)
    assert np.any(whole.images != other.images)
    late = run(clean[24:], label[24:], start=24)
    # The rest runs in other rows of a batch, where sums may round otherwise.
    np.testing.assert_allclose(late.images, whole.images[24:], atol=1e-3)
    np.testing.assert_array_equal(late.correct, whole.correct[24:])
    assert np.any(np.abs(run(clean[24:], label[24:]).images - whole.images[24:]) > 1e-3)


def test_whole_levels_are_scaled_and_batches_sharded():
    levels = np.random.default_rng(8).integers(0, 256, (NUM, *SHAPE), dtype=np.uint8)
    scaled = levels / np.float32(255)
    label, key = labels_of(curved, scaled), jax.random.key(0)
    sharding = NamedSharding(input_pipeline.make_mesh(), PartitionSpec("data"))
    run = functools.partial(attacks.robust_accuracy, pgd_ensemble(), batch_size=NUM)
    attacked = run(levels, label, key, sharding=sharding)
    assert_inside(attacked.images, scaled, BALL.epsilon)
    np.testing.assert_allclose(attacked.images, run(scaled, label, key).images, atol=1e-6)


def test_the_table_and_its_errors():
    assert list(attacks.TABLE) == ["fgsm", "pgd20", "auto"]
    many = attacks.create("auto", linear, num_classes=1000).stages
    assert len(many) == 1 + 9 + 9 + 1
    for wrong, message in (
        ({"name": "cw"}, "attacks: got 'cw', expected one of: fgsm"),
        ({"norm": "l1"}, "norm: got 'l1'"),
        ({"epsilon": -1.0}, "epsilon: got -1.0"),
        ({"num_classes": 1}, "num_classes: got 1"),
        ({"norm": "l2", "name": "auto"}, "'pgd20' takes 'l2'"),
    ):
        settings = {"name": "fgsm", "num_classes": 2} | wrong
        with pytest.raises(ValueError, match=message):
            attacks.create(settings.pop("name"), linear, **settings)
    clean, key = images_with_edges(), jax.random.key(0)
    for image, label, size, message in (
        (clean, np.zeros(3, int), 8, "50 images and 3 labels"),
        (clean[:0], np.zeros(0, int), 8, "0 images"),
        (clean * 255, np.zeros(NUM, int), 8, "must be in \\[0, 1\\]"),
        (clean, np.zeros(NUM, int), 0, "batch_size: got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            attacks.robust_accuracy(pgd_ensemble(), image, label, key, batch_size=size)


# Against the implementation in PyTorch, on the same weights.

QUERIES = 1000  # of the square attack


@functools.cache
def digits():
    """scikit-learn's digits as float32 images [n, 8, 8, 1]; the last 200 are for testing."""
    data = load_digits()
    return (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)


def trained(name):
    """A small model on the digits, in inference mode, and its variables."""
    image, label = (part[:-200] for part in digits())
    config = small_config(model__name=name, model__width={"mlp": 32, "small_cnn": 6}[name])
    model = models.create(config, num_classes=10, spec=spec_of(image), mean=0.3, std=0.4)
    params, stats = models.init(model, jax.random.key(0), image.shape[1:])
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params, stats, state):
        def loss_fn(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": stats}, image, train=True, mutable=["batch_stats"]
            )
            loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, label)
            return loss.mean(), updated.get("batch_stats", {})

        gradient, stats = jax.grad(loss_fn, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), stats, state

    state = optimizer.init(params)
    for _ in range(60):
        params, stats, state = step(params, stats, state)
    variables = {"params": params, "batch_stats": stats}
    return functools.partial(model.apply, variables, train=False), variables


def in_torch(torch, name, variables):
    """The same network, for images [B, 1, 8, 8]."""
    nn = torch.nn
    net = jax.tree.map(np.array, variables["params"]["net"])
    stats = jax.tree.map(np.array, variables["batch_stats"]).get("net")

    def tensor(array):
        return nn.Parameter(torch.from_numpy(np.ascontiguousarray(array)))

    def dense(layer):
        linear = nn.Linear(*layer["kernel"].shape)
        linear.weight, linear.bias = tensor(layer["kernel"].T), tensor(layer["bias"])
        return linear

    def conv(layer, stride):
        out, into = layer["kernel"].shape[3], layer["kernel"].shape[2]
        conv = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        conv.weight = tensor(layer["kernel"].transpose(3, 2, 0, 1))
        return conv

    def norm(layer, running):
        norm = nn.BatchNorm2d(len(layer["scale"]), eps=1e-5)
        norm.weight, norm.bias = tensor(layer["scale"]), tensor(layer["bias"])
        norm.running_mean.copy_(tensor(running["mean"]).data)
        norm.running_var.copy_(tensor(running["var"]).data)
        return norm

    class Normalise(nn.Module):
        def forward(self, x):
            return (x - 0.3) / 0.4

    layers = [Normalise()]
    if name == "mlp":
        layers.append(nn.Flatten())
        for i in range(3):
            layers += [dense(net[f"Dense_{i}"]), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval()
    for i, stride in enumerate((2, 2, 1, 1)):
        bn = f"BatchNorm_{i}"
        layers += [conv(net[f"Conv_{i}"], stride), norm(net[bn], stats[bn]), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense(net["Dense_0"])]
    return nn.Sequential(*layers).eval()


def peers(torchattacks, model, epsilon, seed):
    """The same attacks, those of AutoAttack's standard version with its numbers of steps."""
    auto = {"eps": epsilon, "norm": "Linf", "seed": seed, "n_restarts": 1}
    steps = {"steps": 100, **auto}
    square = torchattacks.Square(model, n_queries=QUERIES, resc_schedule=False, **auto)
    # Its squares never reach the last row and column, a quarter of an image of 8 x 8 pixels.
    shorter = square.random_int
    square.random_int = lambda low, high: shorter(low, high + 1)
    return {
        "fgsm": torchattacks.FGSM(model, eps=epsilon),
        "pgd20": torchattacks.PGD(model, eps=epsilon, alpha=epsilon / 4, steps=20),
        "apgd_ce": torchattacks.APGD(model, loss="ce", **steps),
        "apgd_t": torchattacks.APGDT(model, n_classes=10, **steps),
        "fab_t": torchattacks.FAB(model, multi_targeted=True, n_classes=10, **steps),
        "square": square,
    }


def ours(logits_fn, epsilon):
    """By the same names."""
    settings = {"num_classes": 10, "epsilon": epsilon}
    auto = attacks.create("auto", logits_fn, num_queries=QUERIES, **settings)
    parts = {
        part: attacks.Ensemble(
            auto.predict, tuple(stage for stage in auto.stages if stage[0].startswith(part))
        )
        for part in ("fab_t", "square")
    }
    single = {name: attacks.create(name, logits_fn, **settings) for name in ("fgsm", "pgd20")}
    return {**single, **parts, "auto": auto}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_robust_accuracy_is_that_of_torchattacks(name):
    torch = import_torch()
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    torch.set_num_threads(1)  # the models are so small that threads would only wait
    logits_fn, variables = trained(name)
    model = in_torch(torch, name, variables)
    image, label = (part[-200:] for part in digits())
    there = torch.from_numpy(image.transpose(0, 3, 1, 2))
    there_label = torch.from_numpy(label).long()
    with torch.no_grad():
        logits = model(there).numpy()
    np.testing.assert_allclose(jax.jit(logits_fn)(image), logits, atol=1e-4)
    right = logits.argmax(-1) == label
    print(f"{name}: clean accuracy {right.mean():.4f}")

    def survivors(attack, alive):
        """Of the images that are alive, those that the peer leaves right."""
        moved = attack(there[alive], there_label[alive])
        with torch.no_grad():
            wrong = (model(moved).argmax(-1) != there_label[alive]).numpy()
        alive = alive.copy()
        alive[alive] = ~wrong
        return alive

    epsilon, accuracy, expected = 0.08, {}, {}
    for attack, ensemble in ours(logits_fn, epsilon).items():
        # Random search and random starts scatter by a point themselves: their means are compared.
        seeds = range({"pgd20": 4, "square": 2}.get(attack, 1))
        runs = [
            attacks.robust_accuracy(ensemble, image, label, jax.random.key(seed), batch_size=100)
            for seed in seeds
        ]
        assert_inside(runs[0].images, image, epsilon)
        accuracy[attack] = np.mean([run.accuracy for run in runs])
        torch.manual_seed(0)
        left = []
        for seed in seeds:
            peer = peers(torchattacks, model, epsilon, seed)
            alive = right
            for part in ("apgd_ce", "apgd_t", "fab_t", "square") if attack == "auto" else (attack,):
                alive = survivors(peer[part], alive)
            left.append(alive.mean())
        expected[attack] = np.mean(left)
        print(
            f"{attack}: robust accuracy {accuracy[attack]:.4f}, torchattacks {expected[attack]:.4f}"
        )
    assert all(0.05 < value < 0.95 for value in expected.values())
    assert accuracy == pytest.approx(expected, abs=0.01)
