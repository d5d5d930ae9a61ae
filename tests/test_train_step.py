"""train_step against a plain optax loop, a soft cross-entropy by hand, and its own scan."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline, train_step
from autolabel_jax.labels import LabelState

SHAPE = (6, 6, 3)
SGD = {
    "optimizer__learning_rate": 0.1,
    "optimizer__momentum": 0.9,
    "optimizer__nesterov": True,
    "optimizer__weight_decay": 0.01,
    "optimizer__warmup_epochs": 0.0,
}


@pytest.fixture(scope="module")
def dataset():
    return helpers.make_dataset(SHAPE)


def start(dataset, **changes):
    """(jitted steps, state, split) of a small run."""
    experiment = helpers.make_experiment(dataset, **changes)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    steps = functools.partial(train_step.train_steps, experiment=experiment)
    steps = jax.jit(steps, static_argnames="num_steps")
    return steps, state, input_pipeline.put_split(dataset.train, experiment.mesh)


def run_steps(steps, state, whole, num, chunk=1, key=None):
    """``num`` steps in dispatches of ``chunk``: (state, metrics [num])."""
    order = jnp.arange(whole.label.shape[0], dtype=jnp.int32)
    key = jax.random.key(7) if key is None else key
    found = []
    for first in range(0, num, chunk):
        state, metrics = steps(state, whole, order, key, np.int32(first), num_steps=chunk)
        found.append(jax.tree.map(np.asarray, metrics))
    return state, jax.tree.map(lambda *m: np.concatenate(m), *found)


@jax.jit
def mlp_logits(params, image):
    """The network written out: two hidden layers with ReLU on normalised pixels."""
    x = ((image.astype(np.float32) / 255) - 0.5) / 0.3
    x = x.reshape(x.shape[0], -1)
    layers = params["net"]
    for name in ("Dense_0", "Dense_1"):
        x = jnp.maximum(x @ layers[name]["kernel"] + layers[name]["bias"], 0)
    return x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"]


def test_three_steps_equal_a_plain_optax_loop(dataset):
    steps, state, whole = start(dataset, labels__rule="one_hot", **SGD)
    params = jax.tree.map(np.array, state.params)
    state, metrics = run_steps(steps, state, whole, 3)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_of(params, image, label):
        logits = mlp_logits(params, image)
        log_prob = jax.nn.log_softmax(logits)
        return -jnp.mean(log_prob[jnp.arange(len(label)), label]), logits

    # Six steps in the two epochs: a cosine from 0.1 to 0 over them, by hand.
    rates = [0.1 * 0.5 * (1 + np.cos(np.pi * t / 6)) for t in range(3)]
    momentum = jax.tree.map(np.zeros_like, params)
    for t, rate in enumerate(rates):
        rows = slice(16 * t, 16 * t + 16)
        image, label = dataset.train.input[rows], dataset.train.label[rows]
        (loss, logits), gradient = jax.device_get(loss_of(params, image, label))
        correct = np.sum(np.argmax(logits, -1) == label)
        np.testing.assert_allclose(metrics.loss[t] / 16, loss, rtol=1e-5)
        assert metrics.correct[t] == correct
        assert metrics.count[t] == 16
        gradient = jax.tree.map(lambda g, p: g + 0.01 * p, gradient, params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradient)
        update = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradient)
        params = jax.tree.map(lambda p, u, r=rate: p - r * u, params, update)
    assert int(state.step) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.params, params
    )


def test_the_loop_by_hand_is_optax_sgd():
    """The update written out above is optax's own, so the test rests on two feet."""
    optimizer = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, 0.9, nesterov=True))
    w, by_hand, momentum = jnp.float32(2.0), 2.0, 0.0
    memory = optimizer.init(w)
    for gradient in (1.0, -0.5, 0.25):
        update, memory = optimizer.update(jnp.float32(gradient), memory, w)
        w = optax.apply_updates(w, update)
        decayed = gradient + 0.01 * by_hand
        momentum = 0.9 * momentum + decayed
        by_hand -= 0.1 * (0.9 * momentum + decayed)
    np.testing.assert_allclose(w, by_hand, rtol=1e-6)


def test_loss_is_the_cross_entropy_with_the_labels_of_the_state(dataset):
    steps, state, whole = start(dataset, labels__rule="autolabel", buckets__num=3)
    confidence = np.array([0.7, 0.4, 0.9], np.float32)
    state = state.replace(labels=LabelState(confidence=jnp.asarray(confidence)))
    logits = np.asarray(mlp_logits(state.params, dataset.train.input[:16]), np.float64)
    label = dataset.train.label[:16]
    _, metrics = run_steps(steps, state, whole, 1)
    # Distance 0 lies in the first bucket; three wrong classes share the rest.
    soft = np.full((16, 4), 0.3 / 3)
    soft[np.arange(16), label] = 0.7
    log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(metrics.loss[0], -(soft * log_prob).sum(), rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_class_weights_multiply_the_loss_of_each_example(dataset, accumulate):
    plain = {"optimizer__weight_decay": 0.0, "optimizer__nesterov": False}
    steps, state, whole = start(
        dataset, class_weights="0.5,1,2,4", accumulate=accumulate, **SGD | plain
    )
    before = jax.device_get(state.params)
    after, metrics = run_steps(steps, state, whole, 1)
    label = dataset.train.label[:16]
    logits = np.asarray(mlp_logits(before, dataset.train.input[:16]), np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weight = np.array([0.5, 1, 2, 4])[label]
    loss = -weight * np.log(probability[np.arange(16), label])
    np.testing.assert_allclose(metrics.loss[0], loss.sum(), rtol=1e-5)
    # The gradient in the last bias, and one step of SGD at the rate 0.1.
    gradient = (weight[:, None] * (probability - np.eye(4)[label])).mean(0)
    moved = before["net"]["Dense_2"]["bias"] - after.params["net"]["Dense_2"]["bias"]
    np.testing.assert_allclose(moved, 0.1 * gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_each_given_distance_takes_the_label_of_its_bucket(groups):
    dataset = helpers.make_dataset(SHAPE, distance=True)
    group = np.arange(len(dataset.train), dtype=np.int32) % groups
    if groups > 1:
        train = dataclasses.replace(dataset.train, group=group)
        dataset = dataclasses.replace(dataset, train=train, group_names=("a", "b"))
    steps, state, whole = start(
        dataset, labels__rule="autolabel", buckets__num=3, augment__name="given"
    )
    confidence = np.array([1.0, 0.4, 0.6, 0.3, 0.8, 0.5][: 3 * groups], np.float32)
    assert state.labels.confidence.shape == confidence.shape
    state = state.replace(labels=LabelState(confidence=jnp.asarray(confidence)))
    logits = np.asarray(mlp_logits(state.params, dataset.train.input[:16]), np.float64)
    log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    _, metrics = run_steps(steps, state, whole, 1)
    expected = 0.0
    for i in range(16):
        p = confidence[3 * group[i] + int(np.ceil(3 * float(dataset.train.distance[i]))) - 1]
        soft = np.full(4, (1 - p) / 3)
        soft[dataset.train.label[i]] = p
        expected -= soft @ log_prob[i]
    assert len(set(np.ceil(3 * dataset.train.distance[:16]))) == 3
    np.testing.assert_allclose(metrics.loss[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("accumulate", "divide"),
    [
        (1, False),
        (2, True),
        *(pytest.param(*both, marks=pytest.mark.slow) for both in ((2, False), (1, True))),
    ],
)
def test_a_temperature_scales_the_logits_of_its_bucket_in_the_loss_alone(accumulate, divide):
    dataset = helpers.make_dataset(SHAPE, distance=True)
    changes = {"augment__name": "given", "buckets__num": 3, "accumulate": accumulate, **SGD}
    changes |= {"labels__rule": "bucket_temperature", "labels__divide_loss": divide}
    steps, state, whole = start(dataset, **changes)
    tau = np.array([0.5, 1.0, 3.0], np.float32)
    warm = state.replace(labels=state.labels.replace(temperature=jnp.asarray(tau)))
    label, rows = dataset.train.label[:16], jnp.arange(16)
    bucket = np.ceil(3 * dataset.train.distance[:16]).astype(int) - 1
    assert len(set(bucket)) == 3

    def loss_of(params):
        logits = tau[bucket, None] * mlp_logits(params, dataset.train.input[:16])
        return -jnp.sum(jax.nn.log_softmax(logits)[rows, label] / (tau[bucket] if divide else 1))

    params = state.params
    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(params)
    params, gradient = jax.tree.map(np.asarray, (params, gradient))
    after, metrics = run_steps(steps, warm, whole, 1)
    np.testing.assert_allclose(metrics.loss[0], loss, rtol=1e-5)
    plain = mlp_logits(params, dataset.train.input[:16])
    assert metrics.correct[0] == np.sum(np.argmax(plain, -1) == label)
    np.testing.assert_array_equal(after.labels.temperature, tau)
    # The first Nesterov step is 1.9 times the decayed gradient.
    expected = jax.tree.map(lambda p, g: p - 0.19 * (g / 16 + 0.01 * p), params, gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, expected
    )


def test_temperatures_of_one_are_one_hot_to_the_bit(dataset):
    losses = []
    for rule in ("one_hot", "bucket_temperature"):
        losses.append(run_steps(*start(dataset, labels__rule=rule), 3)[1].loss)
    np.testing.assert_array_equal(*losses)


def test_a_step_reads_the_labels_and_leaves_them(dataset):
    steps, state, whole = start(dataset, labels__rule="autolabel")
    before = np.array([0.6, 0.8], np.float32)
    state = state.replace(labels=LabelState(confidence=jnp.asarray(before)))
    state, _ = run_steps(steps, state, whole, 2)
    np.testing.assert_array_equal(state.labels.confidence, before)


def test_ema_is_the_running_average_of_parameters_and_statistics(dataset):
    steps, state, whole = start(
        dataset, optimizer__ema=0.15, model__name="small_cnn", model__width=4
    )
    average = None
    for decay in (0.0, 0.1, 0.15):
        state, _ = run_steps(steps, state, whole, 1)
        new = jax.tree.map(np.asarray, (state.params, state.batch_stats))
        before, average = average or new, new
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, before, new)
        found = experiment_lib.inference_variables(state)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            (found["params"], found["batch_stats"]),
            average,
        )
    moved = jax.tree.map(lambda a, p: np.abs(a - p).max(), average, new)
    assert all(max(jax.tree.leaves(part)) > 1e-4 for part in moved)


def test_batch_norm_statistics_move_as_in_the_layer(dataset):
    steps, state, whole = start(dataset, model__name="small_cnn", model__width=4)
    kernel = state.params["net"]["Conv_0"]["kernel"]
    image = (jnp.asarray(dataset.train.input[:16], jnp.float32) / 255 - 0.5) / 0.3
    response = jax.lax.conv_general_dilated(
        image, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    response = np.asarray(response).reshape(-1, 4)
    state, _ = run_steps(steps, state, whole, 1)
    found = state.batch_stats["net"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], 0.1 * response.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * response.var(0), rtol=1e-4)


def test_three_steps_in_one_dispatch_equal_three(dataset):
    steps, state, whole = start(dataset, crop_pad=1, flip=True, **SGD)
    singly, single_metrics = run_steps(steps, state, whole, 3)
    together, metrics = run_steps(steps, state, whole, 3, chunk=3)
    assert metrics.loss.shape == (3,)
    for a, b in (
        *zip(jax.tree.leaves(single_metrics), jax.tree.leaves(metrics), strict=True),
        *zip(jax.tree.leaves(singly), jax.tree.leaves(together), strict=True),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_key_decides_what_is_drawn(dataset):
    steps, state, whole = start(dataset, crop_pad=1, flip=True)
    losses = [
        run_steps(steps, state, whole, 1, key=jax.random.key(k))[1].loss[0] for k in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_crop_and_flip_leave_the_pixels_of_the_image(dataset):
    """Every augmented image is a window of the zero-padded one, mirrored or not."""
    experiment = helpers.make_experiment(dataset, crop_pad=1, flip=True)
    state = experiment_lib.init_state(experiment, 0, SHAPE)
    whole = input_pipeline.put_split(dataset.train, experiment.mesh)
    batch = input_pipeline.take(whole, np.arange(16, dtype=np.int32), experiment.mesh)
    draw = jax.jit(functools.partial(train_step.draw_augmented, experiment=experiment))
    clean, drawn = draw(state, batch, jax.random.key(3))
    seen = set()
    for i in range(16):
        padded = np.pad(dataset.train.input[i], ((1, 1), (1, 1), (0, 0)))
        windows = {
            (top, left, turn): padded[top : top + 6, left : left + 6][:, :: -1 if turn else 1]
            for top in range(3)
            for left in range(3)
            for turn in (False, True)
        }
        levels = np.rint(np.asarray(drawn.input[i]) * 255)
        places = [place for place, window in windows.items() if np.array_equal(window, levels)]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 5
    np.testing.assert_array_equal(clean.input, np.rint(drawn.input * 255))  # nothing else moves it


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_teacher_labels_the_unmoved_images(dataset, parts):
    """Labels of nothing but the average, which differs from the parameters."""
    changes = {"labels__rule": "ema_teacher", "labels__teacher_temperature": 2.0}
    changes |= {"optimizer__ema": 0.9, "augment__name": "augmix", "augment__max_depth": 1}
    changes |= {"accumulate": parts}
    steps, state, whole = start(dataset, **changes)
    average = jax.tree.map(lambda p: 3 * p, state.params)
    state = state.replace(labels=LabelState(confidence=jnp.zeros(2)), ema_params=average)
    experiment = helpers.make_experiment(dataset, **changes)
    key = jax.random.fold_in(jax.random.key(7), 0)
    batch = input_pipeline.take(whole, np.arange(16, dtype=np.int32), experiment.mesh)
    draw = jax.jit(functools.partial(train_step.draw_augmented, experiment=experiment))
    moved = np.asarray(draw(state, batch, key)[1].input) * 255
    assert np.abs(moved - dataset.train.input[:16]).max() > 1
    teacher = np.asarray(mlp_logits(average, dataset.train.input[:16])) / 2
    logits = np.asarray(mlp_logits(state.params, moved))
    loss = -special.softmax(teacher, -1) * special.log_softmax(logits, -1)
    _, metrics = run_steps(steps, state, whole, 1)
    np.testing.assert_allclose(metrics.loss[0], loss.sum(), rtol=1e-5)
