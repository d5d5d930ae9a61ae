"""Checks the fields of a config that describe data, and what every source of data must fulfil."""

import importlib.util
import warnings
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import audio_ops, limits, registry
from autolabel_jax.datasets import photographs, tables, texts
from autolabel_jax.datasets.split import KINDS, Dataset, Source, Split, kind_of
from autolabel_jax.datasets.streamed import StreamedSplit

CALIBRATION_SOURCES = ("heldout", "train")
IN_MEMORY = ("digits", "arrays")  # data sets that cannot be streamed
OF_FILES = ("folder", "manifest")  # data sets whose images are files
MAX_CLASSES = 1_000_000  # larger labels are probably not class indices
# Axes of one input by its kind, for messages.
AXES = {
    "image": "[height, width, channels]",
    "audio": "[time, frequency, 1]",
    "text": "[tokens]",
    "series": "[time, channels]",
}
MOST_CHANNELS = 4
MOST_TOKENS = 10_000_000  # each has an embedding; float32 holds them exactly
LONGEST = 3600.0  # seconds of a clip
SCALES = 20  # the splits may differ by this factor; 0 … 255 and 0 … 1 do by 255
SCALE_EXAMPLES = 200  # the range of a larger split is that of about this number of examples
OUTLIERS = 1e-3  # share of values at either end that do not count for the range
SHOWN = 20  # most classes in a message
FEW = 10  # examples; the range of fewer says little


def check_config(config: ConfigDict) -> None:
    """Checks the fields that describe data.

    Raises:
      ValueError: a field is out of range, or fields contradict each other.
    """
    limits.check(config)
    source, fraction = config.calibration.source, config.calibration.fraction
    if source not in CALIBRATION_SOURCES:
        known = ", ".join(CALIBRATION_SOURCES)
        raise ValueError(f"calibration.source: got {source!r}, expected one of: {known}")
    if source == "heldout" and not 0 < fraction < 1:
        raise ValueError(
            f"calibration.fraction: got {fraction}, must be between 0 and 1; to measure on the "
            "training images use calibration.source='train'"
        )
    if config.stream and config.dataset in IN_MEMORY:
        raise ValueError(
            f"stream: got True with dataset={config.dataset!r}, which is in memory; use False"
        )
    if config.data.skip_unreadable and config.dataset not in OF_FILES:
        raise ValueError(
            f"data.skip_unreadable: got True with dataset={config.dataset!r}; only "
            "dataset='folder' and 'manifest' read files of images, use False"
        )
    _check_decoder(config)
    _check_kind(config)
    if is_streamed(config) and config.crop_pad:
        raise ValueError(
            f"crop_pad: got {config.crop_pad}, but streamed images are cropped at random when they "
            "are decoded; use crop_pad=0"
        )


def _check_decoder(config: ConfigDict) -> None:
    """Checks the decoder of training images."""
    if registry.is_external(config.dataset):  # it can be a setting of its own
        return
    decoder = config.data.decoder
    registry.Setting(None, choices=photographs.DECODERS).check("data.decoder", decoder)
    if decoder == photographs.PILLOW:
        return
    if not is_streamed(config):
        raise ValueError(
            f"data.decoder: got {decoder!r} with stream=False; only streamed photographs are "
            "decoded in training, use 'pillow'"
        )
    if importlib.util.find_spec("cv2") is None:
        raise ValueError(
            f"data.decoder: got {decoder!r}, which is not installed: "
            "pip install opencv-python-headless, or use 'pillow'"
        )


def _check_kind(config: ConfigDict) -> None:
    """Checks the fields that say what a manifest holds."""
    if registry.is_external(config.dataset):  # they can be settings of its own
        return
    registry.Setting(None, choices=("", *KINDS)).check("data.kind", config.data.kind)
    registry.Setting(None, choices=tables.MISSING).check("data.missing", config.data.missing)
    registry.Setting(None, low=0, high=LONGEST).check("data.seconds", config.data.seconds)
    if config.dataset == "manifest" and not (config.stream and config.data.kind):
        return
    fields: dict[str, Any] = {"kind": "", "columns": "", "missing": tables.MISSING[0]}
    fields |= {"sample_rate": 0, "seconds": 0.0, "peak": False}
    fields |= {"max_words": texts.MAX_WORDS, "max_tokens": texts.MAX_TOKENS}
    for name in (name for name, default in fields.items() if config.data[name] != default):
        raise ValueError(
            f"data.{name}: got {config.data[name]!r} with dataset={config.dataset!r} and "
            f"stream={config.stream}; only dataset='manifest' with stream=False reads it"
        )


def is_streamed(config: ConfigDict) -> bool:
    """Returns whether images stay on disk until they are needed, which is always so in folders."""
    return config.stream or config.dataset == "folder"


def check_source(name: str, source: Source) -> None:
    """Checks the inputs of both splits: shape, finite values, and equal scales.

    Raises:
      ValueError: they cannot be used.
    """
    for split_name, split in (("train", source.train), ("test", source.test)):
        where = f"dataset: {name!r}, {split_name} split"
        if not len(split):
            raise ValueError(f"{where}: has no examples")
        if isinstance(split, Split):
            if split.input.dtype != np.uint8 and not np.isfinite(split.input).all():
                raise ValueError(f"{where}: inputs hold NaN or infinite values")
            if audio_ops.front_end(source.encoding) is None:
                _check_shape(where, split.input.shape[1:], kind_of(split.input, source.kind))
            if source.kind == "text":
                _check_tokens(where, split.input)
    both = isinstance(source.train, Split) and isinstance(source.test, Split)
    if both and source.kind != "text":
        check_scales(name, source.train, source.test, source.kind)


def _check_shape(where: str, shape: tuple[int, ...], kind: str) -> None:
    axes = len(AXES[kind].split(",")) if kind in AXES else len(shape)
    if len(shape) != axes or (kind == "audio" and shape[-1] != 1):
        raise ValueError(
            f"{where}: inputs of kind {kind!r} must be {AXES[kind]}, got {list(shape)}; store them "
            "in this shape, or with kind='features'"
        )
    if kind == "image" and shape[0] <= MOST_CHANNELS < min(shape[1:]):
        raise ValueError(
            f"{where}: images must be {AXES[kind]}, got {list(shape)}, whose channels come first; "
            "store x.transpose(0, 2, 3, 1)"
        )


def _check_tokens(where: str, tokens: np.ndarray) -> None:
    bad = (tokens < texts.PADDING) | (tokens >= MOST_TOKENS) | (tokens != np.floor(tokens))
    if bad.any():
        raise ValueError(
            f"{where}: texts must be whole numbers from {texts.PADDING} to {MOST_TOKENS - 1:,}; "
            f"got {tokens[bad][0]:g}"
        )


def check_scales(name: str, train: Split, test: Split, kind: str | None) -> None:
    """Checks that training and test inputs have ranges of the same order.

    Raises:
      ValueError: they have not.
    """
    ranges = [_range(split.input) for split in (train, test)]
    of_train, of_test = (f"{low:g} to {high:g}" for low, high in ranges)
    scales = [max(abs(low), abs(high)) for low, high in ranges]
    signed = [low < -0.01 * scale for (low, _), scale in zip(ranges, scales, strict=True)]
    image = kind_of(train.input, kind) == "image"
    many = min(len(train), len(test)) >= FEW
    apart = max(scales) > SCALES * min(scales) and (image or many)
    if min(scales) > 0 and (apart or (image and many and signed[0] != signed[1])):
        raise ValueError(
            f"dataset: {name!r}: inputs go from {of_train} in the training split and from "
            f"{of_test} in the test split; scale both in the same way, such as to [0, 1]"
        )


def _range(values: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the range of inputs [n, ...], without outliers."""
    values = values[:: max(1, len(values) // SCALE_EXAMPLES)]
    low, high = np.quantile(values, [OUTLIERS, 1 - OUTLIERS], method="nearest")
    return float(low), float(high)


def check_dataset(dataset: Dataset) -> None:
    """Checks labels; warns of classes without examples.

    Raises:
      ValueError: a label is out of range.
    """
    num_classes = dataset.num_classes
    for name in ("train", "calibration", "test"):
        split = getattr(dataset, name)
        if name == "train" and isinstance(split, StreamedSplit):
            continue  # reading its labels can take as long as reading its images
        low, high = split.label.min(), split.label.max()
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"dataset: {dataset.name!r}, {name} split: labels go from {low} to {high}, must be "
                f"in [0, {num_classes}); a split without labels cannot be used"
            )
    if not 2 <= num_classes <= MAX_CLASSES:
        raise ValueError(
            f"dataset: {dataset.name!r}: num_classes is {num_classes:,}, must be between 2 and "
            f"{MAX_CLASSES:,}"
        )
    _warn_of_missing_classes(dataset)
    _warn_of_missing_groups(dataset)


def _warn_of_missing_classes(dataset: Dataset) -> None:
    every, calibration = np.arange(dataset.num_classes), dataset.calibration.label
    lacking = np.setdiff1d(every, calibration)
    if isinstance(dataset.train, Split):
        untrained = np.setdiff1d(lacking, dataset.train.label)
        _warn_of(dataset, "training", untrained, "the model cannot learn them")
        lacking = np.setdiff1d(lacking, untrained)
    _warn_of(dataset, "calibration", lacking, "raise calibration.fraction")
    untested = np.setdiff1d(every, dataset.test.label)
    _warn_of(dataset, "test", untested, "the metrics say nothing about them")


def _warn_of_missing_groups(dataset: Dataset) -> None:
    advice = {
        "training": "no example is trained with their labels",
        "calibration": "their labels stay as they are; raise calibration.fraction",
    }
    for what, split in (("training", dataset.train), ("calibration", dataset.calibration)):
        if split.group is None:
            continue
        missing = np.setdiff1d(np.arange(len(dataset.group_names)), split.group)
        if len(missing):
            names = ", ".join(dataset.group_names[g] for g in missing)
            warnings.warn(
                f"dataset: {dataset.name!r}: no {what} example of {len(missing)} of "
                f"{len(dataset.group_names)} groups: {names}; {advice[what]}",
                stacklevel=4,
            )


def _warn_of(dataset: Dataset, what: str, classes: np.ndarray, advice: str) -> None:
    if not len(classes):
        return
    names = [dataset.class_names[k] if dataset.class_names else str(k) for k in classes[:SHOWN]]
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    warnings.warn(
        f"dataset: {dataset.name!r}: no {what} example of {len(classes)} of "
        f"{dataset.num_classes} classes: {', '.join(names)}{more}; {advice}",
        stacklevel=5,
    )
