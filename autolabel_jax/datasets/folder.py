"""Reads photographs from folders: train/CLASS/*.jpg, and val/CLASS/ (or validation/, test/).

Folders inside a class are read too. Each image is decoded once to find unreadable ones; what was
found is kept in ``autolabel_jax_cache/`` beside train/, until a file changes.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
import warnings
from collections.abc import Callable

import numpy as np

from autolabel_jax import processes
from autolabel_jax.datasets import readable

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga", ".qoi"),
)
HELD_OUT = ("val", "validation", "test")  # the first existing folder is used
ORDER_SEED = 0  # shuffles the images; independent of the seed of a run
HIDDEN, EMPTY = "hidden files and folders", "empty folders"
SHOWN = 20  # largest number of classes in a message
OUTSIDE = "files outside class folders"
SPECIAL = "pipes, devices and broken links"


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
        folder, names = os.fsencode(self.folder), self.name.tolist()
        digest = hashlib.sha256(b"\0".join(names))
        digest.update(self.label.astype("<i4").tobytes())
        sizes = [os.stat(os.path.join(folder, name)).st_size for name in names]
        digest.update(np.array(sizes, "<i8").tobytes())
        return digest.hexdigest()


@dataclasses.dataclass
class Found:
    """Collects what a scan of one split finds."""

    folder: pathlib.Path
    images: dict[str, list[str]]  # class → paths in the folder of the class
    others: dict[str, collections.Counter]  # class → number of other files by kind
    left_out: collections.Counter  # number of entries that are not read, by kind
    nested: int = 0  # number of images in folders inside a class
    classes: frozenset[str] = frozenset()  # folders that hold any file


def read(
    data_dir: str, *, skip_unreadable: bool = False
) -> tuple[FolderRecords, FolderRecords, tuple[str, ...]]:
    """Lists training images, held-out images and classes, which are the sorted names in train/.

    One line on standard error says how many images were found, and what was left out.

    Args:
      data_dir: path of the folder.
      skip_unreadable: whether to leave out images that cannot be decoded.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: a class has no image in one of the splits, or an image cannot be decoded.
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
    splits = [_scan(folder) for folder in (root / "train", held)]
    _check_classes(*splits)
    images = [_paths(found) for found in splits]
    unreadable, turned = readable.find(root, [path for paths in images for path in paths])
    if unreadable and not skip_unreadable:
        raise ValueError(
            f"data_dir: {root} has unreadable images ({len(unreadable)}): "
            f"{', '.join(f'{_shown(path)} ({why})' for path, why in unreadable.items())}; "
            "repair or remove them, or leave them out with data.skip_unreadable=True"
        )
    for found in splits:
        _drop(found, unreadable)
    if unreadable:
        _check_classes(*splits)
    _tell(root, splits, len(unreadable), turned)
    classes = tuple(sorted(splits[0].classes))
    return _records(splits[0], classes), _records(splits[1], classes), classes


def _scan(folder: pathlib.Path) -> Found:
    """Lists the images of each class, and counts everything else."""
    found = Found(folder, {}, {}, collections.Counter())
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            found.left_out[HIDDEN] += 1
        elif _is(entry.is_dir):
            found.images[entry.name] = []
            found.others[entry.name] = collections.Counter()
            _scan_class(found, entry.name, entry.path, "", ())
        elif _is(entry.is_file):
            found.left_out[OUTSIDE] += 1
        else:
            found.left_out[SPECIAL] += 1
    for others in found.others.values():
        found.left_out += others
    found.classes = frozenset(n for n, images in found.images.items() if images or found.others[n])
    found.left_out[EMPTY] += len(found.images) - len(found.classes)
    return found


def _scan_class(found: Found, name: str, path: str, inside: str, above: tuple) -> None:
    """Adds what a folder of a class holds; ``above`` are the folders that it is in."""
    status = os.stat(path)
    identity = status.st_dev, status.st_ino
    if identity in above:
        return  # a link to a folder that it is in
    for entry in os.scandir(path):
        ending = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            found.left_out[HIDDEN] += 1
        elif _is(entry.is_dir):
            _scan_class(found, name, entry.path, f"{inside}{entry.name}/", (*above, identity))
        elif not _is(entry.is_file):
            found.left_out[SPECIAL] += 1
        elif ending in ENDINGS:
            found.images[name].append(inside + entry.name)
            found.nested += bool(inside)
        else:
            kind = f"files ending in {ending}" if ending else "files without ending"
            found.others[name][kind] += 1


def _is(kind: Callable[[], bool]) -> bool:
    """Returns what ``is_dir`` or ``is_file`` says of an entry; False for a link to itself."""
    try:
        return kind()
    except OSError:
        return False


def _check_classes(train: Found, held: Found) -> None:
    """Checks that both splits have images of all classes.

    Raises:
      ValueError: one has none of some class.
    """
    if not (train.classes or held.classes):
        raise ValueError(
            f"data_dir: {train.folder} has no images{_left_out(train.left_out)}; expected one "
            f"folder per class with files that end in {', '.join(ENDINGS)}"
        )
    lacking = []
    for found, other in ((train, held), (held, train)):
        for name in sorted(found.classes | other.classes):
            if not found.images.get(name):
                others = found.others.get(name, collections.Counter())
                lacking.append(f"{found.folder.name}/{_shown(name)}{_left_out(others)}")
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        raise ValueError(
            f"data_dir: {train.folder.parent} has classes without an image in "
            f"{', '.join(lacking[:SHOWN])}{more}; each class needs images in {train.folder.name}/ "
            f"and {held.folder.name}/: add some, or remove the class from both"
        )


def _paths(found: Found) -> list[str]:
    """Returns the paths of all images from the folder of both splits."""
    folder = found.folder.name
    return [f"{folder}/{name}/{image}" for name, images in found.images.items() for image in images]


def _drop(found: Found, unreadable: dict[str, str]) -> None:
    for name, images in found.images.items():
        of_class = f"{found.folder.name}/{name}/"
        found.images[name] = [image for image in images if of_class + image not in unreadable]


def _tell(root: pathlib.Path, splits: list[Found], unreadable: int, turned: int) -> None:
    """Says in one line what was read and left out; as a warning if images may be missing."""
    train, held = (len(_paths(found)) for found in splits)
    left_out = splits[0].left_out + splits[1].left_out
    left_out["unreadable images"] += unreadable
    nested = splits[0].nested + splits[1].nested
    line = (
        f"data_dir: {root}: read {train} images in train/ and {held} in {splits[1].folder.name}/ "
        f"of {len(splits[0].classes)} classes"
        + (f", {nested} in nested folders" if nested else "")
        + (f", {turned} turned by their EXIF orientation" if turned else "")
        + _left_out(left_out)
    )
    if left_out.total():
        warnings.warn(line, stacklevel=4)
    elif processes.is_first():
        print(line, file=sys.stderr)


def _left_out(counts: collections.Counter) -> str:
    kinds = [f"{_shown(kind)} ({num})" for kind, num in sorted(counts.items()) if num]
    return f"; left out: {', '.join(kinds)}" if kinds else ""


def _shown(name: str) -> str:
    """Returns a name from the disk as it can stand in a line."""
    return name if name.isprintable() else repr(name)


def _records(found: Found, classes: tuple[str, ...]) -> FolderRecords:
    names, labels = [], []
    for label, of_class in enumerate(classes):
        images = sorted(found.images[of_class])
        names += [os.fsencode(f"{of_class}/{name}") for name in images]
        labels += [label] * len(images)
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    order = np.random.RandomState(ORDER_SEED).permutation(len(names))
    folder = str(found.folder)
    return FolderRecords(folder, np.array(names)[order], np.array(labels, np.int32)[order])
