"""Readers of the published corrupted sets: CIFAR-10-C, CIFAR-100-C, ImageNet-C, TFDS.

Each refuses a set that lacks a corruption or a severity, and names what is
missing: an average over fewer than 75 sets is another number.
"""

import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from autolabel_jax.corruptions import CORRUPTIONS, SEVERITIES
from autolabel_jax.datasets import Split

# Where TFDS calls a corruption otherwise.
TFDS_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}
SUFFIXES = (".jpeg", ".jpg", ".png")


def check_complete(folder: str, missing: list[str]) -> None:
    """Refuses an incomplete set.

    Raises:
      FileNotFoundError: ``missing`` names something.
    """
    if missing:
        raise FileNotFoundError(
            f"corrupted_dir: {folder} lacks {', '.join(missing)}; a corrupted average is over all "
            f"{len(CORRUPTIONS)} corruptions at {len(SEVERITIES)} severities"
        )


def cifar_c(folder: str) -> Iterator[tuple[str, int, Split]]:
    """(corruption, severity, split) of each set of CIFAR-10-C or CIFAR-100-C.

    Args:
      folder: holds NAME.npy uint8 [5n, 32, 32, 3], severity after severity, and
        labels.npy [5n]. n is 10,000 in the published sets.

    Raises:
      FileNotFoundError: files are missing; all of them are named, before anything is read.
      ValueError: a file does not hold five sets of the labels' images.
    """
    root = pathlib.Path(folder).expanduser()
    files = ("labels", *CORRUPTIONS)
    check_complete(folder, [f"{f}.npy" for f in files if not (root / f"{f}.npy").is_file()])
    return _cifar_sets(root)


def _cifar_sets(root: pathlib.Path) -> Iterator[tuple[str, int, Split]]:
    label = np.load(root / "labels.npy").astype(np.int32)
    for name in CORRUPTIONS:
        image = np.load(root / f"{name}.npy", mmap_mode="r")
        if len(image) != len(label) or len(label) % 5 or image.dtype != np.uint8:
            raise ValueError(
                f"corrupted_dir: {root / name}.npy holds {image.dtype} {image.shape}; needed are "
                f"uint8 images, five severities of them, as many as labels.npy has ({len(label)})"
            )
        n = len(label) // 5
        for severity in SEVERITIES:
            rows = slice((severity - 1) * n, severity * n)
            yield name, severity, Split(np.array(image[rows]), label[rows], None, np.arange(n))


def tfds_cifar10(data_dir: str = "") -> Iterator[tuple[str, int, Split]]:
    """(corruption, severity, split) of each config of TFDS ``cifar10_corrupted``.

    Args:
      data_dir: folder of prepared sets (in array_record files); '' is TFDS's default.

    Raises:
      FileNotFoundError: configs are not prepared; all of them are named.
    """
    sets = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    configs = {f"{TFDS_NAMES.get(n, n)}_{s}": (n, s) for n, s in sets}
    builders = {
        config: tfds.builder(f"cifar10_corrupted/{config}", data_dir=data_dir or None)
        for config in configs
    }
    missing = [config for config, builder in builders.items() if not builder.is_prepared()]
    check_complete(data_dir or "TFDS's folder", missing)
    return ((*configs[config], _tfds_split(builder)) for config, builder in builders.items())


def _tfds_split(builder: tfds.core.DatasetBuilder) -> Split:
    source = builder.as_data_source(split="test")
    examples = [source[i] for i in range(len(source))]
    image = np.stack([example["image"] for example in examples])
    label = np.asarray([example["label"] for example in examples], np.int32)
    return Split(image, label, None, np.arange(len(label)))


def imagenet_c(
    folder: str, name: str, severity: int, batch_size: int, size: int = 224
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of one set of ImageNet-C: (image uint8 [b, size, size, 3], label int32 [b]).

    Args:
      folder: holds NAME/SEVERITY/WNID/*.JPEG. Labels are the places of the WordNet ids in
        alphabetical order, the usual numbers of the classes.
      name: of a corruption.
      severity: 1 … 5.
      batch_size: the last batch may be smaller.
      size: side that the images must have, in pixels.

    Raises:
      FileNotFoundError: a corruption, a severity, or classes of one are missing; named.
      ValueError: an image of another size.
    """
    root = pathlib.Path(folder).expanduser()
    classes = _classes(folder, root)
    paths = [
        (path, label)
        for label, wnid in enumerate(classes)
        for path in sorted((root / name / str(severity) / wnid).iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    return _decoded(paths, batch_size, size)


def _classes(folder: str, root: pathlib.Path) -> list[str]:
    """Names of the class folders, the same in all 75 sets."""
    found = {}
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            place = root / name / str(severity)
            found[f"{name}/{severity}"] = (
                {p.name for p in place.iterdir() if p.is_dir()} if place.is_dir() else set()
            )
    every = set().union(*found.values())
    missing = [place for place, classes in found.items() if not classes]
    missing += [
        f"{place}/{wnid}" for place, has in found.items() if has for wnid in sorted(every - has)
    ]
    check_complete(folder, missing)
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
