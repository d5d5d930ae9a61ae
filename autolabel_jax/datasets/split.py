"""Defines splits and data sets, which every source of data returns."""

import dataclasses
import functools
from typing import Any

import numpy as np

from autolabel_jax.datasets import texts
from autolabel_jax.datasets.streamed import Squares, StreamedSplit

KINDS = ("image", "audio", "text", "series", "features")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """Describes one input of a data set.

    Attributes:
      kind: 'image' [height, width, channels], 'audio' waveforms [samples] or spectrograms
        [time, frequency, 1], 'text' [tokens], 'series' [time, channels], or 'features' for anything
        else; augmentations and models declare the kinds they accept.
      shape: shape of one input, without the batch axis.
      dtype: 'uint8', 'float32' or 'int32'.
      low: smallest value; 0 for uint8.
      high: largest value; 255 for uint8, and for texts the largest token of the vocabulary.
      pad_value: value that fills an input that is too short.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    pad_value: float = 0.0

    def __post_init__(self) -> None:
        """Checks the kind."""
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {self.kind!r}, expected one of: {', '.join(KINDS)}")


def kind_of(values: np.ndarray | Squares, kind: str | None = None) -> str:
    """Returns the kind of inputs: ``kind``, or by their shape 'image' or 'features'."""
    return kind or ("image" if values.ndim == 4 else "features")


def spec_of(values: np.ndarray | Squares, kind: str | None = None) -> InputSpec:
    """Describes the inputs of a split.

    Args:
      values: uint8 or float [n, ...], or ``StreamedSplit.input``, which is not decoded.
      kind: kind of the inputs; None = 'image' for [n, height, width, channels], else 'features'.
    """
    kind = kind_of(values, kind)
    if isinstance(values, Squares) or values.dtype == np.uint8:
        low, high = 0, 255
    else:
        low, high = np.min(values), np.max(values)
    shape = tuple(int(side) for side in values.shape[1:])
    return InputSpec(kind, shape, str(np.dtype(values.dtype)), float(low), float(high))


@dataclasses.dataclass(frozen=True)
class Split:
    """Holds examples in a fixed order, in host memory.

    ``index`` is the row of each example in its official split (for digits, in scikit-learn's 1,797
    rows), which shows that the parts of a cut are disjoint.
    """

    input: np.ndarray  # uint8 [n, ...] in 0 … 255, or float32 [n, ...]
    label: np.ndarray  # int32 [n]
    distance: np.ndarray | None  # float32 [n] in [0, 1], if the data are already augmented
    index: np.ndarray  # int64 [n]
    source: np.ndarray | None = None  # int64 [n], equal for copies of one example; None = all apart
    group: np.ndarray | None = None  # int32 [n], of distances that come with the data; None = one

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """Returns the given rows, in the given order."""
        optional = (self.distance, self.source, self.group)
        distance, source, group = (None if x is None else x[rows] for x in optional)
        return Split(self.input[rows], self.label[rows], distance, self.index[rows], source, group)


@dataclasses.dataclass(frozen=True)
class Source:
    """Holds a data set as stored, before calibration is cut."""

    train: Split | StreamedSplit
    test: Split | StreamedSplit
    num_classes: int
    class_names: tuple[str, ...] | None
    kind: str | None = None  # kind of the inputs, see ``InputSpec``; None = by their shape
    calibration: Split | StreamedSplit | None = (
        None  # held-out examples of the user; None = cut from ``train``
    )
    group_names: tuple[str, ...] = ()  # of ``Split.group``
    encoding: dict[str, Any] | None = None  # see ``Dataset``


@dataclasses.dataclass(frozen=True)
class Relabelled:
    """Says how many labels from ``data.train_labels`` differ from those of the data."""

    train: int
    calibration: int  # 0 if these examples keep the labels of the data


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Holds a data set that is ready for a run.

    ``mean`` and ``std`` are those of the training inputs for each entry of the last axis, with
    uint8 scaled to [0, 1]. They are computed before calibration is cut, so that all seeds share
    them. A constant entry has std 1.

    ``encoding`` says in JSON values how stored values become inputs, where they are not stored as
    inputs: ``reads`` names the reader, and the other keys are its own. It is saved with the run and
    its predictor.
    """

    name: str
    train: Split | StreamedSplit
    calibration: Split
    test: Split | StreamedSplit
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: np.ndarray  # float32 [last axis]
    std: np.ndarray  # float32 [last axis], positive
    superclass: np.ndarray | None = None  # int32 [K], superclass of each class, if defined
    kind: str | None = None  # kind of the inputs, see ``InputSpec``; None = by their shape
    group_names: tuple[str, ...] = ()  # of ``Split.group``
    relabelled: Relabelled | None = None  # None: all labels are those of the data
    encoding: dict[str, Any] | None = None

    @functools.cached_property
    def spec(self) -> InputSpec:
        """Description of one input; the range of float values is that of the training split."""
        found = spec_of(self.train.input, self.kind)
        if found.kind != "text":
            return found
        if self.encoding is not None:
            high = texts.size(self.encoding) - 1
        else:
            parts = (self.train, self.calibration, self.test)
            high = max(spec_of(part.input, self.kind).high for part in parts)
        return dataclasses.replace(found, low=texts.PADDING, high=float(high))
