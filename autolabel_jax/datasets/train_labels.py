"""Replaces the labels of training examples by those in a file, such as labels with errors.

Entry i of the file is of example i of the data: by its number in the official training split where
records have one (``Split.index``), of scikit-learn's 1,797 digits, of the rows of a manifest, or
of ``train.npz``.
"""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import files
from autolabel_jax.datasets.split import Relabelled, Source, Split
from autolabel_jax.datasets.streamed import StreamedSplit

FIELD = "data.train_labels"


def read(config: ConfigDict, source: Source) -> np.ndarray | None:
    """Reads the labels that ``config.data.train_labels`` names, int32 [n]; None if it is ''.

    Args:
      config: config of the run.
      source: data whose training labels are replaced.

    Raises:
      ValueError: the labels do not fit the data, which may be streamed, or are no labels.
      FileNotFoundError: the file does not exist.
    """
    given = config.data.train_labels
    if not given:
        return None
    name, _, key = given.rpartition(":")
    if not name or not key:
        raise ValueError(f"{FIELD}: got {given!r}, expected FILE.npz:KEY")
    if isinstance(source.train, StreamedSplit):
        raise ValueError(
            f"{FIELD}: got {given!r} with streamed photographs, whose labels are read with them; "
            "use data in memory"
        )
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{FIELD}: {path} is missing, or not a regular file")
    stored = files.read_npz(path)
    if key not in stored:
        raise ValueError(f"{FIELD}: {path} has no {key!r}, expected one of: {', '.join(stored)}")
    return _checked(f"{FIELD}: {path}: {key!r}", stored[key], source)


def _checked(where: str, label: np.ndarray, source: Source) -> np.ndarray:
    if label.ndim != 1 or label.dtype.kind not in "iu":
        raise ValueError(
            f"{where} must hold whole numbers [n] of an integer type; got {label.dtype} "
            f"{list(label.shape)}"
        )
    num = _num_examples(source)
    if len(label) != num:
        raise ValueError(
            f"{where} has {len(label)} labels, must have {num}: one for each example of the data, "
            "also for those that train_examples or calibration leave out"
        )
    low, high = label.min(), label.max()
    if low < 0 or high >= source.num_classes:
        raise ValueError(
            f"{where} has classes from {low} to {high}, must be in [0, {source.num_classes})"
        )
    return label.astype(np.int32)


def _num_examples(source: Source) -> int:
    """Returns the number of examples that ``Split.index`` counts."""
    highest = int(source.train.index.max())
    if highest < len(source.train):
        return len(source.train)
    parts = [source.calibration, source.test]  # which share one numbering with the training split
    return 1 + max(highest, *(int(part.index.max()) for part in parts if part is not None))


def replace(
    label: np.ndarray | None, train: Split | StreamedSplit, calibration: Split, *, both: bool
) -> tuple[Split | StreamedSplit, Split, Relabelled | None]:
    """Gives the examples of a run their labels from a file.

    Args:
      label: int32 [n], from ``read``; None leaves all labels as they are.
      train: training examples.
      calibration: examples that are held out.
      both: whether these get labels from the file too.

    Returns:
      Both splits, and what was replaced.
    """
    if label is None:
        return train, calibration, None
    assert isinstance(train, Split)  # ``read`` refuses streamed ones
    own = (train.label, calibration.label)
    train = dataclasses.replace(train, label=label[train.index])
    if both:
        calibration = dataclasses.replace(calibration, label=label[calibration.index])
    differ = [int(np.sum(a != b.label)) for a, b in zip(own, (train, calibration), strict=True)]
    return train, calibration, Relabelled(*differ)
