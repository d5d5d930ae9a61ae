"""Photographs that stay on disk: what is cut out of them, and who reads them, against Pillow."""

import io
import socket

import numpy as np
import photograph_folders
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import stats

from autolabel_jax import datasets
from autolabel_jax.datasets import StreamedSplit, folder, photographs
from configs import base

BILINEAR = Image.Resampling.BILINEAR


def encoded(image, form="PNG", **settings):
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def picture(width, height, seed=0):
    return photograph_folders.picture(np.random.default_rng(seed), width, height)


# The random part


def torchvision_boxes(num, width, height, seed=0):
    """RandomResizedCrop.get_params by hand, ``num`` at once: left, top, width, height [num]."""
    rng = np.random.default_rng(seed)
    found = np.full((num, 4), -1)
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1, num)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), num))
        w, h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        left = np.floor(rng.random(num) * (width - w + 1))
        top = np.floor(rng.random(num) * (height - h + 1))
        new = (found[:, 0] < 0) & (w <= width) & (h <= height)
        found[new] = np.stack([left, top, w, h], 1)[new]
    return found[found[:, 0] >= 0]


def test_parts_are_distributed_as_those_of_torchvision():
    random = np.random.RandomState(0)
    boxes = np.array([photographs.random_box(random, 500, 375) for _ in range(4000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0 and top.min() >= 0
    assert right.max() <= 500 and bottom.max() <= 375
    mine = np.stack([left, top, right - left, bottom - top], 1)
    theirs = torchvision_boxes(4000, 500, 375)
    assert len(theirs) > 3990  # hardly any part falls back on the middle
    for name, of in {
        "area": lambda box: box[:, 2] * box[:, 3],
        "ratio": lambda box: box[:, 2] / box[:, 3],
        "left": lambda box: box[:, 0],
        "top": lambda box: box[:, 1],
    }.items():
        assert stats.ks_2samp(of(mine), of(theirs)).pvalue > 1e-3, name


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        # No part of 8 % with a side of at most 10: torchvision's fallback, 10 / (3/4) = 13.3 high.
        (10, 1000, (0, 493, 10, 506)),
        (1000, 10, (493, 0, 506, 10)),
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_where_no_part_fits_it_is_the_middle(width, height, box):
    assert photographs.random_box(np.random.RandomState(3), width, height) == box


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_training_square_is_pillows_crop_resized(form, tmp_path):
    content = encoded(picture(70, 50), form)
    (tmp_path / "photograph").write_bytes(content)
    for seed in range(8):
        box = photographs.random_box(np.random.RandomState(seed), 70, 50)
        expected = Image.open(io.BytesIO(content)).crop(box).resize((32, 32), BILINEAR)
        for source in (content, str(tmp_path / "photograph")):
            found = photographs.training_square(source, np.random.RandomState(seed), 32)
            np.testing.assert_array_equal(found, expected)


def test_a_large_jpeg_decoded_at_a_part_of_its_size_looks_the_same():
    content, reduced = encoded(picture(601, 450), "JPEG", quality=95), 0
    for seed in range(8):
        box = photographs.random_box(np.random.RandomState(seed), 601, 450)
        whole = Image.open(io.BytesIO(content)).crop(box).resize((40, 40), BILINEAR)
        found = photographs.training_square(content, np.random.RandomState(seed), 40)
        error = np.abs(found.astype(int) - np.asarray(whole).astype(int))
        assert error.mean() < 1.5
        reduced += error.max() > 0
    assert reduced > 4


# The middle


@pytest.mark.parametrize(
    ("width", "height", "size", "resized", "corner"),
    [
        # 28 / .875 = 32, 32 · 80 / 50 = 51.2; Python rounds (51 - 28) / 2 = 11.5 to 12.
        (50, 80, 28, (32, 51), (2, 12)),
        (500, 375, 224, (341, 256), (58, 16)),
        (300, 300, 224, (256, 256), (16, 16)),
        (20, 16, 28, (40, 32), (6, 2)),  # enlarged
    ],
)
def test_evaluation_square_is_the_middle(width, height, size, resized, corner):
    image, (left, top) = picture(width, height), corner
    found = photographs.evaluation_square(encoded(image), size)
    expected = image.resize(resized, BILINEAR).crop((left, top, left + size, top + size))
    np.testing.assert_array_equal(found, expected)


# Folders


def make_config(dataset, data_dir, **fields):
    config = base.base()
    settings = {"dataset": dataset, "data_dir": str(data_dir), "image_size": 14, "crop_pad": 0}
    config.update_from_flattened_dict(settings | {"stream": True} | fields)
    return config


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photograph_folders.write(tmp_path_factory.mktemp("photos"))


def test_folders_are_classes(photos):
    train, held, classes = folder.read(photos)
    assert classes == ("ant", "bee", "cat")
    assert (len(train), len(held)) == (24, 12)
    for records, split in ((train, "train"), (held, "val")):
        paths = [records.read(i)[0] for i in range(len(records))]
        num = len(paths) // 3
        expected = [f"{photos}/{split}/{c}/{i}.jpg" for c in classes for i in range(num)]
        assert sorted(paths) == sorted(expected)
        labels = [records.read(i)[1] for i in range(len(paths))]
        assert [path.split("/")[-2] for path in paths] == [classes[label] for label in labels]
        np.testing.assert_array_equal(records.labels(), labels)
    again = folder.read(photos)[0]
    assert [again.read(i) for i in range(24)] == [train.read(i) for i in range(24)]
    assert set(train.label[:8]) == {0, 1, 2}  # the first third is no class of its own


def test_a_folder_is_cut_and_read_as_pillow_reads_it(photos):
    config = make_config("folder", photos, stream=False)  # needless to say
    config.calibration.fraction = 0.25
    found = datasets.load(config)
    assert (len(found.train), len(found.calibration), len(found.test)) == (18, 6, 12)
    index = np.concatenate([found.train.index, found.calibration.index])
    np.testing.assert_array_equal(np.sort(index), np.arange(24))
    train, held, _ = folder.read(photos)
    for split, records in ((found.calibration, train), (found.test, held)):
        for row in range(len(split)):
            path, label = records.read(split.index[row])
            image = Image.open(path)
            width, height = (int(16 * side / min(image.size)) for side in image.size)
            left, top = round((width - 14) / 2), round((height - 14) / 2)
            square = image.resize((width, height), BILINEAR).crop((left, top, left + 14, top + 14))
            np.testing.assert_array_equal(split.input[row : row + 1][0], square)
            assert split.label[row] == label
    np.testing.assert_allclose(found.mean, [0.485, 0.456, 0.406])
    assert found.train.input.shape == (18, 14, 14, 3)
    assert datasets.in_memory(found.test).input.shape == (12, 14, 14, 3)


def test_the_number_of_calibration_images_can_be_limited(photos):
    config = make_config("folder", photos)
    config.calibration.fraction, config.calibration.images = 0.5, 4
    found = datasets.load(config)
    assert (len(found.train), len(found.calibration)) == (20, 4)  # the others stay in training
    assert not set(found.train.index) & set(found.calibration.index)
    config.calibration.source = "train"
    found = datasets.load(config)
    assert (len(found.train), len(found.calibration)) == (24, 4)
    config.seed = 1
    other = datasets.load(config)
    assert set(other.calibration.index) != set(found.calibration.index)


def test_too_many_calibration_images_are_refused_before_they_are_decoded(photos, monkeypatch):
    monkeypatch.setattr(datasets, "CALIBRATION_BYTES", 2 * 14 * 14 * 3)
    with pytest.raises(ValueError, match="calibration.images: 12 images would take"):
        datasets.load(make_config("folder", photos, **{"calibration.fraction": 0.5}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_pad": 4}, "crop_pad: got 4, but streamed images"),
        ({"image_size": 0}, "image_size: got 0, must be between 1 and 4096"),
        ({"loader_workers": -1}, "loader_workers: got -1"),
        ({"calibration.images": -1}, "calibration.images: got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(photos, fields, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(make_config("folder", photos, **fields))


def test_sets_in_memory_are_not_streamed():
    with pytest.raises(ValueError, match="stream: got True with dataset='digits'"):
        datasets.load(make_config("digits", ""))


def test_a_photograph_that_breaks_after_the_scan_is_named(tmp_path):
    photograph_folders.write(tmp_path, train=1, held=1)
    records = folder.read(str(tmp_path))[1]
    path = tmp_path / "val" / "bee" / "0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    split = StreamedSplit(records, np.arange(3), 14, 0)
    with pytest.raises(OSError, match=f"data_dir: {path} is not a readable image"):
        datasets.in_memory(split)


# TFDS


class Snapshots(tfds.core.GeneratorBasedBuilder):
    """Thirty photographs of differing sizes, a test split without labels, ten to validate on."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        features = {"image": image, "label": tfds.features.ClassLabel(names=["a", "b"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._examples(num, name) for name, num in SIZES.items()}

    def _examples(self, num, name):
        for i in range(num):
            content = encoded(snapshot(name, i), "JPEG", quality=95)
            yield i, {"image": io.BytesIO(content), "label": -1 if name == "test" else i % 2}

    def _generate_examples(self):
        raise AssertionError("the splits bring their own generators")


SIZES = {"train": 30, "test": 3, "validation": 10}


def snapshot(name, i):
    return picture(20 + i, 50 - i, seed=100 * SIZES[name] + i)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **settings: [])
    config = make_config("snapshots", tmp_path)
    datasets.load(config)
    return config


def middle(image):
    content = encoded(image, "JPEG", quality=95)
    return photographs.evaluation_square(content, 14)


def test_tfds_records_are_read_one_by_one(prepared, tmp_path):
    found = datasets.load(prepared)
    assert (len(found.train), len(found.calibration), len(found.test)) == (27, 3, 10)
    assert found.num_classes == 2
    expected = {middle(snapshot("validation", i)).tobytes(): i % 2 for i in range(10)}
    squares = found.test.input[np.arange(10)]
    assert {square.tobytes() for square in squares} == set(expected)
    for square, label in zip(squares, found.test.label):
        assert expected[square.tobytes()] == label
    of_train = {middle(snapshot("train", i)).tobytes(): i % 2 for i in range(30)}
    for square, label in zip(found.calibration.input, found.calibration.label):
        assert of_train[square.tobytes()] == label
    (cache,) = tmp_path.glob("*cache/*-validation-labels.npz")
    np.savez(cache, label=1 - found.test.label, made_from=np.load(cache)["made_from"])
    kept = datasets.load(prepared).test.label  # the images are not read again
    np.testing.assert_array_equal(kept, 1 - found.test.label)
    cache.write_bytes(b"damaged")
    np.testing.assert_array_equal(datasets.load(prepared).test.label, found.test.label)


def test_tfrecords_are_refused_with_the_command_that_converts_them(prepared, tmp_path):
    info = tmp_path / "snapshots" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="stream: .*tfds convert_format --dataset_version_dir="):
        datasets.load(prepared)


def test_differing_sizes_without_stream_say_what_would_do(prepared):
    prepared.stream = False
    with pytest.raises(ValueError, match="differing sizes, .*; use stream=True"):
        datasets.load(prepared)
