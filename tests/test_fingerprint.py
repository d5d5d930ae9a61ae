"""Fingerprints of splits: hashes by hand, and the same wherever and however the data lie."""

import dataclasses
import hashlib
import os

import helpers
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from autolabel_jax import datasets
from autolabel_jax.datasets import Split, StreamedSplit, fingerprint, tfds_streamed

SPLIT = helpers.make_dataset(distance=True).train


def test_is_the_sha256_of_shapes_types_and_bytes():
    expected = hashlib.sha256()
    for told, array in (
        ("|u1 (48, 6, 6, 3)", SPLIT.input),
        ("<i4 (48,)", SPLIT.label),
        ("<f4 (48,)", SPLIT.distance),
    ):
        expected.update(told.encode() + array.tobytes())
    assert fingerprint.of_split(SPLIT) == expected.hexdigest()


def test_hangs_on_values_alone_not_on_their_place_in_memory(monkeypatch):
    expected = fingerprint.of_split(SPLIT)
    monkeypatch.setattr(fingerprint, "CHUNK_BYTES", 500)  # four and a half images
    assert fingerprint.of_split(SPLIT) == expected
    strided = dataclasses.replace(
        SPLIT,
        input=np.asfortranarray(SPLIT.input),
        label=np.repeat(SPLIT.label, 2)[::2],
        distance=SPLIT.distance.astype(">f4"),
    )
    assert fingerprint.of_split(strided) == expected
    elsewhere = dataclasses.replace(SPLIT, index=SPLIT.index + 7)
    assert fingerprint.of_split(elsewhere) == expected


def changed(**arrays) -> Split:
    return dataclasses.replace(SPLIT, **arrays)


@pytest.mark.parametrize(
    "other",
    [
        changed(input=SPLIT.input ^ (np.arange(48) == 47).astype(np.uint8)[:, None, None, None]),
        changed(input=SPLIT.input.reshape(48, 3, 6, 6)),
        changed(input=SPLIT.input.astype(np.int16)),
        changed(label=(SPLIT.label + 1) % 4),
        changed(label=SPLIT.label.astype(np.int64)),
        changed(distance=SPLIT.distance / 2),
        changed(distance=None),
        SPLIT.take(slice(47)),
        SPLIT.take(np.arange(48)[::-1]),
    ],
)
def test_tells_other_splits_apart(other):
    assert fingerprint.of_split(other) != fingerprint.of_split(SPLIT)


def write_folder(root, edge=12):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(6):
                image = rng.integers(0, 256, (edge, 12, 3), dtype=np.uint8)
                Image.fromarray(image).save(root / split / name / f"{i}.bmp")
    return root


def load_folder(root):
    settings = {"image_size": 8, "train_examples": 0, "test_examples": 0}
    return datasets.load(
        helpers.small_config(dataset="folder", data_dir=str(root), model__name="mlp", **settings)
    )


def splits_of(root):
    described = fingerprint.describe(load_folder(root))
    return {name: split["sha256"] for name, split in described["splits"].items()}


def test_folders_are_told_by_names_labels_and_sizes(tmp_path):
    expected = splits_of(write_folder(tmp_path / "one"))
    assert len(set(expected.values())) == 3
    again = write_folder(tmp_path / "two")
    for path in again.rglob("*.bmp"):
        os.utime(path, (0, 0))
    assert splits_of(again) == expected
    (again / "train" / "a" / "0.bmp").rename(again / "train" / "a" / "7.bmp")
    renamed = splits_of(again)
    assert renamed["train"] != expected["train"] and renamed["test"] == expected["test"]
    assert splits_of(write_folder(tmp_path / "three", edge=16))["test"] != expected["test"]


def test_a_streamed_calibration_split_is_told_without_its_pixels(tmp_path):
    """Another version of a decoder may give other pixels of the same files."""
    dataset = load_folder(write_folder(tmp_path / "one"))
    described = fingerprint.describe(dataset)
    assert isinstance(dataset.train, StreamedSplit) and isinstance(dataset.calibration, Split)
    image = dataset.calibration.input ^ 1
    other = dataclasses.replace(
        dataset, calibration=dataclasses.replace(dataset.calibration, input=image)
    )
    assert fingerprint.describe(other) == described
    assert fingerprint.differences(described, described) == []
    assert described["input"]["shape"] == [8, 8, 3]
    assert described["class_names"] == ["a", "b"]


def test_tfds_records_are_told_by_version_and_size(monkeypatch):
    class Info:
        full_name = "flowers/1.0.0"
        splits = {"train": tfds.core.SplitInfo("train", [4, 5], 1234)}

    class Builder:
        info = Info

    monkeypatch.setattr(tfds, "builder_from_directory", lambda folder: Builder)
    one, other = (tfds_streamed.TfdsRecords(folder, "train") for folder in ("here", "there"))
    assert one.fingerprint == other.fingerprint == "flowers/1.0.0 train 9 1234"


def test_features_tell_their_observed_range():
    image = np.array([[-1.5, 0], [2, 0.25], [0, 0]], np.float32)
    split = Split(image, np.array([0, 1, 0], np.int32), None, np.arange(3))
    dataset = dataclasses.replace(
        helpers.make_dataset(), train=split, calibration=split, test=split, class_names=("a", "b")
    )
    assert fingerprint.describe(dataset)["input"] == {
        **{"kind": "features", "shape": [2], "dtype": "float32"},
        **{"low": -1.5, "high": 2.0, "pad_value": 0},
    }


def test_differences_name_both_values():
    before = fingerprint.describe(helpers.make_dataset())
    now = {**before, "class_names": ["x", "y"], "splits": dict(before["splits"])}
    now["splits"]["test"] = {"sha256": "f" * 64, "examples": 7}
    sha256 = before["splits"]["test"]["sha256"][:12]
    assert fingerprint.differences(before, now) == [
        f"test split: 30 examples, sha256 {sha256}… then; 7, ffffffffffff… now",
        "class names: class 0 is None then, 'x' now",
    ]
    longer = {**now, "class_names": ["x", "y", "z"]}
    assert fingerprint.differences(now, longer) == ["class names: class 2 is None then, 'z' now"]
