"""Reads encoded records of image-classification sets of TFDS one by one, without TensorFlow."""

import dataclasses
import functools
import zipfile
import zlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from autolabel_jax.datasets.tfds import FORMAT, cache_path, open_set, write


@dataclasses.dataclass(frozen=True)
class TfdsRecords:
    """Gives access to a split of a prepared set, in the fixed, shuffled order of TFDS."""

    folder: str  # folder of the prepared set: data_dir / name [/ config] / version
    split: str

    def __len__(self) -> int:
        return len(_source(self.folder, self.split))

    def read(self, row: int) -> tuple[bytes, int]:
        """Returns content of an image file, and its label."""
        record = _source(self.folder, self.split)[row]
        return record["image"], int(record["label"])

    def labels(self) -> np.ndarray:
        """Returns all labels, int32 [n], from the cache or from a pass over the records."""
        builder = tfds.builder_from_directory(self.folder)
        info = builder.info.splits[self.split]
        made_from = np.asarray([info.num_examples, info.num_bytes])
        path = cache_path(builder, f"{self.split}-labels.npz")
        try:
            with np.load(path, allow_pickle=False) as file:
                if np.array_equal(file["made_from"], made_from):
                    return file["label"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            pass  # missing or damaged
        label = np.array([self.read(row)[1] for row in range(len(self))], np.int32)
        write(path, label=label, made_from=made_from)
        return label

    @property
    def fingerprint(self) -> str:
        """Name and version of the set, name of the split, number of examples and bytes."""
        info = tfds.builder_from_directory(self.folder).info
        split = info.splits[self.split]
        return f"{info.full_name} {self.split} {split.num_examples} {int(split.num_bytes)}"


def read(name: str, data_dir: str) -> tuple[TfdsRecords, TfdsRecords, tuple[str, ...]]:
    """Opens the 'train' and the 'test' (or 'validation') split, and returns the class names too.

    A 'test' split without labels, such as that of imagenet2012, is skipped.

    Args:
      name: name in TFDS.
      data_dir: folder of prepared sets; see ``tfds.read``.

    Raises:
      ValueError: the set does not exist, or its records have no random access.
      FileNotFoundError: the set is not prepared and cannot be prepared now.
    """
    builder, label, held = open_set(name, data_dir)
    folder = str(builder.data_path)
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"stream: {folder} holds {name!r} as TFRECORD, whose records have no random "
            f"access; convert it with `tfds convert_format --dataset_version_dir={folder} "
            f"--out_file_format={FORMAT} --out_dir=…`"
        )
    splits = [TfdsRecords(folder, split) for split in held]
    labelled = [records for records in splits if len(records) and records.read(0)[1] >= 0]
    if not labelled:
        raise ValueError(f"dataset: {name!r}: no labels in the splits {', '.join(held)}")
    return TfdsRecords(folder, "train"), labelled[0], tuple(label.names)


@functools.lru_cache(maxsize=8)
def _source(folder: str, split: str) -> Any:
    """Opens the records of a split, once in each process."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder: Any = tfds.builder_from_directory(folder)  # its decorators hide the signatures
    return builder.as_data_source(split=split, decoders=decoders)
