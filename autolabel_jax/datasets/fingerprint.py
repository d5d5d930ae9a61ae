"""Describes a data set in a few lines of JSON, to use a model and to recognise its data.

Fingerprints are SHA-256 of bytes in a fixed order, so they do not depend on machine, folder or
process.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from autolabel_jax.datasets.split import Dataset, Split
from autolabel_jax.datasets.streamed import StreamedSplit

CHUNK_BYTES = 2**24  # hashed at a time, so that a large array is not copied
SHOWN = 12  # hexadecimal digits of a fingerprint in messages


def of_split(split: Split | StreamedSplit) -> str:
    """Computes the SHA-256 of a split, in hexadecimal.

    For a split in memory, it covers inputs, labels, distances and groups with shapes and types. For
    a split on disk, whose decoding can differ between versions of a library, it covers the
    ``fingerprint`` of the records and the rows of the split.
    """
    digest = hashlib.sha256()
    if isinstance(split, StreamedSplit):
        digest.update(split.records.fingerprint.encode())
        add_array(digest, split.index.astype(np.int64))
        return digest.hexdigest()
    for array in (split.input, split.label, split.distance):
        if array is None:
            digest.update(b"none")
        else:
            add_array(digest, array)
    if split.group is not None:
        add_array(digest, split.group)
    return digest.hexdigest()


def of_arrays(arrays: Iterable[Any]) -> str:
    """Computes the SHA-256 of arrays in their order, such as the leaves of a pytree, in hex."""
    digest = hashlib.sha256()
    for array in arrays:
        add_array(digest, np.atleast_1d(np.asarray(array)))
    return digest.hexdigest()


def of_files(root: pathlib.Path, paths: Iterable[pathlib.Path]) -> str:
    """Computes the SHA-256 of the names, sizes and times of change of files, in hexadecimal.

    It recognises files without reading them; a copy has other times, unless they were preserved.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        stat = path.stat()
        digest.update(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def add_array(digest: Any, array: np.ndarray) -> None:
    """Adds shape, type and values to a ``hashlib`` hash, little-endian and in row order."""
    little = array.dtype.newbyteorder("<")
    digest.update(f"{little.str} {array.shape}".encode())
    row = max(1, array[:1].nbytes)
    step = max(1, CHUNK_BYTES // row)
    for first in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[first : first + step], little))


def describe(dataset: Dataset) -> dict[str, Any]:
    """Returns what a trained model needs to know about its data, as JSON values.

    These are ``input`` (the ``InputSpec``), ``mean``, ``std``, ``class_names``, ``num_classes``,
    for each of ``splits`` the ``sha256`` and the number of ``examples``, and ``encoding`` if stored
    values were encoded.
    """
    encoding = {} if dataset.encoding is None else {"encoding": dataset.encoding}
    return {
        "name": dataset.name,
        "input": dataclasses.asdict(dataset.spec) | {"shape": list(dataset.spec.shape)},
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "num_classes": dataset.num_classes,
        "class_names": None if dataset.class_names is None else list(dataset.class_names),
        "splits": {
            "train": _split(dataset.train),
            "calibration": _split(_stored_calibration(dataset)),
            "test": _split(dataset.test),
        },
        **encoding,
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Lists the differences of two data sets, each with both values.

    Args:
      before: earlier result of ``describe``.
      now: current result of ``describe``.
    """
    changes = []
    for name, split in now["splits"].items():
        was = before.get("splits", {}).get(name, {"examples": "no", "sha256": "unknown"})
        if split != was:
            changes.append(
                f"{name} split: {was['examples']} examples, sha256 {was['sha256'][:SHOWN]}… then; "
                f"{split['examples']}, {split['sha256'][:SHOWN]}… now"
            )
    names = before.get("class_names") or [], now["class_names"] or []
    if names[0] != names[1]:
        changes.append(f"class names: {_first_difference(*names)}")
    return changes


def _split(split: Split | StreamedSplit) -> dict[str, Any]:
    return {"sha256": of_split(split), "examples": len(split)}


def _stored_calibration(dataset: Dataset) -> Split | StreamedSplit:
    """Returns the calibration split as stored, since loading decodes a streamed one."""
    if isinstance(dataset.train, StreamedSplit):
        return dataclasses.replace(dataset.train, index=dataset.calibration.index)
    return dataset.calibration


def _first_difference(before: list[str], now: list[str]) -> str:
    num = min(len(before), len(now))
    place = next((i for i in range(num) if before[i] != now[i]), num)
    was, is_now = (names[place] if place < len(names) else None for names in (before, now))
    return f"class {place} is {was!r} then, {is_now!r} now"
