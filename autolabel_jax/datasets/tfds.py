"""Reads image-classification sets of TensorFlow Datasets without TensorFlow.

Records are decoded once and cached as uint8 next to the prepared folder. Sets
without a 'test' split are evaluated on 'validation'. Records whose ``id``
contains the official number, such as CIFAR's 'train_00042', are sorted by it;
all others keep the fixed, shuffled order of TFDS.
"""

import contextlib
import difflib
import os
import pathlib
import re
import socket
import struct
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from autolabel_jax import files
from autolabel_jax.datasets.split import Source, Split

FORMAT = "array_record"
CACHE = "autolabel_jax_cache"


def read(name: str, data_dir: str = "") -> Source:
    """Reads the 'train' and the 'test' (or 'validation') split.

    Args:
      name: name in TFDS, such as 'cifar10', 'cifar10_corrupted/fog_3' or 'mnist:3.0.1'.
      data_dir: folder of prepared sets; '' is $TFDS_DATA_DIR, or the default of
        TFDS, ~/tensorflow_datasets.

    Raises:
      ValueError: TFDS does not have the name, or the set does not consist of
        labelled images of one size.
      FileNotFoundError: the set is not prepared and cannot be prepared now.
    """
    builder, label, held = open_set(name, data_dir)
    assert label.num_classes is not None  # ``open_set`` checks it
    return Source(
        train=_cached(name, builder, "train"),
        test=_cached(name, builder, held[0]),
        num_classes=label.num_classes,
        class_names=tuple(label.names),
    )


def open_set(
    name: str, data_dir: str
) -> tuple[tfds.core.DatasetBuilder, tfds.features.ClassLabel, list[str]]:
    """Opens a set: returns its builder, its label feature, and the names of held-out splits.

    Arguments and errors are those of ``read``.
    """
    builder = _builder(name, data_dir)
    label = _label_feature(name, builder.info.features)
    if not builder.is_prepared():
        _prepare(name, builder)
    splits = builder.info.splits
    held = [split for split in ("test", "validation") if split in splits]
    if "train" not in splits or not held:
        raise ValueError(
            f"dataset: {name!r} has the splits {', '.join(splits)}; expected 'train' and "
            "'test' or 'validation'"
        )
    return builder, label, held


def read_split(name: str, split: str, data_dir: str = "") -> Split:
    """Reads one split of a prepared set, which does not need a 'train' split.

    Args:
      name: name in TFDS, see ``read``.
      split: name of the split in TFDS, such as 'test'.
      data_dir: folder of prepared sets, see ``read``.

    Raises:
      ValueError: see ``read``; or the set does not have the split.
      FileNotFoundError: see ``read``.
    """
    builder = _builder(name, data_dir)
    _label_feature(name, builder.info.features)
    if not builder.is_prepared():
        _prepare(name, builder)
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise ValueError(f"dataset: {name!r} has no split {split!r}, expected one of: {known}")
    return _cached(name, builder, split)


def _builder(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    folder = os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR", "")) or None
    try:
        return tfds.builder(name, data_dir=folder)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = ["digits", "arrays", "folder", *tfds.list_builders(with_community_datasets=False)]
        close = difflib.get_close_matches(name.split("/")[0].split(":")[0], known)
        meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"dataset: got {name!r}, expected one of: digits, arrays, folder, or an "
            f"image-classification set of TensorFlow Datasets{meant}"
        ) from error
    except Exception as error:  # every set has its own errors for a config or a version
        reason = str(error).split("\n")[0]
        raise ValueError(f"dataset: got {name!r}, which TFDS refuses: {reason}") from error


def _label_feature(name: str, features: Any) -> tfds.features.ClassLabel:
    keys = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = keys.get("image"), keys.get("label")
    labelled = isinstance(label, tfds.features.ClassLabel)
    if not isinstance(image, tfds.features.Image) or not labelled:
        raise ValueError(
            f"dataset: {name!r} is not an image-classification set: expected the features "
            f"'image' and 'label' (one class per image), got {', '.join(keys) or 'others'}"
        )
    if image.np_dtype != np.uint8:
        raise ValueError(f"dataset: {name!r} has {image.np_dtype} images, expected uint8")
    if not label.num_classes:
        raise ValueError(f"dataset: {name!r} does not declare its number of classes")
    return label


def _root(builder: tfds.core.DatasetBuilder) -> pathlib.Path:
    """Returns the data_dir of a builder, whose folder is data_dir / name [/ config] / version."""
    return pathlib.Path(builder.data_path).parents[builder.info.full_name.count("/")]


def _prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    root = _root(builder)
    try:
        # Without a network, TFDS would retry a download for minutes, so this is checked first.
        if not urllib.request.getproxies():
            socket.getaddrinfo("storage.googleapis.com", 443)
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:  # downloads and builders raise many types
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise FileNotFoundError(
            f"data_dir: {name!r} is not prepared in {root} and cannot be prepared now ({reason}). "
            "Prepare it where there is a network and TensorFlow, which only this step needs: "
            f"tfds build {name} --data_dir={root} --file_format={FORMAT}"
        ) from error


def _cached(name: str, builder: tfds.core.DatasetBuilder, split: str) -> Split:
    """Reads a split from the cache, after decoding it into the cache if necessary."""
    info = builder.info.splits[split]
    made_from = np.asarray([info.num_examples, info.num_bytes])
    path = cache_path(builder, f"{split}.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            if np.array_equal(file["made_from"], made_from):
                return Split(file["image"], file["label"], None, file["index"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # missing or damaged
    decoded = _decode(name, builder, split)
    write(path, image=decoded.input, label=decoded.label, index=decoded.index, made_from=made_from)
    return decoded


def cache_path(builder: tfds.core.DatasetBuilder, what: str) -> pathlib.Path:
    """Returns the path of the cache file for ``what`` of a set."""
    return _root(builder) / CACHE / f"{builder.info.full_name.replace('/', '-')}-{what}"


def write(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes a cache file atomically; does nothing if the folder is read-only."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        files.write_npz(path, **arrays)


def _decode(name: str, builder: tfds.core.DatasetBuilder, split: str) -> Split:
    num = builder.info.splits[split].num_examples
    label, ids, image = np.zeros(num, np.int32), [], None
    for i, example in enumerate(_examples(builder, split)):
        if image is None:
            image = np.zeros((num, *example["image"].shape), np.uint8)
        if example["image"].shape != image.shape[1:]:
            raise ValueError(
                f"dataset: {name!r} has images of differing sizes, {image.shape[1:]} and "
                f"{example['image'].shape}; use stream=True, which resizes them to image_size"
            )
        image[i], label[i] = example["image"], example["label"]
        ids.append(example.get("id", b""))
    if len(ids) != num or not num:
        raise ValueError(
            f"dataset: {name!r}: {builder.data_path} holds {len(ids)} of {num} {split} examples; "
            "delete the folder and prepare it again"
        )
    assert image is not None  # there is at least one example
    index = _official_index(ids, split)
    if np.all(index[:-1] < index[1:]):  # already sorted, so a large set is not copied
        return Split(image, label, None, index)
    order = np.argsort(index, kind="stable")
    return Split(image[order], label[order], None, index[order])


def _examples(builder: tfds.core.DatasetBuilder, split: str, rows: int = 500) -> Iterator[dict]:
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        for path in builder.info.splits[split].filepaths:
            for record in _tfrecords(path):
                yield builder.info.features.deserialize_example_np(record)
        return
    source = builder.as_data_source(split=split)
    for i in range(0, len(source), rows):  # reading a list at once is twice as fast
        yield from source.__getitems__(list(range(i, min(i + rows, len(source)))))


def _tfrecords(path: os.PathLike) -> Iterator[bytes]:
    """Yields the records of a TFRECORD file: length uint64, its checksum uint32, bytes, checksum.

    This is the default format of TFDS, which TFDS itself reads only with TensorFlow.
    """
    with open(path, "rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            yield file.read(length)
            file.seek(4, os.SEEK_CUR)


def _official_index(ids: list, split: str) -> np.ndarray:
    """Returns the numbers in ids such as 'train_00042', or the order of the records."""
    texts = (i.decode() if isinstance(i, bytes) else str(i) for i in ids)
    numbers = [re.fullmatch(rf"{split}_(\d+)", text) for text in texts]
    if not all(numbers):
        return np.arange(len(ids))
    return np.asarray([int(number[1]) for number in numbers if number], np.int64)
