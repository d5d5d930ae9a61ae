"""Data sets against their sources, and the cut that calibration rests on."""

import hashlib
import importlib
import io
import os
import pathlib
import shutil
import socket
import struct
import warnings
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from sklearn.datasets import load_digits

from autolabel_jax import datasets
from autolabel_jax.datasets import sample, superclasses
from autolabel_jax.datasets import tfds as tfds_reader
from configs import base

FILES = sorted(pathlib.Path(base.__file__).parent.glob("*.py"))
CONFIGS = [path for path in FILES if "def get_config(" in path.read_text("utf-8")]


def make_config(dataset, data_dir="", **fields):
    config = base.base()
    config.dataset, config.data_dir = dataset, str(data_dir)
    config.update_from_flattened_dict(fields)
    return config


# Digits


@pytest.fixture(scope="module")
def digits():
    return datasets.load(make_config("digits"))


def test_digits_are_those_of_scikit_learn(digits):
    source = load_digits()
    assert (len(digits.train) + len(digits.calibration), len(digits.test)) == (1198, 599)
    for split in (digits.train, digits.calibration, digits.test):
        np.testing.assert_array_equal(split.label, source.target[split.index])
        assert split.input.dtype == np.uint8
        assert split.input.shape[1:] == (32, 32, 3)
    for row in range(0, 599, 50):
        grey = np.rint(source.images[digits.test.index[row]] * 255 / 16).astype(np.uint8)
        large = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BILINEAR))
        for channel in range(3):
            np.testing.assert_array_equal(digits.test.input[row, ..., channel], large)


def test_digits_training_images_are_in_no_writers_order():
    # scikit-learn's order is by writer; a fair sample of 300 has a mean place near the middle.
    first = datasets.digits.read().train.index[:300]
    standard_error = 1797 / np.sqrt(12) / np.sqrt(300)
    assert abs(first.mean() - 1796 / 2) < 4 * standard_error


def test_digits_test_split_is_stratified_and_fixed(digits):
    whole = np.bincount(load_digits().target)
    assert np.abs(np.bincount(digits.test.label) - whole / 3).max() < 0.5
    other = datasets.load(make_config("digits", seed=3))
    np.testing.assert_array_equal(other.test.index, digits.test.index)


def test_moments_are_those_of_the_scaled_training_pixels(digits):
    both = np.concatenate([digits.train.input, digits.calibration.input])
    pixels = both.reshape(-1, 3) / 255
    np.testing.assert_allclose(digits.mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(digits.std, pixels.std(0), rtol=1e-6)


def test_moments_are_the_same_to_the_bit_for_every_seed(digits):
    other = datasets.load(make_config("digits", seed=1))
    assert other.train.input.tobytes() != digits.train.input.tobytes()
    assert other.mean.tobytes() == digits.mean.tobytes()
    assert other.std.tobytes() == digits.std.tobytes()


# The cut


def test_train_and_calibration_are_a_partition_of_the_first_n(digits):
    official = datasets.digits.read().train.index
    everything = np.concatenate([digits.train.index, digits.calibration.index])
    np.testing.assert_array_equal(np.sort(everything), np.sort(official))
    cut = datasets.load(make_config("digits", train_examples=500))
    both = np.concatenate([cut.train.index, cut.calibration.index])
    np.testing.assert_array_equal(np.sort(both), np.sort(official[:500]))
    assert len(cut.calibration) == 50
    assert datasets.load(make_config("digits", test_examples=7)).test.label.shape == (7,)


def test_the_cut_depends_on_the_seed_alone(digits):
    config = make_config("digits", epochs=3, batch_size=7)
    config.augment.name = "mixup"
    again = datasets.load(config).calibration.index
    np.testing.assert_array_equal(again, digits.calibration.index)
    other = datasets.load(make_config("digits", seed=1)).calibration.index
    assert not np.array_equal(other, digits.calibration.index)


def test_source_train_cuts_nothing():
    config = make_config("digits")
    config.calibration.source, config.calibration.fraction = "train", 0.0
    found = datasets.load(config)
    assert len(found.train) == 1198
    np.testing.assert_array_equal(found.train.index, found.calibration.index)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1e-4, 0.9999, float("nan")])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction):
    config = make_config("digits")
    config.calibration.fraction = fraction
    with pytest.raises(ValueError, match="calibration.fraction"):
        datasets.load(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**32),
        ("image_size", 10**6),
        ("loader_workers", 10**6),
        ("train_examples", 2**63),
        ("labels.alpha", float("inf")),
        ("data.skip_unreadable", True),  # digits are no image files
    ],
)
def test_fields_out_of_range_are_refused_before_data_are_read(field, value):
    with pytest.raises(ValueError, match=f"^{field}: got {value}"):
        datasets.load(make_config("digits", **{field: value}))
    assert datasets.load(make_config("digits", seed=2**32 - 1)).num_classes == 10


@pytest.mark.parametrize("field", ["seed", "train_examples", "test_examples"])
def test_negative_numbers_are_refused(field):
    with pytest.raises(ValueError, match=field):
        datasets.load(make_config("digits", **{field: -1}))


def test_unknown_calibration_source_is_refused():
    config = make_config("digits")
    config.calibration.source = "test"
    with pytest.raises(ValueError, match="calibration.source: got 'test'"):
        datasets.load(config)


def test_classes_without_a_calibration_example_are_named(tmp_path):
    save(tmp_path, [0] * 30 + [1], [0, 2])
    with pytest.warns(UserWarning, match="no .* example of 1 of 3 classes") as caught:
        datasets.load(make_config("arrays", tmp_path, seed=seed_that_leaves_out(30, 31, 3)))
    told = [str(warning.message) for warning in caught]
    assert told == [
        "dataset: 'arrays': no training example of 1 of 3 classes: 2; the model cannot learn them",
        "dataset: 'arrays': no calibration example of 1 of 3 classes: 1; raise "
        "calibration.fraction",
        "dataset: 'arrays': no test example of 1 of 3 classes: 1; the metrics say nothing about "
        "them",
    ]
    target = load_digits().target
    save(tmp_path, target[target != 9], [9])
    with pytest.warns(UserWarning, match="of 1 of 10 classes: 9"):
        datasets.load(make_config("arrays", tmp_path))


def test_classes_without_a_test_example_are_counted_and_the_first_ones_named(tmp_path):
    save(tmp_path, np.arange(60) % 30, [0, 1, 29])
    with pytest.warns(UserWarning, match="no test example of 27 of 30 classes: 2, 3, .*, 21 and 7"):
        datasets.load(make_config("arrays", tmp_path))


def seed_that_leaves_out(row, size, num):
    """A seed whose permutation keeps a row out of its first few."""
    return next(s for s in range(99) if row not in np.random.default_rng(s).permutation(size)[:num])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("arg", ["", "tiny"])
def test_no_config_calibrates_on_test(path, arg, request):
    module = importlib.import_module(f"configs.{path.stem}")
    config = module.get_config(arg)
    config.data.train_labels = ""  # a file of the user; labels decide nothing about the splits
    if config.dataset == "cifar10":
        config.data_dir = str(request.getfixturevalue("tfds_dir"))
        official = request.getfixturevalue("cifar10")
    elif config.dataset == "digits":
        official = None
    else:
        pytest.skip(f"no data of {config.dataset!r} to load here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tiny variants may miss a class
        found = datasets.load(config)
    assert not (set(hashes(found.calibration.input)) & set(hashes(found.test.input)))
    if official is None:
        assert not set(found.calibration.index) & set(found.test.index)
    else:
        here = found.calibration.index < len(official["image"])
        of_train = official["image"][found.calibration.index[here]]
        np.testing.assert_array_equal(found.calibration.input[here], of_train)
    if config.calibration.source == "heldout":
        assert not set(found.calibration.index) & set(found.train.index)


def hashes(images):
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


# A user's own arrays


def save(folder, classes=(0, 1, 2, 0, 1, 2), test_classes=(0, 1, 2), **changes):
    """A sound train.npz and test.npz, with some keys of train.npz changed or, if None, left out."""
    for name, labels in (("train", classes), ("test", test_classes)):
        labels = np.asarray(labels)
        stored = {"label": labels, "image": np.zeros((len(labels), 4, 4, 3), np.uint8)}
        stored.update(changes if name == "train" else {})
        np.savez(folder / name, **{k: v for k, v in stored.items() if v is not None})


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (6, 7), (6, 5, 3)])
def test_arrays_come_back_as_they_were_stored(tmp_path, dtype, shape):
    random = np.random.default_rng(0)
    image = (random.random((40, *shape)) * 200 - (0 if dtype == np.uint8 else 99)).astype(dtype)
    label, distance = random.integers(0, 4, 40), random.random(40)
    label[36:] = [0, 1, 2, 3]
    np.savez(tmp_path / "train", image=image[:30], label=label[:30], distance=distance[:30])
    np.savez(tmp_path / "test", image=image[30:], label=label[30:])
    config = make_config("arrays", tmp_path)
    config.calibration.fraction = 0.5
    found = datasets.load(config)
    stored = np.uint8 if dtype == np.uint8 else np.float32
    for split in (found.train, found.calibration):
        assert split.input.dtype == stored
        assert split.label.dtype == np.int32
        np.testing.assert_array_equal(split.input, image[split.index].astype(stored))
        np.testing.assert_array_equal(split.label, label[split.index])
        np.testing.assert_allclose(split.distance, distance[split.index], atol=1e-7)
    np.testing.assert_array_equal(found.test.input, image[30:].astype(stored))
    assert found.test.distance is None
    assert found.num_classes == 4
    assert found.class_names is None
    assert found.mean.shape == found.std.shape == shape[-1:]


def test_the_one_other_float_array_is_the_image(tmp_path):
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    extra = {"weight": np.ones(6), "place": np.zeros((6, 2), int), "distance": np.zeros(6)}
    np.savez(tmp_path / "train", label=np.arange(6) % 2, embedding=features, **extra)
    np.savez(tmp_path / "test", label=np.arange(6) % 2, embedding=features)
    config = make_config("arrays", tmp_path, train_examples=4)
    config.calibration.source = "train"
    np.testing.assert_array_equal(datasets.load(config).train.input, features[:4])


@pytest.mark.parametrize("key", ["input", "image"])
def test_arrays_say_their_kind(tmp_path, key):
    sound = np.zeros((6, 5, 4, 1), np.float32)
    stored = {"label": np.arange(6) % 2, key: sound}
    np.savez(tmp_path / "test", **stored)
    config = make_config("arrays", tmp_path)
    config.calibration.source = "train"
    for extra, kind in (({}, "image"), ({"kind": "audio"}, "audio")):
        np.savez(tmp_path / "train", **stored, **extra)
        spec = datasets.load(config).spec
        assert (spec.kind, spec.shape, spec.dtype) == (kind, (5, 4, 1), "float32")
    np.savez(tmp_path / "train", **stored, kind="smell")
    with pytest.raises(ValueError, match=r"train\.npz: 'kind' is 'smell', expected one of: image"):
        datasets.load(config)
    np.savez(tmp_path / "train", label=stored["label"], input=sound, image=sound)
    with pytest.raises(ValueError, match=r"train\.npz has both 'input' and 'image'"):
        datasets.load(config)


def test_num_classes_may_be_said(tmp_path):
    save(tmp_path, num_classes=5)
    config = make_config("arrays", tmp_path)
    config.calibration.source = "train"
    with pytest.warns(UserWarning, match="3, 4"):
        assert datasets.load(config).num_classes == 5


def test_a_constant_feature_has_std_one(tmp_path):
    image = np.stack([np.full(6, 0.1), np.arange(6.0)], 1)
    save(tmp_path, image=image)
    np.savez(tmp_path / "test", label=[0], image=image[:1])
    config = make_config("arrays", tmp_path)
    config.calibration.source = "train"
    found = datasets.load(config)
    np.testing.assert_allclose(found.std, [1, np.arange(6).std()], rtol=1e-6)


NAN = np.full((6, 4, 4, 3), np.nan)
ERRORS = {
    "no label": ({"label": None}, "no 'label'"),
    "label float": (
        {"label": np.arange(6.0)},
        r"'label' must hold whole numbers.*float64 \[6\]; store label.astype\('int32'\)",
    ),
    "label fraction": ({"label": np.arange(6) / 2}, "'label' must hold .*no class indices"),
    "label nan": ({"label": np.full(6, np.nan)}, "'label' must hold .*no class indices"),
    "label bool": ({"label": np.arange(6) > 2}, r"store label.astype\('int32'\)"),
    "label names": ({"label": np.array(list("abcabc"))}, "'label' must hold .*number the names"),
    "label one-hot": (
        {"label": np.eye(6, dtype=int)},
        r"'label' must hold whole numbers.*is one-hot; store label.argmax\(1\)",
    ),
    "label one-hot float": ({"label": np.eye(3)[[0, 1, 2, 0, 1, 2]]}, "is one-hot"),
    "label soft": ({"label": np.full((6, 2), 0.5)}, r"weights of classes; store label.argmax"),
    "label column": ({"label": np.arange(6)[:, None]}, r"int64 \[6, 1\]; store label.ravel\(\)$"),
    "label row": ({"label": np.arange(6)[None]}, r"int64 \[1, 6\]; store label.ravel\(\)$"),
    "label float column": (
        {"label": np.arange(6.0)[:, None]},
        r"; store label.ravel\(\).astype\('int32'\)$",
    ),
    "label negative": (
        {"label": np.arange(6) - 1},
        "'label' must count.*from -1 to 4; leave out examples without a label",
    ),
    "label gap": (
        {"label": np.array([0, 1, 2, 5, 5, 9])},
        "'label' has no example of 5 of 10 classes: 3, 4, 6, 7, 8; number the classes .*"
        "store num_classes=10",
    ),
    "label huge": ({"label": np.arange(6) * 10**9}, "'label' must count"),
    "label empty": ({"label": np.zeros(0, int)}, "'label' is empty"),
    "label length": ({"label": np.zeros(5, int)}, r"'image' must be \[5, ...\]"),
    "label too large": ({"num_classes": 2}, "'num_classes' must be one whole number, at least 3"),
    "num_classes float": ({"num_classes": 3.5}, "'num_classes'"),
    "num_classes huge": ({"num_classes": 10**9}, "'num_classes' .*at most 1,000,000; got 10000000"),
    "num_classes list": ({"num_classes": [3, 3]}, "'num_classes'"),
    "no image": ({"image": None}, "no 'input'"),
    "ambiguous": (
        {"image": None, "a": np.zeros((6, 2)), "b": np.zeros((6, 3))},
        r"several arrays may be the input: \['a', 'b'\]",
    ),
    "ragged": ({"image": np.array([np.zeros(i) for i in range(6)], object)}, "ragged"),
    "ragged other": (
        {"image": None, "a": np.array([np.zeros(i) for i in range(6)], object)},
        "'a' holds Python objects",
    ),
    "int image": ({"image": np.zeros((6, 4), int)}, "'image' must be uint8 or float; got int64"),
    "examples last": (
        {"image": np.zeros((4, 5, 3, 6), np.uint8)},
        r"got shape \[4, 5, 3, 6\]; store np.moveaxis\(x, -1, 0\)",
    ),
    "flat image": ({"image": np.zeros(6)}, r"'image' must be \[6, ...\]"),
    "empty image": ({"image": np.zeros((6, 0))}, r"'image' must be \[6, ...\]"),
    "nan": ({"image": NAN}, "'image' holds NaN"),
    "inf": ({"image": np.nan_to_num(NAN, nan=np.inf)}, "'image' holds NaN or infinite"),
    "overflow": ({"image": np.nan_to_num(NAN, nan=1e300)}, "'image' holds NaN or infinite"),
    "distance length": ({"distance": np.zeros(5)}, r"'distance' must be float \[6\]"),
    "distance type": ({"distance": np.array(list("abcdef"))}, "'distance' must be float"),
    "distance high": ({"distance": np.full(6, 1.5)}, r"'distance' must be in \[0, 1\]"),
    "distance nan": ({"distance": np.full(6, np.nan)}, r"'distance' must be in \[0, 1\]"),
    "shapes": ({"image": np.zeros((6, 4, 5, 3), np.uint8)}, "shape and type must be the same"),
    "types": ({"image": np.zeros((6, 4, 4, 3))}, "shape and type must be the same"),
}


@pytest.mark.parametrize(("changes", "message"), ERRORS.values(), ids=ERRORS)
def test_unsound_arrays_are_refused(tmp_path, changes, message):
    save(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"data_dir: .*{message}"):
        datasets.load(make_config("arrays", tmp_path))


@pytest.mark.parametrize("start", [1, 3])
def test_labels_that_start_above_zero(tmp_path, start):
    labels = np.arange(6) % 3 + start
    save(tmp_path, labels, labels)
    with pytest.raises(ValueError, match=f"'label' starts at {start} .*; store label - {start} in"):
        datasets.load(make_config("arrays", tmp_path))
    save(tmp_path, labels, labels, num_classes=start + 3)
    with pytest.warns(UserWarning, match=rf"no training example of {start} of .*: 0"):
        assert datasets.load(make_config("arrays", tmp_path)).num_classes == start + 3


def test_a_header_that_promises_more_than_the_file_holds(tmp_path):
    save(tmp_path)
    with zipfile.ZipFile(tmp_path / "train.npz", "w") as file:
        for key, dtype in (("label", "<i8"), ("image", "|u1")):
            header = {"descr": dtype, "fortran_order": False, "shape": (10**12,)}
            stream = io.BytesIO()
            np.lib.format.write_array_header_1_0(stream, header)
            file.writestr(f"{key}.npy", stream.getvalue() + bytes(64))
    with pytest.raises(ValueError, match=r"train\.npz .*'label' should be int64 \[1000000000000\]"):
        datasets.load(make_config("arrays", tmp_path))


def test_what_is_no_array_in_an_npz(tmp_path):
    save(tmp_path)
    with zipfile.ZipFile(tmp_path / "train.npz", "w") as file:
        file.writestr("label", b"text")
    with pytest.raises(ValueError, match=r"train\.npz .*'label' is not an array of NumPy"):
        datasets.load(make_config("arrays", tmp_path))


def test_a_pipe_is_refused_without_waiting(tmp_path):
    save(tmp_path)
    (tmp_path / "test.npz").unlink()
    os.mkfifo(tmp_path / "test.npz")
    with pytest.raises(FileNotFoundError, match=r"test\.npz is missing, or not a regular file"):
        datasets.load(make_config("arrays", tmp_path))


def test_num_classes_must_agree(tmp_path):
    save(tmp_path, num_classes=5)
    np.savez(tmp_path / "test", label=[0], image=np.zeros((1, 4, 4, 3), np.uint8), num_classes=4)
    with pytest.raises(ValueError, match=r"'num_classes' differs in the files: \[4, 5\]"):
        datasets.load(make_config("arrays", tmp_path))


def test_one_class_is_refused(tmp_path):
    save(tmp_path, [0] * 6, [0])
    with pytest.raises(ValueError, match="num_classes is 1, must be between 2 and 1,000,000"):
        datasets.load(make_config("arrays", tmp_path))


def test_files_that_are_missing_or_none(tmp_path):
    with pytest.raises(ValueError, match="data_dir: got ''"):
        datasets.load(make_config("arrays"))
    with pytest.raises(FileNotFoundError, match="data_dir: .*train.npz is missing"):
        datasets.load(make_config("arrays", tmp_path))
    for content in (
        b"",
        b"text",
        b"text longer than a header",
        b"PK\x03\x04 cut short",
    ):
        (tmp_path / "train.npz").write_bytes(content)
        with pytest.raises(ValueError, match="data_dir: .*train.npz is not a readable .npz"):
            datasets.load(make_config("arrays", tmp_path))
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.npy").replace(tmp_path / "train.npz")
    with pytest.raises(ValueError, match="data_dir: .*train.npz is not a readable .npz"):
        datasets.load(make_config("arrays", tmp_path))


# TFDS: sets made here by its own builder class, which need no download


def colours(num, seed, sizes=(5,)):
    """PIL images: TFDS encodes them without TensorFlow."""
    random = np.random.default_rng(seed)
    for i in range(num):
        size = sizes[i % len(sizes)]
        yield random.integers(0, 256, (size, size, 3), dtype=np.uint8)


class MadeHere(tfds.core.GeneratorBasedBuilder):
    """Forty training and twelve validation images, no test split."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None
    sizes, held, label = (5,), "validation", tfds.features.ClassLabel(names=["cold", "warm"])

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        features = {"image": image, "label": self.label, "id": tfds.features.Text()}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._examples("train", 40), self.held: self._examples(self.held, 12)}

    def _examples(self, split, num):
        for i, image in enumerate(colours(num, seed=num, sizes=self.sizes)):
            key = f"{split}_{i:05d}"
            yield key, {"image": Image.fromarray(image), "label": i % 2, "id": key}

    def _generate_examples(self):
        raise AssertionError("the splits bring their own generators")


class MadeHereRagged(MadeHere):
    """Images of two sizes."""

    VERSION = MadeHere.VERSION
    sizes = (5, 6)


class MadeHereRegression(MadeHere):
    """A number in place of the class."""

    VERSION = MadeHere.VERSION
    label = tfds.features.Scalar(np.int64)


class MadeHereUnheld(MadeHere):
    """Neither a test nor a validation split."""

    VERSION = MadeHere.VERSION
    held = "extra"


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **settings: [])


@pytest.fixture
def made_here(tmp_path, online):
    config = make_config("made_here", tmp_path)
    config.calibration.fraction = 0.25
    return config


def check_made_here(found):
    train, test = np.stack(list(colours(40, 40))), np.stack(list(colours(12, 12)))
    index = np.concatenate([found.train.index, found.calibration.index])
    np.testing.assert_array_equal(np.sort(index), np.arange(40))
    np.testing.assert_array_equal(found.train.input, train[found.train.index])
    np.testing.assert_array_equal(found.calibration.label, found.calibration.index % 2)
    np.testing.assert_array_equal(found.test.input, test)
    assert found.num_classes == 2
    assert found.class_names == ("cold", "warm")


def test_tfds_set_is_prepared_read_in_its_official_order_and_cached(made_here, tmp_path):
    check_made_here(datasets.load(made_here))
    (cache,) = tmp_path.glob("*cache/*-train.npz")
    assert cache.name == "made_here-1.0.0-train.npz"
    for records in tmp_path.glob("made_here/1.0.0/*.array_record*"):
        records.write_bytes(b"")
    check_made_here(datasets.load(made_here))  # the records are not read again


def test_one_split_is_that_of_the_whole_set(made_here, tmp_path):
    found = tfds_reader.read_split("made_here", "validation", str(tmp_path))
    np.testing.assert_array_equal(found.input, np.stack(list(colours(12, 12))))
    np.testing.assert_array_equal(found.label, datasets.load(made_here).test.label)
    with pytest.raises(ValueError, match="has no split 'test', expected one of: train, validation"):
        tfds_reader.read_split("made_here", "test", str(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "stale"])
def test_damaged_or_stale_cache_is_rebuilt(made_here, tmp_path, damage):
    datasets.load(made_here)
    (cache,) = tmp_path.glob("*cache/*-train.npz")
    content, names = cache.read_bytes(), sorted(cache.parent.iterdir())
    if damage == "cut":
        cache.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        cache.write_bytes(content[:500] + bytes(b ^ 255 for b in content[500:600]) + content[600:])
    elif damage == "other":
        np.savez(cache, something=np.zeros(3))
    else:
        with np.load(cache) as file:
            np.savez(cache, **{**file, "made_from": file["made_from"] - 1})
    check_made_here(datasets.load(made_here))
    assert cache.read_bytes() == content
    assert sorted(cache.parent.iterdir()) == names  # no temporary file is left


def test_cache_that_cannot_be_written_is_left_out(made_here, tmp_path):
    (tmp_path / "autolabel_jax_cache").write_text("a file where the folder should be")
    check_made_here(datasets.load(made_here))


def test_tfrecord_folders_are_read(made_here, tmp_path):
    datasets.load(made_here)
    shutil.rmtree(tmp_path / "autolabel_jax_cache")
    folder = tmp_path / "made_here" / "1.0.0"
    for path in folder.glob("*.array_record-*"):
        records = array_record_module.ArrayRecordReader(str(path)).read_all()
        framed = (struct.pack("<Q4x", len(r)) + r + bytes(4) for r in records)
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(b"".join(framed))
        path.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    check_made_here(datasets.load(made_here))


def test_what_is_no_image_classification_set_is_refused(tmp_path, online):
    with pytest.raises(ValueError, match="dataset: 'made_here_ragged' has images of differing siz"):
        datasets.load(make_config("made_here_ragged", tmp_path))
    with pytest.raises(ValueError, match="dataset: 'made_here_regression' is not an image-classif"):
        datasets.load(make_config("made_here_regression", tmp_path))
    with pytest.raises(ValueError, match="dataset: 'made_here_unheld' has the splits train, extra"):
        datasets.load(make_config("made_here_unheld", tmp_path))
    with pytest.raises(ValueError, match="dataset: 'ag_news_subset' is not an image-classificatio"):
        datasets.load(make_config("ag_news_subset", tmp_path))


def test_unknown_names_are_refused_with_close_ones():
    for name in ("cifar01", "cifar1O"):
        with pytest.raises(ValueError, match="digits, arrays, .*did you mean .*'cifar10'"):
            datasets.load(make_config(name))
    with pytest.raises(ValueError, match="dataset: got 'cifar10:9.9.9', which TFDS refuses"):
        datasets.load(make_config("cifar10:9.9.9"))
    with pytest.raises(ValueError, match="dataset: got ''"):
        datasets.load(make_config(""))


def test_missing_set_names_the_folder_and_the_command(tmp_path, monkeypatch):
    def no_network(*args, **settings):
        raise socket.gaierror("Name or service not known")

    def no_download(*args, **settings):
        raise ConnectionError("refused")

    wanted = f"data_dir: 'mnist' is not prepared in {tmp_path} .*{{}}.*tfds build mnist "
    wanted += f"--data_dir={tmp_path} --file_format=array_record"
    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.getproxies", dict)
        patch.setattr(socket, "getaddrinfo", no_network)
        with pytest.raises(FileNotFoundError, match=wanted.format("Name or service not known")):
            datasets.load(make_config("mnist", tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **settings: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_download)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=wanted.format("ConnectionError: refused")):
        datasets.load(make_config("mnist"))


# TFDS: the real CIFAR-10


@pytest.fixture(scope="session")
def cifar10(load_check):
    """The first 10,000 training images in official order, read by the data's own script."""
    return load_check.load_cifar10("train", blocks=[1])


def test_cifar10_is_in_official_order(tfds_dir, cifar10, load_check):
    config = make_config("cifar10", tfds_dir, train_examples=10_000, test_examples=2_000)
    config.calibration.source = "train"
    test = load_check.load_cifar10("test", blocks=[0])
    for _ in range(2):  # the second time from the cache
        found = datasets.load(config)
        np.testing.assert_array_equal(found.train.input, cifar10["image"])
        np.testing.assert_array_equal(found.train.label, cifar10["label"])
        np.testing.assert_array_equal(found.test.input, test["image"])
        np.testing.assert_array_equal(found.test.label, test["label"])
    assert not sample.is_ordered(found.train.label) and not sample.is_ordered(found.test.label)
    assert found.class_names[:2] == ("airplane", "automobile")
    pixels = cifar10["image"].reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, pixels.std(0), rtol=1e-6)
    assert len(list(tfds_dir.glob("autolabel_jax_cache/*.npz"))) == 2


# CIFAR-100's superclasses


def test_superclasses_of_cifar100_are_twenty_of_five():
    found = superclasses.of("cifar100")
    assert found.dtype == np.int32 and found.shape == (100,)
    assert (np.bincount(found) == 5).all() and len(np.bincount(found)) == 20
    assert list(superclasses.CIFAR100) == sorted(superclasses.CIFAR100)
    # The first five of the official files: apple, aquarium_fish, baby, bear, beaver.
    names = list(superclasses.CIFAR100)
    expected = ["fruit_and_vegetables", "fish", "people", "large_carnivores", "aquatic_mammals"]
    assert [names[c] for c in found[:5]] == expected
    np.testing.assert_array_equal(superclasses.of("cifar100:3.0.2"), found)
    assert superclasses.of("cifar10") is None


def test_superclasses_are_those_of_the_official_files(load_check):
    try:
        test = load_check.load_cifar100("test")
    except FileNotFoundError as error:
        pytest.skip(f"no real CIFAR-100: {error}")
    np.testing.assert_array_equal(superclasses.of("cifar100")[test["label"]], test["coarse_label"])
    assert not sample.is_ordered(test["label"])


def test_most_data_sets_have_no_superclasses(digits):
    assert digits.superclass is None
