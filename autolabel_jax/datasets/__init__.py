"""Loads a data set by name; the calibration split is cut from the training split only."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.datasets import (
    arrays,
    digits,
    external,
    folder,
    loader,
    superclasses,
)
from autolabel_jax.datasets.split import KINDS, Dataset, InputSpec, Source, Split
from autolabel_jax.datasets.streamed import StreamedSplit

__all__ = [
    "KINDS",
    "Dataset",
    "InputSpec",
    "Source",
    "Split",
    "StreamedSplit",
    "in_memory",
    "load",
]

CALIBRATION_SOURCES = ("heldout", "train")
MOMENT_IMAGES = 100_000  # mean and std of a larger set are those of about this number of images
IN_MEMORY = ("digits", "arrays")  # data sets that cannot be streamed
PHOTOGRAPH_MEAN, PHOTOGRAPH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
CALIBRATION_BYTES = 16 * 2**30  # maximum size of decoded calibration images on a device


def load(config: ConfigDict) -> Dataset:
    """Loads the data set that ``config.dataset`` names.

    The official splits are reduced to their first ``train_examples`` and ``test_examples``
    examples (0 = all), and calibration is cut from the reduced training split. With
    ``calibration.source='train'`` nothing is cut, and the calibration split is the training split,
    or ``calibration.images`` examples of it. With ``stream``, only the calibration images are
    decoded now, with the preprocessing of evaluation.

    Args:
      config: config with the fields dataset, data_dir, seed, train_examples, test_examples, stream,
        image_size, loader_workers and calibration.*.

    Raises:
      ValueError: a field is out of range, or the data are not valid.
      FileNotFoundError: the data do not exist.
    """
    _check_config(config)
    source = _streamed(config) if is_streamed(config) else _read(config)
    train = source.train.take(_first(config.train_examples))
    test = source.test.take(_first(config.test_examples))
    if isinstance(train, StreamedSplit):
        mean, std = (np.array(x, np.float32) for x in (PHOTOGRAPH_MEAN, PHOTOGRAPH_STD))
    else:
        # Computed before the cut, so that they, and the program with them, are equal for all seeds.
        mean, std = _moments(train.input[:: max(1, len(train) // MOMENT_IMAGES)])
    train, cut = _cut(train, config)
    calibration = _decoded(cut) if isinstance(cut, StreamedSplit) else cut
    dataset = Dataset(
        name=config.dataset,
        train=train,
        calibration=calibration,
        test=test,
        num_classes=source.num_classes,
        class_names=source.class_names,
        mean=mean,
        std=std,
        kind=source.kind,
        superclass=superclasses.of(config.dataset),
    )
    _check(dataset)
    return dataset


def _read(config: ConfigDict) -> Source:
    name, data_dir = config.dataset, config.data_dir
    if registry.is_external(name):
        return external.read(config)
    if name == "digits":
        return digits.read()
    if name == "arrays":
        return arrays.read(data_dir)
    from autolabel_jax.datasets import tfds  # imports TensorFlow Datasets, which is slow

    return tfds.read(name, data_dir)


def is_streamed(config: ConfigDict) -> bool:
    """Returns whether images stay on disk until they are needed, which is always so in folders."""
    return config.stream or config.dataset == "folder"


def _streamed(config: ConfigDict) -> Source:
    if config.dataset == "folder":
        train, test, names = folder.read(config.data_dir)
    else:
        from autolabel_jax.datasets import tfds_streamed  # as in ``_read``

        train, test, names = tfds_streamed.read(config.dataset, config.data_dir)
    splits = [
        StreamedSplit(records, np.arange(len(records)), config.image_size, config.loader_workers)
        for records in (train, test)
    ]
    return Source(*splits, num_classes=len(names), class_names=names)


def in_memory(split: Split | StreamedSplit) -> Split:
    """Returns the split in memory; photographs are decoded as in evaluation."""
    return loader.decode(split) if isinstance(split, StreamedSplit) else split


def _decoded(split: StreamedSplit) -> Split:
    size = int(np.prod(split.input.shape, dtype=np.int64))
    if size > CALIBRATION_BYTES:
        raise ValueError(
            f"calibration.images: {len(split)} images would take {size / 2**30:.0f} GiB of each "
            "device; use calibration.images=10000, or a smaller calibration.fraction"
        )
    return in_memory(split)


def _first(num: int) -> slice:
    return slice(num or None)


def _cut(
    split: Split | StreamedSplit, config: ConfigDict
) -> tuple[Split | StreamedSplit, Split | StreamedSplit]:
    """Cuts a split into training and calibration parts, which depend on the seed only."""
    fraction, most = config.calibration.fraction, config.calibration.images or len(split)
    if config.calibration.source == "train":
        if most >= len(split):
            return split, split
        chosen = np.random.default_rng(config.seed).permutation(len(split))[:most]
        return split, split.take(np.sort(chosen))
    num = min(round(fraction * len(split)), most)
    if not 0 < num < len(split):
        raise ValueError(
            f"calibration.fraction: got {fraction}, which cuts {num} of {len(split)} training "
            "examples; each part needs at least one"
        )
    order = np.random.default_rng(config.seed).permutation(len(split))
    return split.take(np.sort(order[num:])), split.take(np.sort(order[:num]))


def _moments(image: np.ndarray, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and standard deviation over all but the last axis, a few rows at a time."""
    scale = 255.0 if image.dtype == np.uint8 else 1.0
    last = image.shape[-1]

    def average(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        # Rows are summed first: NumPy is slow along a last axis of three channels.
        starts = range(0, len(image), rows)
        parts = (of(image[i : i + rows].astype(np.float64) / scale).sum(0) for i in starts)
        sums = sum(parts, start=np.zeros(image.shape[1:]))
        return sums.reshape(-1, last).mean(0) / len(image)

    mean = average(lambda x: x)
    centre = np.broadcast_to(mean, image.shape[1:]).copy()
    std = np.sqrt(average(lambda x: np.square(x - centre)))
    # A constant entry is divided by 1, so that it stays small if an augmentation changes it.
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-3), std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _check_config(config: ConfigDict) -> None:
    source, fraction = config.calibration.source, config.calibration.fraction
    if source not in CALIBRATION_SOURCES:
        known = ", ".join(CALIBRATION_SOURCES)
        raise ValueError(f"calibration.source: got {source!r}, expected one of: {known}")
    if source == "heldout" and not 0 < fraction < 1:
        raise ValueError(
            f"calibration.fraction: got {fraction}, must be between 0 and 1; to measure on the "
            "training images use calibration.source='train'"
        )
    least = {"train_examples": 0, "test_examples": 0, "seed": 0, "loader_workers": 0}
    least |= {"image_size": 1, "calibration.images": 0, "calibration.images_per_update": 0}
    for field, low in least.items():
        value: Any = functools.reduce(lambda tree, name: tree[name], field.split("."), config)
        if value < low:
            raise ValueError(f"{field}: got {value}, must be at least {low}")
    if config.stream and config.dataset in IN_MEMORY:
        raise ValueError(
            f"stream: got True with dataset={config.dataset!r}, which is in memory; use False"
        )
    if is_streamed(config) and config.crop_pad:
        raise ValueError(
            f"crop_pad: got {config.crop_pad}, but streamed images are cropped at random when they "
            "are decoded; use crop_pad=0"
        )


def _check(dataset: Dataset) -> None:
    """Checks what every source of data must fulfil."""
    num_classes = dataset.num_classes
    for name in ("train", "calibration", "test"):
        split = getattr(dataset, name)
        where = f"dataset: {dataset.name!r}, {name} split"
        if not len(split):
            raise ValueError(f"{where}: has no examples")
        if name == "train" and isinstance(split, StreamedSplit):
            continue  # reading its labels can take as long as reading its images
        low, high = split.label.min(), split.label.max()
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"{where}: labels go from {low} to {high}, must be in [0, {num_classes}); "
                "a split without labels cannot be used"
            )
        if split.input.dtype != np.uint8 and not np.isfinite(split.input).all():
            raise ValueError(f"{where}: images hold NaN or infinite values")
    if num_classes < 2:
        raise ValueError(
            f"dataset: {dataset.name!r} has {num_classes} class, at least 2 are needed"
        )
    _warn_of_missing_classes(dataset)


def _warn_of_missing_classes(dataset: Dataset) -> None:
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.calibration.label)
    if not len(missing):
        return
    names = [dataset.class_names[k] if dataset.class_names else str(k) for k in missing]
    warnings.warn(
        f"dataset: {dataset.name!r}: no calibration example of {len(names)} of "
        f"{dataset.num_classes} classes: {', '.join(names)}; raise calibration.fraction",
        stacklevel=3,
    )
