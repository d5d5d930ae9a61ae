"""Augmentations of feature vectors and time series, against NumPy and SciPy."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax import augment, calibration_step, experiment, input_pipeline
from autolabel_jax.augment import FeatureMasking, GaussianNoise
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.types import Batch, Distance

DRAWS = 4000
STD = np.array([0.5, 2.0, 10.0, 1.0, 3.0, 7.0], np.float32)
MEAN = np.array([1.0, -2.0, 30.0, 0.0, 5.0, -7.0], np.float32)


def dataset_of(shape, kind="features", encoding=None):
    rng = np.random.default_rng(0)
    split = Split(
        rng.normal(size=(20, *shape)).astype(np.float32), rng.integers(0, 3, 20, np.int32), None,
        np.arange(20),
    )  # fmt: skip
    moments = MEAN[: shape[-1]], STD[: shape[-1]]
    return Dataset("d", split, split, split, 3, None, *moments, kind=kind, encoding=encoding)


def batch_of(values):
    num = len(values)
    return Batch(
        input=jnp.asarray(values, jnp.float32),
        label=jnp.arange(num, dtype=jnp.int32) % 3,
        index=jnp.arange(num, dtype=jnp.int32),
        mask=jnp.ones(num),
        distance=jnp.zeros(num),
    )


def move(method, values, value, group=0, seed=1):
    num = len(values)
    distance = Distance(
        group=jnp.broadcast_to(jnp.asarray(group, jnp.int32), (num,)),
        value=jnp.broadcast_to(jnp.asarray(value, jnp.float32), (num,)),
    )
    return jax.jit(method.apply)(jax.random.key(seed), batch_of(values), distance)


@pytest.mark.parametrize(("shape", "kind"), [((6,), "features"), ((9, 3), "series")])
def test_noise_has_the_root_mean_square_of_its_distance(shape, kind):
    method = GaussianNoise(max_noise=0.8).for_data(dataset_of(shape, kind))
    drawn = method.draw(jax.random.key(0), DRAWS)
    clean = np.random.default_rng(1).normal(size=(DRAWS, *shape))
    done = move(method, clean, drawn.value)
    noise = (np.asarray(done.input) - clean.astype(np.float32)) / STD[: shape[-1]]
    root = np.sqrt(np.mean(noise**2, axis=tuple(range(1, noise.ndim))))
    np.testing.assert_allclose(root, 0.8 * np.asarray(done.distance.value), atol=2e-5)
    assert stats.kstest(root / 0.8, "uniform").pvalue > 0.01
    # Its direction is uniform: a coordinate has the distribution of one of a normal vector.
    normal = np.random.default_rng(2).normal(size=(DRAWS, root.size and noise[0].size))
    expected = normal[:, 0] / np.sqrt(np.mean(normal**2, axis=1))
    found = noise.reshape(DRAWS, -1)[:, 0] / root
    assert stats.ks_2samp(found, expected).pvalue > 0.01
    np.testing.assert_array_equal(move(method, clean, 0.0).input, clean.astype(np.float32))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("most", [0.5, *(pytest.param(x, marks=SLOW) for x in (0.3, 1.0))])
def test_masks_hide_a_whole_number_of_features(most):
    method = FeatureMasking(max_hidden=most).for_data(dataset_of((6,)))
    drawn = method.draw(jax.random.key(0), DRAWS)
    done = move(method, np.full((DRAWS, 6), 99.0), drawn.value)
    hidden = np.asarray(done.input) != 99
    assert np.all(np.asarray(done.input)[hidden] == np.broadcast_to(MEAN, hidden.shape)[hidden])
    number, largest = hidden.sum(1), max(1, int(6 * most))
    np.testing.assert_allclose(done.distance.value, number / largest, atol=1e-6)
    np.testing.assert_array_equal(done.distance.value, drawn.value)
    # Each number is as likely as another, and so is each feature.
    assert stats.chisquare(np.bincount(number)).pvalue > 0.01
    assert len(np.bincount(number)) == largest + 1
    np.testing.assert_allclose(hidden.mean(0), largest / 2 / 6, atol=0.03)


def test_a_distance_inside_a_bucket_counts_after_rounding():
    method = FeatureMasking(max_hidden=0.5).for_data(dataset_of((6,)))
    done = move(method, np.full((5, 6), 99.0), [0.1, 0.2, 0.45, 0.7, 0.9])
    np.testing.assert_array_equal((np.asarray(done.input) != 99).sum(1), [0, 1, 1, 2, 3])
    np.testing.assert_allclose(done.distance.value, np.array([0, 1, 1, 2, 3]) / 3, rtol=1e-6)


def test_the_entries_of_a_category_are_hidden_together():
    columns = [
        {"name": "size", "categories": None, "fill": None},
        {"name": "colour", "categories": ["a", "b", "c"], "fill": None},
        {"name": "age", "categories": None, "fill": 2.0},
    ]
    encoding = {"reads": "columns", "kind": "features", "columns": columns}
    method = FeatureMasking(max_hidden=1.0).for_data(dataset_of((6,), encoding=encoding))
    done = move(method, np.full((300, 6), 99.0), 1 / 3)
    hidden = np.asarray(done.input) != 99
    found = {tuple(row) for row in hidden.astype(int)}
    assert found == {(1, 0, 0, 0, 0, 0), (0, 1, 1, 1, 0, 0), (0, 0, 0, 0, 1, 1)}


def test_masks_of_series_are_scattered_or_a_block():
    method = FeatureMasking(max_hidden=0.5).for_data(dataset_of((12, 2), "series"))
    assert method.num_groups == 2
    drawn = method.draw(jax.random.key(0), DRAWS)
    assert abs(np.mean(np.asarray(drawn.group)) - 0.5) < 0.03
    done = move(method, np.full((DRAWS, 12, 2), 99.0), drawn.value, drawn.group)
    hidden = np.asarray(done.input)[..., 0] != 99
    np.testing.assert_array_equal(np.asarray(done.input)[..., 1] != 99, hidden)
    number, block = hidden.sum(1), np.asarray(drawn.group) == 1
    np.testing.assert_allclose(done.distance.value, number / 6, atol=1e-6)
    runs = np.diff(np.pad(hidden, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    assert np.all(runs.sum(1)[block & (number > 0)] == 1)
    assert np.mean(runs.sum(1)[~block & (number == 4)]) > 2
    # Blocks of three begin at each step alike.
    begins = runs.argmax(1)[block & (number == 3)]
    assert stats.chisquare(np.bincount(begins, minlength=10)).pvalue > 0.01


@pytest.mark.parametrize("kind", ["features", "series"])
@pytest.mark.parametrize("name", sorted(augment.TABLE))
def test_augmentations_of_other_inputs_are_refused_by_name(name, kind):
    dataset = dataset_of((9, 2) if kind == "series" else (6,), kind)
    method = augment.create(helpers.small_config(augment__name=name))
    if name in ("gaussian_noise", "feature_masking", "mixup", "none", "given"):
        method.check_input(dataset.spec)
    else:
        with pytest.raises(ValueError, match=f"augment.name: .*{method.name}.*|got '{name}'"):
            method.check_input(dataset.spec)
    if name in ("gaussian_noise", "feature_masking"):
        with pytest.raises(ValueError, match=f"{name!r} accepts inputs of kind series, features"):
            method.check_input(helpers.make_dataset().spec)


def test_mixup_moves_features_along_a_line():
    method = augment.create(helpers.small_config(augment__name="mixup"))
    clean = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    done = move(method, clean, 0.5)
    partner = (np.asarray(done.input) - 0.75 * clean) / 0.25
    for row in partner:
        assert np.abs(clean - row).max(1).min() < 1e-5


def test_an_experiment_reads_the_scale_of_the_data():
    dataset = dataset_of((6,))
    config = helpers.small_config(
        augment__name="gaussian_noise", model__name="mlp", crop_pad=0, flip=False, batch_size=8
    )
    made = experiment.create(config, dataset, input_pipeline.make_mesh())
    np.testing.assert_array_equal(made.augmentation.std, STD)


def test_a_held_out_input_counts_in_the_bucket_of_the_rounded_distance():
    dataset = dataset_of((6,))  # hides 0, 1, 2 or 3 of 6 features: distances 0, 1/3, 2/3 and 1
    fields = {"name": "feature_masking", "max_hidden": 0.5}
    config = helpers.small_config(
        **{f"augment__{name}": value for name, value in fields.items()},
        **{"model__name": "mlp", "crop_pad": 0, "flip": False, "batch_size": 8, "buckets__num": 4},
    )
    made = experiment.create(config, dataset, input_pipeline.make_mesh())
    state = experiment.init_state(made, 0, (6,))
    whole = input_pipeline.put_split(dataset.calibration, made.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=made))
    rows, count = jnp.arange(20), np.zeros(4)
    for i in range(40):  # drawn in (0, 1/4]: nothing is hidden up to 1/6, then one feature
        stats = step(state, whole, rows, jnp.zeros(20, jnp.int32), jax.random.key(i))
        count += np.asarray(stats.count).sum(1)
    np.testing.assert_array_equal(count[2:], [0, 0])
    assert count.sum() == 800
    assert stats_of_share(count[0], 800, 2 / 3)


def stats_of_share(found, num, share):
    """Whether a number of successes is likely."""
    return stats.binomtest(int(found), num, share).pvalue > 0.01
