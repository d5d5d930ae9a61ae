"""name → train / calibration / test arrays; calibration is cut from train only."""

import warnings

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax.datasets import arrays, digits, tfds
from autolabel_jax.datasets.split import Dataset, Source, Split

__all__ = ["Dataset", "Split", "load"]

CALIBRATION_SOURCES = ("heldout", "train")


def load(config: ConfigDict) -> Dataset:
    """The data set that ``config.dataset`` names.

    Where ``train_examples`` is set, only the first so many of the official
    training split are there at all; calibration is cut from these. With
    ``calibration.source='train'`` nothing is cut, and the calibration split
    is the training split.

    Args:
      config: reads dataset, data_dir, seed, train_examples, test_examples,
        calibration.fraction and calibration.source.

    Raises:
      ValueError: a field is out of range, or the data do not fit.
      FileNotFoundError: the data are not there.
    """
    _check_config(config)
    source = _read(config.dataset, config.data_dir)
    train = source.train.take(_first(config.train_examples))
    test = source.test.take(_first(config.test_examples))
    calibration = train
    if config.calibration.source == "heldout":
        train, calibration = _cut(train, config.calibration.fraction, config.seed)
    mean, std = _moments(train.image)
    dataset = Dataset(
        name=config.dataset,
        train=train,
        calibration=calibration,
        test=test,
        num_classes=source.num_classes,
        class_names=source.class_names,
        mean=mean,
        std=std,
    )
    _check(dataset)
    return dataset


def _read(name: str, data_dir: str) -> Source:
    if name == "digits":
        return digits.read()
    if name == "arrays":
        return arrays.read(data_dir)
    return tfds.read(name, data_dir)


def _first(num: int) -> slice:
    return slice(num or None)


def _cut(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Training and calibration part; who goes where depends on the seed alone."""
    num = round(fraction * len(split))
    if not 0 < num < len(split):
        raise ValueError(
            f"calibration.fraction: got {fraction}, which cuts {num} of {len(split)} training "
            "examples; at least one must be left on each side"
        )
    order = np.random.default_rng(seed).permutation(len(split))
    return split.take(np.sort(order[num:])), split.take(np.sort(order[:num]))


def _moments(image: np.ndarray, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all but the last axis, a few rows at a time."""
    scale = 255.0 if image.dtype == np.uint8 else 1.0
    last = image.shape[-1]

    def average(of):
        # Rows are summed first: NumPy is slow along a last axis of three channels.
        starts = range(0, len(image), rows)
        sums = sum(of(image[i : i + rows].astype(np.float64) / scale).sum(0) for i in starts)
        return sums.reshape(-1, last).mean(0) / len(image)

    mean = average(lambda x: x)
    centre = np.broadcast_to(mean, image.shape[1:]).copy()
    std = np.sqrt(average(lambda x: np.square(x - centre)))
    # A constant entry carries nothing; divided by 1 it stays small when an augmentation moves it.
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-3), std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _check_config(config: ConfigDict) -> None:
    source, fraction = config.calibration.source, config.calibration.fraction
    if source not in CALIBRATION_SOURCES:
        known = ", ".join(CALIBRATION_SOURCES)
        raise ValueError(f"calibration.source: got {source!r}, known are {known}")
    if source == "heldout" and not 0 < fraction < 1:
        raise ValueError(
            f"calibration.fraction: got {fraction}, must be between 0 and 1; to measure on the "
            "training images take calibration.source='train'"
        )
    for field in ("train_examples", "test_examples", "seed"):
        if config[field] < 0:
            raise ValueError(f"{field}: got {config[field]}, must be 0 or more")


def _check(dataset: Dataset) -> None:
    """What must hold of every data set, wherever it comes from."""
    num_classes = dataset.num_classes
    for name in ("train", "calibration", "test"):
        split = getattr(dataset, name)
        where = f"dataset: {dataset.name!r}, {name} split"
        if not len(split):
            raise ValueError(f"{where}: has no example")
        low, high = split.label.min(), split.label.max()
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"{where}: labels go from {low} to {high}, must be in [0, {num_classes}); "
                "a split without labels cannot be used"
            )
        if split.image.dtype != np.uint8 and not np.isfinite(split.image).all():
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
