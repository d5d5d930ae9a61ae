"""Losses of several views of an example: closed forms in NumPy, and the step that uses them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline, losses, processes, train, train_step
from autolabel_jax.labels import LabelState
from autolabel_jax.losses import views
from tests import helpers

DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
MLP = {"model__name": "mlp", "model__width": 8}


def make(num_views, num=60, dtype=jnp.float32):
    """(logits [B, V, K] as JAX and as NumPy see them, soft labels [B, V, K])."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (num, num_views, 5)), dtype)
    return logits, np.asarray(logits, np.float64), rng.dirichlet(np.ones(5), (num, num_views))


def of_views(loss, logits, soft_label, **scale):
    flat = logits.reshape(-1, logits.shape[-1])
    found = jax.jit(loss.of_views)(flat, jnp.asarray(soft_label).reshape(flat.shape), **scale)
    assert found.shape == logits.shape[:1]
    assert found.dtype == jnp.float32
    return found


jensen_shannon = jax.jit(views.jensen_shannon)


def jensen_shannon_by_hand(z):
    p = softmax(z, axis=-1)
    mean = p.mean(1)
    return np.mean([entropy(p[:, v], mean, axis=-1) for v in range(z.shape[1])], axis=0)


def cross_entropy_by_hand(z, soft_label):
    return -(soft_label * log_softmax(z, axis=-1)).sum(-1)


# --- closed forms ----------------------------------------------------------------------------


@DTYPES
def test_jensen_shannon_is_the_mean_divergence_from_the_mixture(dtype):
    logits, z, _ = make(3, dtype=dtype)
    found = jensen_shannon(logits)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, jensen_shannon_by_hand(z), rtol=1e-4, atol=1e-6)


def test_jensen_shannon_is_between_0_and_log_v():
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 3, (20, 1, 5)), jnp.float32)
    np.testing.assert_allclose(jensen_shannon(jnp.repeat(logits, 3, 1)), 0, atol=1e-6)
    apart = np.float32(1e4 * np.eye(5)[None, :3])
    np.testing.assert_allclose(jensen_shannon(apart), np.log(3), rtol=1e-6)
    for extreme in (apart, 0 * apart):
        gradient = jax.jit(jax.grad(lambda z: views.jensen_shannon(z).sum()))(extreme)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@DTYPES
@pytest.mark.parametrize("rule", ["clean", "all"])
def test_jsd_adds_the_divergence_to_the_loss(dtype, rule):
    logits, z, soft_label = make(3, dtype=dtype)
    loss = losses.CrossEntropy(jsd=12.0, jsd_labels=rule)
    assert (loss.num_copies, loss.has_clean, loss.num_views) == (2, True, 3)
    each = cross_entropy_by_hand(z, soft_label)
    labelled = each[:, 0] if rule == "clean" else each.mean(1)
    expected = labelled + 12 * jensen_shannon_by_hand(z)
    np.testing.assert_allclose(of_views(loss, logits, soft_label), expected, rtol=1e-4)


def test_jsd_near_0_is_the_loss_of_the_clean_view():
    logits, _, soft_label = make(3)
    found = of_views(losses.MbLS(jsd=1e-30, margin=1.0), logits, soft_label)
    plain = jax.jit(losses.MbLS(margin=1.0))(logits[:, 0], jnp.asarray(soft_label[:, 0]))
    np.testing.assert_allclose(found, plain, rtol=1e-6)


@DTYPES
@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_copies_are_weighted_by_their_losses(dtype, temperature):
    logits, z, soft_label = make(4, dtype=dtype)
    loss = losses.CrossEntropy(copies=4, copies_temperature=temperature)
    assert (loss.num_copies, loss.has_clean, loss.num_views) == (4, False, 4)
    each = cross_entropy_by_hand(z, soft_label)
    weight = softmax(each / temperature, axis=1)
    expected = (weight * each).sum(1)
    np.testing.assert_allclose(of_views(loss, logits, soft_label), expected, rtol=1e-4)
    # No gradient passes through the weights.
    gradient = jax.jit(jax.grad(lambda z: of_views(loss, z, soft_label).sum()))(logits)
    by_hand = weight[:, :, None] * (softmax(z, axis=-1) - soft_label)
    atol = 2e-5 if dtype == jnp.float32 else 1e-2
    np.testing.assert_allclose(gradient.astype(jnp.float32), by_hand, atol=atol)


def test_the_limits_of_the_temperature_are_the_mean_and_the_largest_loss():
    loss = jnp.asarray(np.random.default_rng(0).exponential(3, (50, 4)), jnp.float32)
    np.testing.assert_allclose(views.reweighted(loss, 1e9), loss.mean(1), rtol=1e-5)
    np.testing.assert_array_equal(views.reweighted(loss, 0.0), loss.max(1))
    np.testing.assert_allclose(views.reweighted(loss, 1e-6), loss.max(1), rtol=1e-6)
    equal = views.weights(jnp.full((2, 4), 7.0), 0.5)
    np.testing.assert_array_equal(equal, np.full((2, 4), 0.25))


@DTYPES
def test_soft_copies_take_the_prediction_on_the_clean_view(dtype):
    logits, z, soft_label = make(4, dtype=dtype)
    settings = {"copies": 3, "copies_labels": "soft", "copies_temperature": 0.5}
    loss = losses.CrossEntropy(copies_weight=0.7, **settings)
    assert (loss.num_copies, loss.has_clean, loss.num_views) == (3, True, 4)
    target = np.repeat(softmax(z[:, :1], axis=-1), 3, 1)
    each = cross_entropy_by_hand(z[:, 1:], target)
    weight = softmax(each / 0.5, axis=1)
    expected = cross_entropy_by_hand(z[:, 0], soft_label[:, 0]) + 0.7 * (weight * each).sum(1)
    np.testing.assert_allclose(of_views(loss, logits, soft_label), expected, rtol=1e-4)
    # The clean view learns from its own label alone.
    gradient = jax.jit(jax.grad(lambda z: of_views(loss, z, soft_label).sum()))(logits)
    by_hand = softmax(z[:, 0], axis=-1) - soft_label[:, 0]
    atol = 2e-5 if dtype == jnp.float32 else 1e-2
    np.testing.assert_allclose(gradient[:, 0].astype(jnp.float32), by_hand, atol=atol)


def test_the_scale_of_a_rule_is_that_of_each_view():
    logits, z, soft_label = make(2)
    factor, divisor = np.random.default_rng(1).uniform(0.5, 3, (2, 60, 2)).astype(np.float32)
    scale = (jnp.asarray(factor.ravel()), jnp.asarray(divisor.ravel()))
    found = of_views(losses.CrossEntropy(copies=2), logits, soft_label, scale=scale)
    each = cross_entropy_by_hand(factor[..., None] * z, soft_label) / divisor
    np.testing.assert_allclose(found, (softmax(each, axis=1) * each).sum(1), rtol=1e-4)


@pytest.mark.parametrize("method", losses.TABLE.values())
def test_one_view_is_the_loss_itself(method):
    logits, _, soft_label = make(1)
    loss = method()
    plain = jax.jit(loss)(logits[:, 0], soft_label[:, 0])
    found = of_views(loss, logits, soft_label)
    np.testing.assert_array_equal(found, plain)


# --- a step ----------------------------------------------------------------------------------


def one_step(**changes):
    """(experiment, state before and after, metrics, clean batch, augmented batch)."""
    dataset = helpers.make_dataset()
    settings = {"augment__name": "augmix", "augment__max_depth": 2, "labels__rule": "autolabel"}
    settings |= {"buckets__num": 2}
    experiment = helpers.make_experiment(dataset, **settings | changes)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    confidence = jnp.linspace(0.9, 0.4, experiment.num_buckets)
    state = state.replace(labels=LabelState(confidence=confidence))
    whole = input_pipeline.put_split(dataset.train, experiment.mesh)
    batch = input_pipeline.take(whole, np.arange(16, dtype=np.int32), experiment.mesh)
    key = jax.random.key(3)
    step = jax.jit(functools.partial(train_step.train_step, experiment=experiment))
    draw = jax.jit(functools.partial(train_step.draw_augmented, experiment=experiment))
    return experiment, state, *step(state, batch, key), *draw(state, batch, key)


def predict(experiment, state, inputs):
    """Logits in training mode as NumPy sees them, and the running statistics after it."""
    apply = functools.partial(experiment.model.apply, train=True, mutable=["batch_stats"])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits, updated = jax.jit(apply)(variables, inputs)
    return np.asarray(logits, np.float64), updated.get("batch_stats", {})


def learned_labels(state, augmented, experiment):
    """The labels of AutoLabel by hand: two intervals for each depth, the rest on three classes."""
    interval = (np.asarray(augmented.distance.value) > 0.5).astype(int)
    confidence = np.asarray(state.labels.confidence)[2 * augmented.distance.group + interval]
    one_hot = np.eye(4)[augmented.label]
    return confidence[:, None] * one_hot + (1 - confidence[:, None]) / 3 * (1 - one_hot)


def test_a_step_sees_the_clean_input_and_two_copies():
    changes = {"loss__jsd": 12.0, "loss__jsd_labels": "all", "class_weights": "0.5,1,2,4"}
    changes |= {"model__name": "small_cnn", "model__width": 4, "augment__chains": 3}
    changes |= {"crop_pad": 1, "flip": True}
    experiment, state, after, metrics, clean, augmented = one_step(**changes)
    shown = np.asarray(augmented.input).reshape(16, 3, 6, 6, 3)
    np.testing.assert_array_equal(np.rint(255 * shown[:, 0]), clean.input)
    value = np.asarray(augmented.distance.value).reshape(16, 3)
    assert (value[:, 0] == 0).all() and (value[:, 1:] > 0).all()
    assert (value[:, 1] != value[:, 2]).all()
    np.testing.assert_array_equal(augmented.distance.group[::3], np.zeros(16))
    np.testing.assert_array_equal(augmented.label, np.repeat(clean.label, 3))

    logits, batch_stats = predict(experiment, state, augmented.input)
    each = cross_entropy_by_hand(logits, learned_labels(state, augmented, experiment))
    divergence = jensen_shannon_by_hand(logits.reshape(16, 3, 4))
    weight = np.array([0.5, 1, 2, 4])[clean.label]
    expected = weight * (each.reshape(16, 3).mean(1) + 12 * divergence)
    np.testing.assert_allclose(metrics.loss, expected.sum(), rtol=1e-4)
    assert metrics.count == 16
    correct = np.mean(logits.argmax(-1) == augmented.label) * 16
    np.testing.assert_allclose(metrics.correct, correct, rtol=1e-6)
    # Batch norm sees all views at once.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        after.batch_stats,
        batch_stats,
    )


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_step_weighs_the_copies_of_each_example(parts):
    changes = {"loss__copies": 3, "loss__copies_temperature": 0.2, "accumulate": parts, **MLP}
    experiment, state, after, metrics, _, augmented = one_step(**changes)
    logits, _ = predict(experiment, state, augmented.input)
    soft_label = learned_labels(state, augmented, experiment)
    each = cross_entropy_by_hand(logits, soft_label).reshape(16, 3)
    weight = softmax(each / 0.2, axis=1)
    np.testing.assert_allclose(metrics.loss, (weight * each).sum(), rtol=1e-4)
    # The gradient in the last bias, and one step of SGD with Nesterov momentum and decay.
    gradient = weight.reshape(-1, 1) * (softmax(logits, axis=-1) - soft_label)
    before, moved = (s.params["net"]["Dense_2"]["bias"] for s in (state, after))
    np.testing.assert_allclose(before, 0)
    np.testing.assert_allclose(moved, -0.05 * 1.9 * gradient.sum(0) / 16, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_teacher_labels_all_views_of_an_example():
    changes = {"loss__jsd": 2.0, "loss__jsd_labels": "all", "labels__rule": "ema_teacher"}
    changes |= {"optimizer__ema": 0.9, "accumulate": 2, **MLP}
    experiment, state, _, metrics, clean, augmented = one_step(**changes)
    logits, _ = predict(experiment, state, augmented.input)
    teacher = np.repeat(predict(experiment, state, clean.input / 255.0)[0], 3, 0)
    interval = (np.asarray(augmented.distance.value) > 0.5).astype(int)
    share = np.asarray(state.labels.confidence)[2 * augmented.distance.group + interval][:, None]
    soft_label = share * np.eye(4)[augmented.label] + (1 - share) * softmax(teacher / 4, axis=-1)
    each = cross_entropy_by_hand(logits, soft_label).reshape(16, 3).mean(1)
    expected = each + 2 * jensen_shannon_by_hand(logits.reshape(16, 3, 4))
    np.testing.assert_allclose(metrics.loss, expected.sum(), rtol=1e-4)


# --- settings --------------------------------------------------------------------------------

MIXED = r"augment\.name='mixup', whose inputs are mixtures of two examples"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss__jsd": 12.0, "augment__name": "mixup"}, r"loss\.jsd: got 12\.0.*" + MIXED),
        ({"loss__copies": 4, "augment__name": "mixup"}, r"loss\.copies: got 4.*" + MIXED),
        (
            {"loss__copies_labels": "soft", "augment__name": "none"},
            r"loss\.copies_labels: got 'soft'.*augment\.name='none', whose views are all the same",
        ),
        (
            {"loss__jsd": 1.0, "augment__name": "augmix", "labels__rule": "self_adaptive"},
            r"loss\.jsd: got 1\.0.*labels\.rule='self_adaptive', whose examples have one label",
        ),
        ({"loss__jsd": 1.0, "loss__copies": 2}, r"loss\.jsd: got 1\.0 with loss\.copies=2"),
        (
            {"loss__jsd": 1.0, "loss__copies_labels": "soft"},
            r"loss\.jsd: got 1\.0 with loss\.copies=1 and loss\.copies_labels='soft'",
        ),
        ({"loss__jsd": -1.0}, r"loss\.jsd: got -1\.0, must be at least 0"),
        ({"loss__copies": 0}, r"loss\.copies: got 0, must be between 1 and 100"),
        ({"loss__jsd_labels": "none"}, r"loss\.jsd_labels: got 'none', expected one of: clean"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        helpers.make_experiment(helpers.make_dataset(), **settings)


def test_given_distances_are_refused():
    dataset = helpers.make_dataset(distance=True)
    with pytest.raises(ValueError, match="whose inputs come augmented, each once"):
        helpers.make_experiment(dataset, loss__jsd=1.0, augment__name="given")


# --- whole runs ------------------------------------------------------------------------------

JSD = {"loss__jsd": 12.0, "loss__jsd_labels": "all", "augment__chains": 3, "optimizer__ema": 0.9}
COPIES = {"loss__copies": 3, "loss__copies_labels": "soft", "class_weights": "balanced"}
EACH = pytest.mark.parametrize(
    "changes", [JSD, pytest.param(COPIES, marks=pytest.mark.slow)], ids=["jsd", "copies"]
)


@pytest.mark.slow
@EACH
def test_a_run_stopped_and_resumed_ends_with_the_same_bits(tmp_path, changes):
    config = helpers.small_config(augment__name="augmix", accumulate=2, **changes)
    calls = iter(range(99))
    train.train(config, tmp_path / "whole", progress=False)
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path / "cut", progress=False, should_stop=lambda: next(calls) > 2)
    train.train(config, tmp_path / "cut", progress=False)
    helpers.assert_same_bits(*(helpers.last_checkpoint(tmp_path / n) for n in ("whole", "cut")))
    lines = helpers.read_metrics(tmp_path / "whole")
    assert lines == helpers.read_metrics(tmp_path / "cut")
    assert min(lines[-1]["label_confidence"]) < 1


@pytest.mark.slow
@EACH
def test_two_devices_agree_with_one(tmp_path, changes):
    lines = []
    for devices in (1, 2):
        workdir = tmp_path / str(devices)
        flags = helpers.flags(augment__name="augmix", accumulate=2, **changes)
        done = helpers.command(
            "-m", "experiments.train", *flags, f"--workdir={workdir}", devices=devices
        )
        assert done.returncode == 0, done.stderr
        lines.append(helpers.read_metrics(workdir))
    for a, b in zip(*lines, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
