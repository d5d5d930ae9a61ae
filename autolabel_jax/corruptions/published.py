"""Readers of the published corrupted sets: CIFAR-10-C, CIFAR-100-C, ImageNet-C, TFDS.

Each reader rejects a set that lacks a corruption or a severity and names what is missing, because
an average over fewer than 75 sets is not comparable.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from autolabel_jax.corruptions import CORRUPTIONS, SEVERITIES
from autolabel_jax.datasets import Split, fingerprint

# Corruptions whose name in TFDS differs.
TFDS_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}
SUFFIXES = (".jpeg", ".jpg", ".png")
TFDS_SET = "cifar10_corrupted"
READ_AT_ONCE = 10_000  # number of images of a set in memory at once


@dataclasses.dataclass(frozen=True)
class Published:
    """A folder of published sets, which is checked to be complete.

    Attributes:
      folder: path of the folder, as the user gave it.
      read: (corruption, severity, number of images, side in pixels) → the set in parts.
      fingerprint: SHA-256 that tells whether files were replaced, see ``fingerprint.of_files``.
    """

    folder: str
    read: Callable[[str, int, int, int], Iterator[Split]]
    fingerprint: str


def open_sets(folder: str, names: Sequence[str] = CORRUPTIONS) -> Published:
    """Opens the published sets in a folder; their format is recognised from its files.

    Args:
      folder: CIFAR-10-C or CIFAR-100-C (NAME.npy files and labels.npy), ImageNet-C
        (NAME/SEVERITY/WNID/*.JPEG), or a folder of TFDS sets with ``cifar10_corrupted``.
      names: names of the required corruptions.

    Raises:
      FileNotFoundError: the folder does not exist or holds none of these, or corruptions or
        severities are missing; the message names them.
    """
    root = pathlib.Path(folder).expanduser()
    if any(root.glob("*.npy")):
        _check_complete(folder, _missing_files(root, names))
        return Published(
            folder,
            lambda name, severity, num, size: _cifar_part(root, name, severity, num),
            fingerprint.of_files(root, [root / f"{name}.npy" for name in ("labels", *names)]),
        )
    if (root / TFDS_SET).is_dir():
        configs = _tfds_configs(str(root), names)
        return Published(
            folder,
            lambda name, severity, num, size: _tfds_part(str(root), configs[name, severity], num),
            fingerprint.of_files(root, (root / TFDS_SET).rglob("*.*")),
        )
    if any((root / name).is_dir() for name in names):
        classes = _classes(folder, root, names)
        return Published(
            folder,
            lambda name, severity, num, size: _imagenet_parts(
                root, classes, name, severity, num, size
            ),
            fingerprint.of_files(
                root,
                # The time of a folder changes when a file is added or removed.
                [
                    root / name / str(severity) / wnid
                    for name in names
                    for severity in SEVERITIES
                    for wnid in classes
                ],
            ),
        )
    raise FileNotFoundError(
        f"--corrupted_data: {folder} holds no published sets; expected .npy files as in "
        f"CIFAR-10-C, folders {names[0]}/1/… as in ImageNet-C, or TFDS's {TFDS_SET}"
    )


def _check_complete(folder: str, missing: list[str]) -> None:
    if missing:
        raise FileNotFoundError(
            f"--corrupted_data: {folder} lacks {', '.join(missing)}; a corrupted average is over "
            f"all {len(CORRUPTIONS)} corruptions at {len(SEVERITIES)} severities"
        )


def _missing_files(root: pathlib.Path, names: Sequence[str]) -> list[str]:
    return [f"{f}.npy" for f in ("labels", *names) if not (root / f"{f}.npy").is_file()]


def _cifar_part(root: pathlib.Path, name: str, severity: int, num: int) -> Iterator[Split]:
    label = np.load(root / "labels.npy").astype(np.int32)
    image = np.load(root / f"{name}.npy", mmap_mode="r")
    if len(image) != len(label) or len(label) % 5 or image.dtype != np.uint8:
        raise ValueError(
            f"--corrupted_data: {root / name}.npy holds {image.dtype} {image.shape}; expected "
            f"uint8 images of five severities, as many as labels.npy has ({len(label)})"
        )
    each = len(label) // 5
    first = (severity - 1) * each
    rows = slice(first, first + min(num, each))
    yield Split(np.array(image[rows]), label[rows], None, np.arange(rows.stop - first))


def _tfds_configs(data_dir: str, names: Sequence[str]) -> dict[tuple[str, int], str]:
    """(corruption, severity) → TFDS's name of the set; checks that all are prepared."""
    import tensorflow_datasets as tfds  # slow to import

    configs = {
        (name, severity): f"{TFDS_NAMES.get(name, name)}_{severity}"
        for name in names
        for severity in SEVERITIES
    }
    missing = [
        config
        for config in configs.values()
        if not tfds.builder(f"{TFDS_SET}/{config}", data_dir=data_dir).is_prepared()
    ]
    _check_complete(data_dir, missing)
    return configs


def _tfds_part(data_dir: str, config: str, num: int) -> Iterator[Split]:
    from autolabel_jax.datasets import tfds as tfds_reader  # slow to import

    split = tfds_reader.read_split(f"{TFDS_SET}/{config}", "test", data_dir)
    yield split.take(slice(num))


def _imagenet_paths(
    root: pathlib.Path, classes: list[str], name: str, severity: int
) -> list[tuple[pathlib.Path, int]]:
    """Lists (file, label) of a set, class by class."""
    return [
        (path, label)
        for label, wnid in enumerate(classes)
        for path in sorted((root / name / str(severity) / wnid).iterdir())
        if path.suffix.lower() in SUFFIXES
    ]


def _imagenet_parts(root, classes, name, severity, num, size) -> Iterator[Split]:
    paths = _imagenet_paths(root, classes, name, severity)
    # Evenly spaced, because the first ``num`` files would be of the first classes alone.
    paths = paths[:: max(len(paths) // num, 1)][:num]
    first = 0
    for image, label in _decoded(paths, READ_AT_ONCE, size):
        yield Split(image, label, None, np.arange(first, first + len(label)))
        first += len(label)


def _classes(folder: str, root: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Returns the names of the class folders, which must be the same in all sets."""
    by_set = {}
    for name in names:
        for severity in SEVERITIES:
            place = root / name / str(severity)
            by_set[f"{name}/{severity}"] = (
                {p.name for p in place.iterdir() if p.is_dir()} if place.is_dir() else set()
            )
    every = set().union(*by_set.values())
    missing = [place for place, classes in by_set.items() if not classes]
    missing += [
        f"{place}/{wnid}" for place, has in by_set.items() if has for wnid in sorted(every - has)
    ]
    _check_complete(folder, missing)
    return sorted(every)


def _decoded(
    paths: list[tuple[pathlib.Path, int]], batch_size: int, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, len(paths), batch_size):
        some = paths[first : first + batch_size]
        label = np.asarray([label for _, label in some], np.int32)
        yield np.stack([_image(path, size) for path, _ in some]), label


def _image(path: pathlib.Path, size: int) -> np.ndarray:
    with Image.open(path) as file:
        image = np.asarray(file.convert("RGB"))
    if image.shape != (size, size, 3):
        raise ValueError(f"size: {path} is {image.shape[1]} x {image.shape[0]} pixels, not {size}")
    return image
