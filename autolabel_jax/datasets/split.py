"""What every source of data returns: splits as NumPy arrays in host memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples in a fixed order.

    ``index`` is the place of each example in the official split that it comes
    from (digits: in scikit-learn's 1,797), so a cut can be proved disjoint.
    """

    input: np.ndarray  # uint8 [n, ...] in 0 … 255, or float32 [n, ...]
    label: np.ndarray  # int32 [n]
    distance: np.ndarray | None  # float32 [n] in [0, 1], where the data come augmented
    index: np.ndarray  # int64 [n]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The given rows, in the given order."""
        distance = None if self.distance is None else self.distance[rows]
        return Split(self.input[rows], self.label[rows], distance, self.index[rows])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it is stored, before anything is cut."""

    train: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for a run.

    ``mean`` and ``std`` are taken over the training pixels before calibration images are cut
    from them, so that they are the same for every seed; uint8 ones scaled to [0, 1], for each
    entry of the last axis. A constant entry has std 1.
    """

    name: str
    train: Split
    calibration: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: np.ndarray  # float32 [last axis]
    std: np.ndarray  # float32 [last axis], positive
    superclass: np.ndarray | None = None  # int32 [K], of each class, where there are some
