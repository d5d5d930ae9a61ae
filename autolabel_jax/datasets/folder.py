"""Reads photographs from folders: train/CLASS/*.jpg, and val/CLASS/ (or validation/, test/)."""

import dataclasses
import functools
import hashlib
import os
import pathlib

import numpy as np

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
HELD_OUT = ("val", "validation", "test")  # the first existing folder is used
ORDER_SEED = 0  # shuffles the images; independent of the seed of a run


@dataclasses.dataclass(frozen=True)
class FolderRecords:
    """Lists image files in a fixed shuffled order, so that the first N are a fair sample."""

    folder: str
    name: np.ndarray  # bytes [n], paths in the folder; bytes are smaller to send than str
    label: np.ndarray  # int32 [n]

    def __len__(self) -> int:
        return len(self.name)

    def read(self, row: int) -> tuple[str, int]:
        """Returns path and label of an image."""
        return os.path.join(self.folder, os.fsdecode(self.name[row])), int(self.label[row])

    def labels(self) -> np.ndarray:
        """Returns all labels, int32 [n]."""
        return self.label

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, labels and sizes of the files in bytes; no image is read."""
        of_class = {os.path.dirname(name) for name in self.name.tolist()}
        sizes = {
            name + b"/" + os.fsencode(entry.name): entry.stat().st_size
            for name in of_class
            for entry in os.scandir(os.path.join(self.folder, os.fsdecode(name)))
        }
        digest = hashlib.sha256(b"\0".join(self.name.tolist()))
        digest.update(self.label.astype("<i4").tobytes())
        digest.update(np.array([sizes[name] for name in self.name.tolist()], "<i8").tobytes())
        return digest.hexdigest()


def read(data_dir: str) -> tuple[FolderRecords, FolderRecords, tuple[str, ...]]:
    """Lists training images, held-out images and classes, which are the sorted names in train/.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: there is no image, or a held-out class is missing in train/.
    """
    if not data_dir:
        raise ValueError("data_dir: got '', dataset='folder' needs the folder of train/ and val/")
    root = pathlib.Path(data_dir).expanduser()
    held = next((root / name for name in HELD_OUT if (root / name).is_dir()), root / HELD_OUT[0])
    for folder in (root / "train", held):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"data_dir: {folder} is missing; dataset='folder' reads train/CLASS/*.jpg and "
                f"{'/, '.join(HELD_OUT)}/"
            )
    classes = tuple(sorted(entry.name for entry in os.scandir(root / "train") if entry.is_dir()))
    return _records(root / "train", classes), _records(held, classes), classes


def _records(folder: pathlib.Path, classes: tuple[str, ...]) -> FolderRecords:
    unknown = sorted({e.name for e in os.scandir(folder) if e.is_dir()} - set(classes))
    if unknown:
        raise ValueError(
            f"data_dir: {folder} has {len(unknown)} classes that are not in train/: "
            f"{', '.join(unknown[:5])}"
        )
    names, labels = [], []
    for label, of_class in enumerate(classes):
        images = sorted(_images(folder / of_class))
        names += [os.fsencode(f"{of_class}/{name}") for name in images]
        labels += [label] * len(images)
    if not names:
        raise ValueError(
            f"data_dir: {folder} has no images; expected one folder per class with files "
            f"that end in {', '.join(ENDINGS)}"
        )
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    order = np.random.RandomState(ORDER_SEED).permutation(len(names))
    return FolderRecords(str(folder), np.array(names)[order], np.array(labels, np.int32)[order])


def _images(folder: pathlib.Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(ENDINGS)]
