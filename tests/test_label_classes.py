"""CAMixup: the gap of each class in NumPy, unmixed examples, a stopped run."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from autolabel_jax import augment, input_pipeline, label_updates, processes, train, train_step
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.labels import CAMixup
from autolabel_jax.types import Distance

CAMIXUP = {"labels__rule": "camixup", "augment__name": "mixup"}
SLOW = pytest.mark.slow
DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


@DTYPES
def test_the_gap_of_a_class_is_confidence_minus_accuracy(dtype):
    fixed = helpers.make_experiment(helpers.make_dataset(), **CAMIXUP)
    rng = np.random.default_rng(0)
    logits = jnp.asarray(3 * rng.normal(size=(60, 4)), dtype)
    label = rng.integers(3, size=60)  # none of class 3
    state = fixed.rule.init(np.ones(2), num_classes=4)
    np.testing.assert_array_equal(state.class_gap, -1)
    after = label_updates.update_classes(state, logits, jnp.asarray(label), experiment=fixed)
    seen = np.asarray(logits, np.float64)
    gap = scipy.special.softmax(seen, -1).max(-1) - (seen.argmax(-1) == label)
    expected = [gap[label == k].mean() for k in range(3)]
    np.testing.assert_allclose(after.class_gap, [*expected, -1], atol=1e-6)
    assert after.class_gap.dtype == np.float32
    np.testing.assert_array_equal(fixed.rule.metrics(after)["class_gap"], after.class_gap)
    again = label_updates.update_classes(after, 9 * logits, jnp.asarray(label), experiment=fixed)
    assert (np.asarray(again.class_gap[:3]) > np.asarray(after.class_gap[:3])).all()
    assert again.class_gap[3] == -1


def test_over_confident_classes_are_mixed_and_others_not():
    """Also at a gap of 0: a class is left out where its accuracy is above the confidence."""
    rule, gap = CAMixup(), jnp.asarray([0.2, -0.2, 0.0, -1e-6, 1.0, -1.0])
    state = rule.init(np.ones(1), num_classes=6).replace(class_gap=gap)
    drawn = Distance(group=jnp.arange(6), value=jnp.linspace(0.1, 0.6, 6))
    found = rule.distance(state, jnp.arange(6), drawn)
    np.testing.assert_allclose(found.value, [0.1, 0, 0.3, 0, 0.5, 0], atol=1e-6)
    np.testing.assert_array_equal(found.group, np.arange(6))


@pytest.mark.parametrize(
    "name", ["cutmix", *(pytest.param(n, marks=SLOW) for n in ("mixup", "mixup_cutmix"))]
)
def test_examples_of_other_classes_are_clean_with_labels_of_one_class(name):
    dataset = helpers.make_dataset()
    fixed = helpers.make_experiment(dataset, **CAMIXUP | {"augment__name": name})
    state = experiment_lib.init_state(fixed, 0, (6, 6, 3))
    gap = jnp.asarray([0.1, -0.1, -0.3, 0.2])
    state = state.replace(labels=state.labels.replace(class_gap=gap))
    whole = input_pipeline.put_split(dataset.train, fixed.mesh)
    draw = jax.jit(functools.partial(train_step.draw_augmented, experiment=fixed))
    clean, moved = draw(state, whole, jax.random.key(0))
    label, image = np.asarray(clean.label), np.asarray(clean.input, np.float32) / 255
    stays, differs = np.isin(label, [1, 2]), np.abs(moved.input - image).max((1, 2, 3)) > 1e-3
    assert not differs[stays].any() and differs[~stays].mean() > 0.5
    np.testing.assert_array_equal(np.asarray(moved.second_weight)[stays], 0)
    np.testing.assert_array_equal(np.asarray(moved.distance.value)[stays], 0)
    soft_label = fixed.rule.soft_labels(
        state.labels,
        moved.label,
        np.zeros(48, int),
        num_classes=4,
        second_label=moved.second_label,
        second_weight=moved.second_weight,
    )
    np.testing.assert_allclose(soft_label[stays], np.eye(4)[label[stays]], atol=1e-6)


def test_every_class_mixed_is_mixup_to_the_bit():
    dataset = helpers.make_dataset()
    fixed = helpers.make_experiment(dataset, **CAMIXUP)
    state = experiment_lib.init_state(fixed, 0, (6, 6, 3))
    state = state.replace(labels=state.labels.replace(class_gap=jnp.ones(4)))
    batch = input_pipeline.put_split(dataset.train, fixed.mesh)
    plain = dataclasses.replace(fixed, rule=helpers.make_experiment(dataset).rule)
    each = [
        jax.jit(functools.partial(train_step.draw_augmented, experiment=e))(
            state, batch, jax.random.key(0)
        )[1]
        for e in (fixed, plain)
    ]
    jax.tree.map(np.testing.assert_array_equal, *each)
    assert isinstance(fixed.augmentation, augment.Mixup)


def test_it_needs_two_examples_in_an_input():
    with pytest.raises(ValueError, match=r"labels\.rule: got 'camixup' with augment\.name='none'"):
        helpers.make_experiment(helpers.make_dataset(), labels__rule="camixup")


@SLOW
@pytest.mark.parametrize("exact", [True, False])
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, exact):
    changes = {"calibration__exact": exact, "buckets__num": 2 if exact else 20}
    config = helpers.small_config(**CAMIXUP, **changes)
    calls = iter(range(99))
    train.train(config, tmp_path / "whole", progress=False)
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path / "cut", progress=False, should_stop=lambda: next(calls) > 2)
    train.train(config, tmp_path / "cut", progress=False)
    saved = [helpers.last_checkpoint(tmp_path / name) for name in ("whole", "cut")]
    helpers.assert_same_bits(*saved)
    lines = helpers.read_metrics(tmp_path / "whole")
    assert lines == helpers.read_metrics(tmp_path / "cut")
    (gap,) = (x for name, x in saved[0].items() if "['class_gap']" in name)
    np.testing.assert_array_equal(np.float32(lines[-1]["label_class_gap"]), gap)
    assert gap.shape == (10,) and (gap > -1).all()
