"""Any image-classification set of TFDS as encoded records, read one by one without TensorFlow."""

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
    """A split of a prepared set, in TFDS's own order, which is shuffled once and fixed."""

    folder: str  # of the prepared set: data_dir / name [/ config] / version
    split: str

    def __len__(self) -> int:
        return len(_source(self.folder, self.split))

    def read(self, row: int) -> tuple[bytes, int]:
        """Content of an image file, and its label."""
        found = _source(self.folder, self.split)[row]
        return found["image"], int(found["label"])

    def labels(self) -> np.ndarray:
        """int32 [n]: takes a pass over the records, once; then kept beside the prepared folder."""
        builder = tfds.builder_from_directory(self.folder)
        info = builder.info.splits[self.split]
        made_from = np.asarray([info.num_examples, info.num_bytes])
        path = cache_path(builder, f"{self.split}-labels.npz")
        try:
            with np.load(path, allow_pickle=False) as file:
                if np.array_equal(file["made_from"], made_from):
                    return file["label"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            pass  # none yet, or a damaged one
        label = np.array([self.read(row)[1] for row in range(len(self))], np.int32)
        write(path, label=label, made_from=made_from)
        return label

    @property
    def fingerprint(self) -> str:
        """Name and version of the set, the split, its number of examples and of bytes."""
        info = tfds.builder_from_directory(self.folder).info
        split = info.splits[self.split]
        return f"{info.full_name} {self.split} {split.num_examples} {int(split.num_bytes)}"


def read(name: str, data_dir: str) -> tuple[TfdsRecords, TfdsRecords, tuple[str, ...]]:
    """The 'train' split, the 'test' (or 'validation') split, and the names of the classes.

    A 'test' split without labels, as that of imagenet2012, is passed over.

    Args:
      name: as TFDS spells it.
      data_dir: folder of prepared sets; see ``tfds.read``.

    Raises:
      ValueError: no such set, or records without random access.
      FileNotFoundError: the set is not prepared and cannot be prepared now.
    """
    builder, label, held = open_set(name, data_dir)
    folder = str(builder.data_path)
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"stream: {folder} holds {name!r} as TFRECORD, whose records cannot be read in any "
            f"order; write it anew with `tfds convert_format --dataset_version_dir={folder} "
            f"--out_file_format={FORMAT} --out_dir=…`"
        )
    splits = [TfdsRecords(folder, split) for split in held]
    labelled = [records for records in splits if len(records) and records.read(0)[1] >= 0]
    if not labelled:
        raise ValueError(f"dataset: {name!r}: no labels in the splits {', '.join(held)}")
    return TfdsRecords(folder, "train"), labelled[0], tuple(label.names)


@functools.lru_cache(maxsize=8)
def _source(folder: str, split: str) -> Any:
    """The records of a split, opened once in each process."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder: Any = tfds.builder_from_directory(folder)  # its decorators hide the signatures
    return builder.as_data_source(split=split, decoders=decoders)
