"""AR-AdaLS: perturbations of linear models in closed form, ranks, and the whole path."""

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from autolabel_jax import datasets, train
from autolabel_jax.datasets import Split
from autolabel_jax.diagnosis import attackability
from configs import digits_ar_adals

SHAPE = (3, 3, 1)


def split_of(image, label):
    return Split(image, np.asarray(label, np.int32), None, np.arange(len(label)))


def test_the_smallest_perturbation_of_a_linear_model_is_its_margin_over_the_l1_norm():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(9, 3)).astype(np.float32)
    image = rng.uniform(0.4, 0.6, (300, *SHAPE)).astype(np.float32)
    logits = image.reshape(300, -1).astype(np.float64) @ weight
    label = logits.argmax(-1)
    label[:20] = (label[:20] + 1) % 3  # misclassified already
    found = attackability.smallest_perturbation(
        lambda x: x.reshape(len(x), -1) @ jnp.asarray(weight), split_of(image, label), num_classes=3
    )
    expected = np.zeros(300)
    for i in range(20, 300):
        others = [k for k in range(3) if k != label[i]]
        gaps = [logits[i, label[i]] - logits[i, k] for k in others]
        lengths = [np.abs(weight[:, label[i]] - weight[:, k]).sum() for k in others]
        expected[i] = min(gap / length for gap, length in zip(gaps, lengths, strict=True))
    assert expected.max() < 0.4  # no pixel reaches the end of its range
    np.testing.assert_array_equal(found[:20], 0)
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-5)
    assert (found >= expected - 1e-6).all()


def test_an_image_that_cannot_be_broken_is_the_most_robust():
    image = np.full((4, *SHAPE), 0.5, np.float32)
    found = attackability.smallest_perturbation(
        lambda x: jnp.tile(jnp.array([1.0, 0.0]), (len(x), 1)) + 0 * x.sum(),
        split_of(image, [0, 0, 1, 0]),
        num_classes=2,
        num_steps=2,
    )
    np.testing.assert_array_equal(found, [np.inf, np.inf, 0, np.inf])


def test_distances_are_ranks_that_fill_buckets_evenly():
    found = attackability.rank_distance(np.array([0.2, np.inf, 0.0, 0.1]))
    np.testing.assert_allclose(found, [0.375, 0.125, 0.875, 0.625])
    assert found.dtype == np.float32
    many = attackability.rank_distance(np.random.default_rng(0).random(200))
    np.testing.assert_array_equal(np.bincount(np.ceil(10 * many).astype(int) - 1), [20] * 10)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """(first run's folder, folder of the arrays)."""
    first, out = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("ranked")
    config = helpers.small_config(labels__rule="one_hot", epochs=4, train_examples=128)
    train.train(config, first, progress=False)
    arguments = [f"--workdir={first}", f"--out={out}", "--steps=20"]
    done = helpers.command("-m", "experiments.attackability", *arguments)
    assert done.returncode == 0, done.stderr
    assert "train: 64 images" in done.stdout
    return config, out


@pytest.mark.slow
def test_the_splits_of_the_first_run_are_kept(ranked):
    config, out = ranked
    before = datasets.load(config)
    after = datasets.load(helpers.small_config(dataset="arrays", data_dir=str(out)))
    for name in ("train", "calibration", "test"):
        one, other = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(one.input, other.input)
        np.testing.assert_array_equal(one.label, other.label)
    for split in (after.train, after.calibration):
        expected = (np.arange(64) + 0.5) / 64
        np.testing.assert_allclose(np.sort(split.distance), expected, rtol=1e-6)
    stored = np.load(out / "train.npz")
    found = stored["perturbation"]
    np.testing.assert_array_equal(found[np.argsort(-stored["distance"])], np.sort(found))
    assert np.isfinite(found).any()


@pytest.mark.slow
def test_it_is_autolabel_with_another_distance(ranked, tmp_path):
    """The labels of every epoch by hand, from the confidence and accuracy of each group."""
    config = digits_ar_adals.get_config()
    assert (config.labels.rule, config.labels.step) == ("autolabel", "signed_gap")
    small = {name: value for name, value in helpers.SMALL.items() if "calibration" not in name}
    for name in ("dataset", "train_examples", "augment.name", "buckets.num"):
        del small[name]
    config.update_from_flattened_dict(small | {"data_dir": str(ranked[1])})
    config.update_from_flattened_dict({"calibration.exact": True, "epochs": 4, "buckets.num": 4})
    train.train(config, tmp_path, progress=False)
    label = np.ones(4)
    for line in helpers.read_metrics(tmp_path):
        assert line["bucket_count"] == [16] * 4
        gap = np.array(line["bucket_confidence"]) - line["bucket_accuracy"]
        label = np.clip(label - gap, line["bucket_accuracy"], 1)
        np.testing.assert_allclose(line["label_confidence"], label, atol=1e-6)
        label = np.array(line["label_confidence"])
    assert np.ptp(label) > 0


def test_data_that_cannot_be_attacked_are_named(tmp_path):
    folder = helpers.write_arrays(tmp_path / "vectors")
    config = helpers.small_config(dataset="arrays", data_dir=folder, epochs=1)
    train.train(config, tmp_path / "run", progress=False)
    arguments = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}"]
    done = helpers.command("-m", "experiments.attackability", *arguments)
    assert done.returncode == 1
    assert "is a run on 'arrays'; expected images in memory" in done.stderr
