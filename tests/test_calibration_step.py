"""The calibration pass against NumPy, however the held-out set is cut into batches."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autolabel_jax import calibration_step, image_ops, input_pipeline, visits
from autolabel_jax import experiment as experiment_lib

NUM = 26  # calibration examples of helpers.make_dataset
BATCHES = [*(pytest.param(size, marks=pytest.mark.slow) for size in (1, 13, 25)), 7, 26, 1000]


def calibrate(dataset, key=0, scale=4.0, chosen=None, **changes):
    """(task, state, statistics as NumPy) of a fresh mlp whose logits are spread out."""
    experiment = helpers.make_experiment(dataset, **changes)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    state = state.replace(params=jax.tree.map(lambda p: scale * p, state.params))
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    before = jax.tree.map(np.asarray, state)
    stats = calibration_step.calibrate(
        state, whole, jax.random.key(key), step=step, experiment=experiment, chosen=chosen
    )
    jax.tree.map(np.testing.assert_array_equal, before, state)  # the pass only reads
    return experiment, state, jax.tree.map(np.asarray, stats)


def by_hand(experiment, state, image, label, bucket):
    """The same sums [bucket, bin] in a NumPy loop."""
    logits = experiment.model.apply(experiment_lib.inference_variables(state), image, train=False)
    logits = np.asarray(logits, np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sums = {
        name: np.zeros((experiment.num_buckets, 15)) for name in ("count", "correct", "confidence")
    }
    for p, y, n in zip(probability, label, bucket, strict=True):
        r = int(np.ceil(15 * p.max())) - 1
        sums["count"][n, r] += 1
        sums["correct"][n, r] += p.argmax() == y
        sums["confidence"][n, r] += p.max()
    return sums


@pytest.mark.parametrize("eval_batch_size", BATCHES)
def test_without_augmentation_every_image_counts_in_every_bucket(eval_batch_size):
    dataset = helpers.make_dataset()
    experiment, state, stats = calibrate(dataset, buckets__num=3, eval_batch_size=eval_batch_size)
    image = jnp.asarray(dataset.calibration.input, jnp.float32) / 255
    label = dataset.calibration.label
    each = [np.full(NUM, n) for n in range(3)]
    expected = [by_hand(experiment, state, image, label, bucket) for bucket in each]
    for name in ("count", "correct", "confidence"):
        total = sum(e[name] for e in expected)
        np.testing.assert_allclose(getattr(stats, name), total, rtol=1e-5, atol=1e-5)
    assert (stats.count > 0).sum() > 3


@pytest.mark.parametrize("eval_batch_size", BATCHES)
def test_given_distances_count_in_their_own_bucket(eval_batch_size):
    dataset = helpers.make_dataset(distance=True)
    experiment, state, stats = calibrate(
        dataset, buckets__num=4, eval_batch_size=eval_batch_size, augment__name="given"
    )
    bucket = np.ceil(4 * dataset.calibration.distance).astype(int) - 1
    assert len(set(bucket)) == 4
    image = jnp.asarray(dataset.calibration.input, jnp.float32) / 255
    expected = by_hand(experiment, state, image, dataset.calibration.label, bucket)
    for name, sums in expected.items():
        np.testing.assert_allclose(getattr(stats, name), sums, rtol=1e-5, atol=1e-5)


def test_the_confusion_is_of_the_wrong_classes_of_its_bucket():
    dataset = helpers.make_dataset(distance=True)
    experiment, state, stats = calibrate(
        dataset,
        buckets__num=4,
        eval_batch_size=7,
        augment__name="given",
        labels__rule="autolabel_confusion",
    )
    image = jnp.asarray(dataset.calibration.input, jnp.float32) / 255
    variables = experiment_lib.inference_variables(state)
    probability = jax.nn.softmax(experiment.model.apply(variables, image, train=False))
    expected = np.zeros((4, 4, 4))
    bucket = np.ceil(4 * dataset.calibration.distance).astype(int) - 1
    for p, y, n in zip(probability, dataset.calibration.label, bucket, strict=True):
        expected[n, y] += np.where(np.arange(4) == y, 0, p)
    np.testing.assert_allclose(stats.confusion, expected, rtol=1e-4, atol=1e-5)


def test_a_bucket_of_given_distances_may_be_empty():
    dataset = helpers.make_dataset(distance=True)
    dataset.calibration.distance[:] = 0.9
    experiment, _, stats = calibrate(dataset, buckets__num=4, augment__name="given")
    np.testing.assert_array_equal(stats.count.sum(-1), [0, 0, 0, NUM])


@pytest.mark.parametrize("eval_batch_size", [7, 26, 1000])
def test_every_bucket_of_mixup_sees_every_image(eval_batch_size):
    dataset = helpers.make_dataset()
    _, _, stats = calibrate(
        dataset, buckets__num=3, eval_batch_size=eval_batch_size, augment__name="mixup"
    )
    np.testing.assert_array_equal(stats.count.sum(-1), [NUM] * 3)


def test_the_held_out_label_of_a_mixture_is_its_dominant_class():
    """A network that names the brighter side of each pixel block knows the dominant image.

    Class k is the image whose pixel k alone is lit, so the mixture's largest
    pixel is that of the dominant class, and an argmax over pixels is right on all.
    """
    dataset = helpers.make_dataset(shape=(4,), num_classes=4)
    lit = np.eye(4, dtype=np.uint8)[dataset.calibration.label] * 255
    dataset.calibration.input[:] = lit
    experiment = helpers.make_experiment(
        dataset, augment__name="mixup", buckets__num=3, model__width=4
    )
    state = experiment_lib.init_state(experiment, 0, (4,))
    identity = {"kernel": jnp.eye(4), "bias": jnp.full(4, 10.0)}
    last = {"kernel": 5 * jnp.eye(4), "bias": jnp.zeros(4)}
    net = {"Dense_0": identity, "Dense_1": identity, "Dense_2": last}
    state = state.replace(params={"net": net})
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    stats = calibration_step.calibrate(
        state, whole, jax.random.key(0), step=step, experiment=experiment
    )
    np.testing.assert_array_equal(np.asarray(stats.correct).sum(-1), [NUM] * 3)
    confidence = np.asarray(stats.confidence).sum(-1) / NUM
    assert confidence[0] > confidence[1] > confidence[2]  # nearer to 1/2, less clear


def test_held_out_distances_are_drawn_between_the_calibration_edges(monkeypatch):
    """Learned edges on one side, equal widths on the other: bucket n is drawn between its own."""
    dataset = helpers.make_dataset()
    experiment = helpers.make_experiment(
        dataset,
        augment__name="mixup",
        augment__concentration=0.4,
        buckets__num=3,
        buckets__edges="equal_mass",
        buckets__calibration_edges="equal_width",
    )
    # The mass of min(γ, 1-γ) under Beta(.4, .4) sits near 0.
    assert experiment.edges[1] < 0.25
    seen = []
    apply = calibration_step.apply_augmentation

    def record(experiment, variables, batch, key, distance):
        jax.debug.callback(lambda value: seen.append(value), distance.value, ordered=True)
        return apply(experiment, variables, batch, key, distance)

    monkeypatch.setattr(calibration_step, "apply_augmentation", record)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    calibration_step.calibrate(state, whole, jax.random.key(0), step=step, experiment=experiment)
    jax.effects_barrier()
    for n, value in enumerate(seen):
        assert value.min() > n / 3 - 1e-6
        assert value.max() <= (n + 1) / 3 + 1e-6
    assert len(seen) == 3


def test_batch_norm_is_in_inference_mode():
    """Statistics of an image do not depend on the others of its batch."""
    dataset = helpers.make_dataset()
    changes = {"model__name": "small_cnn", "model__width": 4, "buckets__num": 1}
    found = [calibrate(dataset, eval_batch_size=size, **changes)[2] for size in (2, 26)]
    np.testing.assert_array_equal(found[0].count, found[1].count)
    np.testing.assert_array_equal(found[0].correct, found[1].correct)
    np.testing.assert_allclose(found[0].confidence, found[1].confidence, rtol=1e-5)


def test_an_update_may_draw_a_part_of_the_images():
    assert calibration_step.choose(jax.random.key(0), NUM, 0) is None
    assert calibration_step.choose(jax.random.key(0), NUM, NUM) is None
    drawn = [calibration_step.choose(jax.random.key(seed), NUM, 9) for seed in range(200)]
    for rows in drawn:
        assert len(set(rows)) == 9 and min(rows) >= 0 and max(rows) < NUM
    again = calibration_step.choose(jax.random.key(7), NUM, 9)
    np.testing.assert_array_equal(again, drawn[7])
    # Each image is drawn 200 · 9/26 = 69 times, with a standard deviation of 6.7.
    assert np.abs(np.bincount(np.concatenate(drawn), minlength=NUM) - 200 * 9 / NUM).max() < 4 * 6.7


@pytest.mark.parametrize("eval_batch_size", [7, 26])
def test_a_part_of_the_images_is_measured_in_every_bucket(eval_batch_size):
    dataset, chosen = helpers.make_dataset(), np.array([0, 3, 4, 11, 25])
    experiment, state, stats = calibrate(
        dataset, buckets__num=3, eval_batch_size=eval_batch_size, chosen=chosen
    )
    image = jnp.asarray(dataset.calibration.input[chosen], jnp.float32) / 255
    label = dataset.calibration.label[chosen]
    expected = [by_hand(experiment, state, image, label, np.full(5, n)) for n in range(3)]
    for name in ("count", "correct", "confidence"):
        total = sum(e[name] for e in expected)
        np.testing.assert_allclose(getattr(stats, name), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"buckets__num": 3, "eval_batch_size": 7}, {"calibration__images_per_update": 9}],
)
def test_the_number_of_steps_is_that_of_the_plan(changes):
    dataset = helpers.make_dataset()
    experiment = helpers.make_experiment(dataset, **changes)
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    part = changes.get("calibration__images_per_update", 0)
    key = jax.random.key(0)
    chosen = calibration_step.choose(key, NUM, part)
    planned = list(calibration_step.plan(whole, key, experiment=experiment, chosen=chosen))
    assert calibration_step.num_steps(NUM, part, experiment=experiment) == len(planned)


VISITS = {"calibration__exact": False, "buckets__num": 3, "eval_batch_size": 25}


@pytest.mark.parametrize("augmentation", ["none", "given"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_visits_are_those_of_the_plan(augmentation, epoch):
    given = augmentation == "given"
    dataset = helpers.make_dataset(train=60, calibration=40, distance=given)
    experiment = helpers.make_experiment(dataset, augment__name=augmentation, **VISITS)
    assert experiment.visits == (25 if given else 75)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    order = np.random.default_rng(0).permutation(40)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    done = []
    stats = calibration_step.visit(
        *(state, whole, jax.random.key(1)),
        **{"step": step, "experiment": experiment, "order": order, "epoch": epoch},
        on_step=lambda: done.append(1),
    )
    assert len(done) == calibration_step.num_steps(40, 0, experiment=experiment)
    first = epoch * experiment.visits
    rows, bucket = visits.place(first, experiment.visits, order, 3)
    split = dataset.calibration.take(rows)
    if given:
        bucket = np.ceil(3 * split.distance).astype(int) - 1
    image = image_ops.to_float(jnp.asarray(split.input))
    expected = by_hand(experiment, state, image, split.label, bucket)
    for name, total in expected.items():
        np.testing.assert_allclose(getattr(stats, name), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("augmentation", ["augmix", "mixup", "adversarial"])
def test_visits_of_every_augmentation_fill_all_buckets(augmentation):
    dataset = helpers.make_dataset(train=60, calibration=60)
    experiment = helpers.make_experiment(dataset, augment__name=augmentation, **VISITS)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    whole = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    stats = calibration_step.visit(
        *(state, whole, jax.random.key(1)),
        **{"step": step, "experiment": experiment, "order": np.arange(60), "epoch": 0},
    )
    count = np.asarray(stats.count).sum(-1)
    assert count.sum() == experiment.visits
    assert count.max() - count.min() <= 4
