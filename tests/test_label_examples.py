"""Labels of each training example: by hand, limits, whole runs."""

import functools
import itertools
import shutil

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import photograph_folders
import predictor_folders
import pytest
import scipy.special

import autolabel_jax
from autolabel_jax import datasets, input_pipeline, processes, train, train_step, trained
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.labels import Distill, SelfAdaptive

# --- self_adaptive ---------------------------------------------------------------------------

DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


def example(num=6, num_classes=4, seed=0):
    """(logits, labels, rows) of a batch; the rows are out of order."""
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(num, num_classes))).astype(np.float32)
    return logits, rng.integers(num_classes, size=num), rng.permutation(num + 3)[:num]


def step_of(made, state, logits, label, index, epoch, dtype=jnp.float32):
    """(state, targets, weights) after one batch."""
    soft_label = made.soft_labels(
        state, label, np.zeros(len(label), int), num_classes=logits.shape[1], index=index
    )
    target, weight = made.follow(soft_label, jnp.asarray(logits, dtype), epoch=jnp.int32(epoch))
    return made.store(state, index, target), np.asarray(target), np.asarray(weight)


@DTYPES
def test_targets_are_a_running_average_of_the_predictions(dtype):
    made = SelfAdaptive(target_momentum=0.7, start_epoch=1)
    state = made.init(np.ones(2), num_classes=4, num_examples=9)
    logits, label, index = example()
    expected = np.eye(4)[label]
    for epoch in range(4):
        batch = logits * (epoch + 1)
        state, target, weight = step_of(made, state, batch, label, index, epoch, dtype)
        if epoch >= 1:
            seen = np.asarray(jnp.asarray(batch, dtype), np.float64)
            expected = 0.7 * expected + 0.3 * scipy.special.softmax(seen, -1)
        np.testing.assert_allclose(target, expected, atol=1e-6)
        np.testing.assert_allclose(weight, expected.max(-1), atol=1e-6)
        assert target.dtype == weight.dtype == np.float32
    others = np.setdiff1d(np.arange(9), index)
    np.testing.assert_array_equal(state.target[others], 0)
    np.testing.assert_allclose(state.target[index], expected, atol=1e-6)


def test_limits_of_the_momentum_and_of_the_start():
    logits, label, index = example()
    for settings, expected in (
        ({"target_momentum": 1.0}, np.eye(4)[label]),
        ({"start_epoch": 9}, np.eye(4)[label]),
        ({"target_momentum": 0.0}, scipy.special.softmax(logits, -1)),
    ):
        made = SelfAdaptive(**{"start_epoch": 0} | settings)
        state = made.init(np.ones(1), num_classes=4, num_examples=9)
        _, target, weight = step_of(made, state, logits, label, index, 8)
        np.testing.assert_allclose(target, expected, atol=1e-6)
        np.testing.assert_allclose(weight, expected.max(-1), atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_is_the_published_loss_over_the_whole_batch(accumulate):
    dataset = helpers.make_dataset()
    settings = {"labels__rule": "self_adaptive", "labels__start_epoch": 0}
    fixed = helpers.make_experiment(dataset, accumulate=accumulate, **settings)
    state = experiment_lib.init_state(fixed, 0, dataset.train.input.shape[1:])
    rng = np.random.default_rng(0)
    before = rng.dirichlet(np.ones(4), 48).astype(np.float32)
    before[::5] = 0  # new
    state = state.replace(labels=state.labels.replace(target=jnp.asarray(before)))
    whole = input_pipeline.put_split(dataset.train, fixed.mesh)
    rows = rng.permutation(48)[:16].astype(np.int32)
    batch = input_pipeline.take(whole, rows, fixed.mesh)
    step = jax.jit(functools.partial(train_step.train_step, experiment=fixed))
    after, metrics = step(state, batch, jax.random.key(0))

    def loss_of(params):
        image = np.asarray(dataset.train.input[rows], np.float32) / 255
        logits = fixed.model.apply({"params": params}, image, train=True)
        start = np.where(
            before[rows].sum(-1, keepdims=True) == 0,
            np.eye(4)[dataset.train.label[rows]],
            before[rows],
        )
        target = jax.lax.stop_gradient(0.9 * start + 0.1 * jax.nn.softmax(logits))
        weight = target.max(-1)
        losses = -jnp.sum(target * jax.nn.log_softmax(logits), -1)
        return jnp.sum(weight * losses) / weight.sum(), target

    differentiate = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, target), gradient = differentiate(state.params)
    np.testing.assert_allclose(metrics.loss / 16, loss, rtol=1e-5)
    others = np.setdiff1d(np.arange(48), rows)
    np.testing.assert_allclose(after.labels.target[rows], target, atol=1e-6)
    np.testing.assert_array_equal(after.labels.target[others], before[others])
    updates, _ = fixed.optimizer.update(gradient, state.opt_state, state.params)
    jax.tree.map(
        lambda p, u, new: np.testing.assert_allclose(new, p + u, rtol=1e-4, atol=1e-6),
        *(state.params, updates, after.params),
    )


def test_before_the_start_a_run_is_that_of_one_hot(tmp_path):
    lines = []
    for name in ("one_hot", "self_adaptive"):
        config = helpers.small_config(labels__rule=name, labels__start_epoch=2)
        train.train(config, tmp_path / name, progress=False)
        lines.append(helpers.read_metrics(tmp_path / name))
    for one, other in zip(*lines, strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dataset", ["digits", "folder"])
def test_each_row_of_the_targets_is_that_of_its_example(tmp_path, dataset):
    """With a momentum of 1 it is the example's one-hot label; ``folder`` is streamed."""
    changes = {"labels__rule": "self_adaptive", "labels__target_momentum": 1.0, "epochs": 1}
    changes |= {"labels__start_epoch": 0, "dataset": dataset}
    if dataset == "folder":
        changes["data_dir"] = photograph_folders.write(tmp_path / "photos", train=16, held=2)
        changes |= {"image_size": 8, "train_examples": 0, "test_examples": 0}
    config = helpers.small_config(**changes)
    train.train(config, tmp_path / "run", progress=False)
    saved = helpers.last_checkpoint(tmp_path / "run")
    (target,) = (x for name, x in saved.items() if "['target']" in name)
    label = np.asarray(datasets.load(config).train.label)
    stepped = target.sum(-1) > 0
    assert 16 <= stepped.sum() == len(label) // 16 * 16
    np.testing.assert_array_equal(target[stepped], np.eye(target.shape[1])[label[stepped]])


def test_mixtures_and_too_many_examples_are_refused_by_name():
    dataset = helpers.make_dataset()
    mixing = ("mixup", "cutmix", "mixup_cutmix")
    for name, augment in itertools.product(("self_adaptive", "distill"), mixing):
        with pytest.raises(ValueError, match=rf"labels\.rule: got '{name}' with .*'{augment}'"):
            helpers.make_experiment(dataset, labels__rule=name, augment__name=augment)
    with pytest.raises(ValueError, match=r"100,000 examples × 1000 .*at most 67,108,864"):
        SelfAdaptive().init(np.ones(1), num_classes=1000, num_examples=100_000)


# --- distill ---------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_distilled_labels_are_a_mixture_with_the_teachers(share):
    made = Distill(teacher_share=share)
    teacher = np.random.default_rng(0).dirichlet(np.ones(4), 9).astype(np.float32)
    state = made.init(np.ones(2), num_classes=4, num_examples=9)
    state = state.replace(target=jnp.asarray(teacher))
    logits, label, index = example()
    after, target, weight = step_of(made, state, logits, label, index, 3)
    expected = (1 - share) * np.eye(4)[label] + share * teacher[index]
    np.testing.assert_allclose(target, expected, atol=1e-6)
    np.testing.assert_array_equal(weight, 1)
    np.testing.assert_array_equal(after.target, teacher)  # never moves


@pytest.mark.parametrize("temperature", [pytest.param(1.0, marks=pytest.mark.slow), 4.0])
def test_the_teacher_is_a_predictor_of_the_training_inputs(temperature):
    run, folder = predictor_folders.digits()
    dataset = datasets.load(helpers.small_config(train_examples=100))
    made = Distill(teacher=str(folder), teacher_temperature=temperature)
    found = made.first_targets(dataset)
    probability = autolabel_jax.load_predictor(folder)(dataset.train.input).astype(np.float64)
    tempered = probability ** (1 / temperature)
    expected = tempered / tempered.sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.dtype == np.float32 and found.shape == (50, 10)


def test_teachers_that_do_not_fit_are_named_and_claim_no_folder(tmp_path):
    folder = predictor_folders.digits()[1]
    vectors = helpers.write_arrays(tmp_path / "vectors")
    for changes, told in (
        ({}, r"labels\.teacher: got '', expected the folder of a predictor"),
        (
            {"labels__teacher": str(folder), "dataset": "arrays", "data_dir": vectors},
            r"labels\.teacher: .* predicts the classes 0, 1, 2, 3.*those of the data are 0, 1, 2$",
        ),
    ):
        config = helpers.small_config(labels__rule="distill", **changes)
        with pytest.raises(ValueError, match=told):
            train.train(config, tmp_path / "run", progress=False)
    config = helpers.small_config(labels__rule="distill", labels__teacher=str(tmp_path / "none"))
    with pytest.raises((ValueError, OSError), match="none"):
        train.train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_needs_its_teacher_only_once(tmp_path):
    folder = shutil.copytree(predictor_folders.digits()[1], tmp_path / "teacher")
    config = helpers.small_config(labels__rule="distill", labels__teacher=str(folder))
    calls = iter(range(99))
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path / "run", progress=False, should_stop=lambda: next(calls) > 0)
    teacher = Distill(teacher=str(folder)).first_targets(datasets.load(config))
    shutil.rmtree(folder)
    train.train(config, tmp_path / "run", progress=False)
    (target,) = (
        x for name, x in helpers.last_checkpoint(tmp_path / "run").items() if "['target']" in name
    )
    np.testing.assert_array_equal(target, teacher)
    assert trained.evaluate(tmp_path / "run", config)["epochs"] == 2


# --- whole runs ------------------------------------------------------------------------------

AUGMIX = {"augment__name": "augmix", "augment__max_depth": 1}
ADAPTIVE = {"labels__rule": "self_adaptive", "labels__start_epoch": 1, **AUGMIX}
DISTILLED = {"labels__rule": "distill", "labels__teacher": "digits", **AUGMIX}
EACH = pytest.mark.parametrize("changes", [ADAPTIVE, DISTILLED], ids=["self_adaptive", "distill"])


def filled(changes):
    """The same, with the folder of the small predictor as the teacher."""
    if changes.get("labels__teacher") != "digits":
        return changes
    return changes | {"labels__teacher": str(predictor_folders.digits()[1])}


@pytest.mark.parametrize(
    ("changes", "stop_at"),
    [
        (ADAPTIVE, 1),
        pytest.param(ADAPTIVE, 3, marks=pytest.mark.slow),
        pytest.param(DISTILLED, 1, marks=pytest.mark.slow),
        pytest.param(DISTILLED, 3, marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, changes, stop_at):
    config = helpers.small_config(epochs=3, accumulate=2, **filled(changes))
    calls = iter(range(99))
    train.train(config, tmp_path / "whole", progress=False)
    with pytest.raises(processes.Stopped):
        train.train(
            config, tmp_path / "cut", progress=False, should_stop=lambda: next(calls) > stop_at
        )
    train.train(config, tmp_path / "cut", progress=False)
    saved = [helpers.last_checkpoint(tmp_path / name) for name in ("whole", "cut")]
    helpers.assert_same_bits(*saved)
    assert helpers.read_metrics(tmp_path / "whole") == helpers.read_metrics(tmp_path / "cut")
    (target,) = (x for name, x in saved[0].items() if "['target']" in name)
    np.testing.assert_allclose(target.sum(-1), 1, atol=1e-6)
    assert (target.max(-1) < 1).all()


@pytest.mark.slow
@EACH
def test_bfloat16_gives_finite_labels_in_float32(tmp_path, changes):
    config = helpers.small_config(dtype="bfloat16", **filled(changes))
    train.train(config, tmp_path, progress=False)
    saved = helpers.last_checkpoint(tmp_path)
    kinds = {x.dtype for name, x in saved.items() if "['labels']" in name}
    assert kinds == {np.dtype(np.float32)}


@pytest.mark.slow
@EACH
def test_two_devices_agree_with_one(tmp_path, changes):
    lines = []
    for devices in (1, 2):
        workdir = tmp_path / str(devices)
        arguments = (*helpers.flags(accumulate=2, **filled(changes)), f"--workdir={workdir}")
        done = helpers.command("-m", "experiments.train", *arguments, devices=devices)
        assert done.returncode == 0, done.stderr
        lines.append(helpers.read_metrics(workdir))
    for a, b in zip(*lines, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
