"""Loads a data set by name; the calibration split is cut from the training split only."""

import dataclasses
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import audio_ops, registry
from autolabel_jax.datasets import (
    arrays,
    audio,
    checks,
    digits,
    external,
    folder,
    loader,
    manifest,
    manifest_streamed,
    sklearn_sets,
    superclasses,
    train_labels,
)
from autolabel_jax.datasets.sample import first
from autolabel_jax.datasets.split import KINDS, Dataset, InputSpec, Relabelled, Source, Split
from autolabel_jax.datasets.streamed import StreamedSplit

__all__ = [
    "KINDS",
    "Dataset",
    "InputSpec",
    "Relabelled",
    "Source",
    "Split",
    "StreamedSplit",
    "first",
    "in_memory",
    "load",
    "read",
]

MOMENT_IMAGES = 100_000  # mean and std of a larger set are those of about this number of images
PHOTOGRAPH_MEAN, PHOTOGRAPH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
CALIBRATION_BYTES = 16 * 2**30  # maximum size of decoded calibration images on a device


def load(config: ConfigDict) -> Dataset:
    """Loads the data set that ``config.dataset`` names.

    The official splits are reduced to their first ``train_examples`` and ``test_examples``
    examples (0 = all), or to a sample of all classes if they are in order of class, see
    ``sample.first``. Calibration is cut from the reduced training split. With
    ``calibration.source='train'`` nothing is cut, and the calibration split is the training split,
    or ``calibration.images`` examples of it. With ``stream``, only the calibration images are
    decoded now, with the preprocessing of evaluation. ``data.train_labels`` replaces labels after
    the cut, so that it does not change which examples are in which split.

    Args:
      config: config with the fields dataset, data_dir, seed, train_examples, test_examples, stream,
        image_size, loader_workers, data.* and calibration.*.

    Raises:
      ValueError: a field is out of range, or the data are not valid.
      FileNotFoundError: the data do not exist.
    """
    source = read(config)
    label = train_labels.read(config, source)
    train = first(source.train, config.train_examples, "train_examples")
    test = first(source.test, config.test_examples, "test_examples")
    if isinstance(train, StreamedSplit):
        mean, std = (np.array(x, np.float32) for x in (PHOTOGRAPH_MEAN, PHOTOGRAPH_STD))
    else:
        # Computed before the cut, so that they, and the program with them, are equal for all seeds.
        sample = train.input[:: max(1, len(train) // MOMENT_IMAGES)]
        if (front := audio_ops.front_end(source.encoding)) is not None:
            sample = audio_ops.of_all(front, sample)[..., 0]
        mean, std = _moments(sample)
    if source.calibration is not None and config.calibration.source == "heldout":
        cut = source.calibration.take(slice(config.calibration.images or None))
        both = False
    else:
        train, cut = _cut(train, config)
        both = not config.data.clean_calibration
    calibration = _decoded(cut) if isinstance(cut, StreamedSplit) else cut
    train, calibration, relabelled = train_labels.replace(label, train, calibration, both=both)
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
        group_names=source.group_names,
        relabelled=relabelled,
        encoding=source.encoding,
    )
    checks.check_dataset(dataset)
    return dataset


def read(config: ConfigDict) -> Source:
    """Reads a data set as it is stored, and checks it; arguments and errors are those of ``load``.

    Photographs are not decoded.
    """
    checks.check_config(config)
    source = _streamed(config) if checks.is_streamed(config) else _read(config)
    checks.check_source(config.dataset, source)
    return source


def _read(config: ConfigDict) -> Source:
    name, data_dir = config.dataset, config.data_dir
    if registry.is_external(name):
        return external.read(config)
    if name == "digits":
        return digits.read()
    if name == "arrays":
        return arrays.read(data_dir)
    if name == "manifest":
        names = ("skip_unreadable", "kind", "columns", "missing", "max_words", "max_tokens")
        settings = {key: config.data[key] for key in names}
        settings["audio_settings"] = {key: config.data[key] for key in audio.FIELDS}
        return manifest.read(data_dir, image_size=config.image_size, **settings)
    if name.startswith(sklearn_sets.PREFIX):
        return sklearn_sets.read(name)
    from autolabel_jax.datasets import tfds  # imports TensorFlow Datasets, which is slow

    return tfds.read(name, data_dir)


def _streamed(config: ConfigDict) -> Source:
    source = _records(config)
    assert isinstance(source.train, StreamedSplit)
    train = dataclasses.replace(source.train, decoder=config.data.decoder)
    return dataclasses.replace(source, train=train)


def _records(config: ConfigDict) -> Source:
    skip, workers = config.data.skip_unreadable, config.loader_workers
    if config.dataset == "manifest":
        settings = {"image_size": config.image_size, "workers": workers, "skip_unreadable": skip}
        return manifest_streamed.read(config.data_dir, **settings)
    if config.dataset == "folder":
        train, test, names = folder.read(config.data_dir, skip_unreadable=skip)
    else:
        from autolabel_jax.datasets import tfds_streamed  # as in ``_read``

        train, test, names = tfds_streamed.read(config.dataset, config.data_dir)
    splits = [
        StreamedSplit(records, np.arange(len(records)), config.image_size, workers)
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
    if split.source is not None:
        return _cut_sources(split, split.source, num, config)
    if not 0 < num < len(split):
        raise ValueError(
            f"calibration.fraction: got {fraction}, which cuts {num} of {len(split)} training "
            "examples; each part needs at least one"
        )
    order = np.random.default_rng(config.seed).permutation(len(split))
    return split.take(np.sort(order[num:])), split.take(np.sort(order[:num]))


def _cut_sources(
    split: Split | StreamedSplit, source: np.ndarray, num: int, config: ConfigDict
) -> tuple[Split | StreamedSplit, Split | StreamedSplit]:
    """Cuts at most ``num`` examples, so that all copies of a source are on one side."""
    names, of_source, counts = np.unique(source, return_inverse=True, return_counts=True)
    order = np.random.default_rng(config.seed).permutation(len(names))
    chosen = order[np.cumsum(counts[order]) <= num]
    held_out = np.isin(of_source, chosen)
    if not 0 < held_out.sum() < len(split):
        raise ValueError(
            f"calibration.fraction: got {config.calibration.fraction}, which cuts {held_out.sum()} "
            f"of {len(split)} training examples of {len(names)} sources; each part needs at least "
            "one source"
        )
    return split.take(np.flatnonzero(~held_out)), split.take(np.flatnonzero(held_out))


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
