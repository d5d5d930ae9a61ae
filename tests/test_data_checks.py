"""What holds for every data set: parts of sets in order, layout and range of the inputs."""

import dataclasses
import warnings

import helpers
import numpy as np
import photograph_folders
import pytest

from autolabel_jax import datasets
from autolabel_jax.datasets import checks, sample
from configs import base


def arrays_config(folder, **fields):
    config = base.base()
    settings = {"dataset": "arrays", "data_dir": str(folder), "calibration.fraction": 0.5}
    config.update_from_flattened_dict(settings | fields)
    return config


def save_both(folder, image, test=None, **others):
    """The same four classes in turn in train.npz and test.npz."""
    label = np.arange(len(image)) % 4
    np.savez(folder / "train", label=label, input=image, **others)
    np.savez(folder / "test", label=label, input=image if test is None else test, **others)


# Parts of sets in order of class


def blocks(rng):
    """Classes 0 … 4 in random order, then 5 … 9."""
    return np.concatenate([rng.integers(0, 5, 1000), rng.integers(5, 10, 1000)])


ORDERED = {
    "sorted": lambda rng: np.sort(rng.integers(0, 10, 2000)),
    "backwards": lambda rng: np.sort(rng.integers(0, 10, 2000))[::-1],
    "two": lambda rng: np.repeat([0, 1], 10),
    "few": lambda rng: np.array([0, 0, 1]),
    "blocks": blocks,
    "in batches": lambda rng: np.repeat(rng.integers(0, 10, 400), 5),
}
UNORDERED = {
    "random": lambda rng: rng.integers(0, 10, 2000),
    "in turn": lambda rng: np.arange(2000) % 10,
    "one": lambda rng: np.zeros(50, int),
    "all different": lambda rng: np.arange(50),
    "rare": lambda rng: (rng.random(2000) < 0.01).astype(int),
}


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("seed", range(5))
def test_labels_in_order_of_class_are_recognised(name, seed):
    assert sample.is_ordered(ORDERED[name](np.random.default_rng(seed)))


@pytest.mark.parametrize("name", UNORDERED)
@pytest.mark.parametrize("seed", range(20))
def test_labels_in_random_order_are_left_as_they_are(name, seed):
    label = UNORDERED[name](np.random.default_rng(seed))
    assert not sample.is_ordered(label)
    split = datasets.Split(label[:, None], label, None, np.arange(len(label)))
    np.testing.assert_array_equal(sample.first(split, 20, "n").index, np.arange(20))


@pytest.mark.parametrize("counts", [(200, 120, 80), (3, 5), (40, 1)])
def test_the_number_of_runs_in_random_order(counts):
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(len(counts)), counts)
    runs = [1 + np.count_nonzero(np.diff(rng.permutation(label))) for _ in range(20_000)]
    mean, deviation = sample.random_runs(np.array(counts))
    assert mean == pytest.approx(np.mean(runs), abs=4 * deviation / np.sqrt(20_000))
    assert deviation == pytest.approx(np.std(runs), rel=0.05)


def test_a_part_of_sorted_arrays_holds_every_class_in_its_share(tmp_path):
    label = np.repeat(np.arange(5), [500, 200, 200, 95, 5])
    image = np.arange(1000, dtype=np.float32)[:, None]
    for name in ("train", "test"):
        np.savez(tmp_path / name, label=label, input=image)
    fields = {"train_examples": 200, "test_examples": 100, "calibration.source": "train"}
    with pytest.warns(UserWarning, match="examples that are in order of class") as caught:
        found = datasets.load(arrays_config(tmp_path, **fields))
    assert [str(w.message).split(":")[0] for w in caught] == ["train_examples", "test_examples"]
    assert len(np.unique(found.train.index)) == 200
    np.testing.assert_array_equal(found.train.input[:, 0], found.train.index)
    for split, num in ((found.train, 200), (found.test, 100)):
        share = np.array([500, 200, 200, 95, 5]) / 1000
        assert np.abs(np.bincount(split.label) - share * num).max() <= 1
    assert set(sample.first(found.test, 5, "n").label) == set(range(5))
    with warnings.catch_warnings(record=True):
        again = datasets.load(arrays_config(tmp_path, seed=7, **fields))
    np.testing.assert_array_equal(again.test.index, found.test.index)
    whole = datasets.load(arrays_config(tmp_path, **fields | {"test_examples": 0}))
    np.testing.assert_array_equal(whole.test.index, np.arange(1000))


def test_digits_are_not_in_order():
    digits = datasets.digits.read()
    assert not sample.is_ordered(digits.train.label)
    assert not sample.is_ordered(digits.test.label)


# Labels, layout and range of the inputs


def test_the_number_of_classes_has_limits():
    for num_classes in (1, 10**6 + 1):
        dataset = dataclasses.replace(helpers.make_dataset(num_classes=1), num_classes=num_classes)
        with pytest.raises(ValueError, match=f"num_classes is {num_classes:,}, must be between"):
            checks.check_dataset(dataset)


@pytest.mark.parametrize("kind", [{}, {"kind": "image"}])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 8, 9)])
def test_channels_first_are_refused_with_the_transpose(tmp_path, shape, kind):
    image = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    save_both(tmp_path, image, **kind)
    with pytest.raises(ValueError, match=r"train split: .*; store x.transpose\(0, 2, 3, 1\)"):
        datasets.load(arrays_config(tmp_path))
    save_both(tmp_path, image.transpose(0, 2, 3, 1), **kind)
    assert datasets.load(arrays_config(tmp_path)).spec.shape == (*shape[1:], shape[0])


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((5,), "image"), ((5, 4), "image"), ((5, 4, 3), "audio"), ((5, 4), "audio"), ((5, 4), "text")],
)
def test_a_kind_has_its_axes(tmp_path, shape, kind):
    save_both(tmp_path, np.zeros((40, *shape), np.float32), kind=kind)
    with pytest.raises(ValueError, match=f"inputs of kind '{kind}' must be .*got .*'features'"):
        datasets.load(arrays_config(tmp_path))


SCALES = {
    "float": (255.0, 1.0, np.float32),
    "the other way": (1.0, 255.0, np.float32),
    "uint8": (255, 1, np.uint8),
    "16 bits": (65535.0, 255.0, np.float32),
}


@pytest.mark.parametrize("shape", [(8, 8, 3), (64,)])
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_splits_of_different_ranges_are_refused(tmp_path, shape, scale):
    first, second, dtype = scale
    share = np.random.default_rng(0).random((40, *shape))
    save_both(tmp_path, (share * first).astype(dtype), np.rint(share * second).astype(dtype))
    with pytest.raises(
        ValueError, match=r"inputs go from .* in the training split and .*test split; scale"
    ):
        datasets.load(arrays_config(tmp_path))


def test_standardised_images_beside_plain_ones_are_refused(tmp_path):
    share = np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32)
    save_both(tmp_path, 4 * share - 2, share)
    with pytest.raises(ValueError, match=r"inputs go from -1\.9.* and from 0\."):
        datasets.load(arrays_config(tmp_path))


def test_splits_that_differ_a_little_are_not_refused(tmp_path):
    rng = np.random.default_rng(0)
    train = rng.normal(size=(400, 8)).astype(np.float32)
    train[7, 3] = 1e6  # an outlier
    save_both(tmp_path, train, (train[:, ::-1] * 3).clip(-50, 50))
    datasets.load(arrays_config(tmp_path))
    dark = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    save_both(tmp_path, dark, np.zeros_like(dark))
    datasets.load(arrays_config(tmp_path))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"data.decoder": "gif"}, "data.decoder: got 'gif', .*one of.*pillow.*opencv"),
        ({"data.decoder": "opencv", "dataset": "digits"}, "with stream=False; only streamed"),
        ({"data.decoder": "opencv"}, "not installed: pip install opencv-python-headless"),
    ],
)
def test_decoders_that_cannot_be_used_are_refused(fields, told, monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    config = base.base()
    settings = {"dataset": "folder", "crop_pad": 0} | fields
    config.update_from_flattened_dict(settings)
    with pytest.raises(ValueError, match=told):
        checks.check_config(config)


def test_training_photographs_have_the_decoder_of_the_config(tmp_path, monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: True)
    settings = {"dataset": "folder", "data_dir": photograph_folders.write(tmp_path), "crop_pad": 0}
    config = base.base()
    config.update_from_flattened_dict(settings | {"data.decoder": "opencv", "image_size": 16})
    dataset = datasets.load(config)
    assert dataset.train.decoder == "opencv"
    config.data.decoder = "pillow"
    pillow = datasets.load(config)
    for split in ("test", "calibration"):  # as with Pillow, to the bit
        own, other = (getattr(one, split).input[:] for one in (dataset, pillow))
        np.testing.assert_array_equal(own, other)
