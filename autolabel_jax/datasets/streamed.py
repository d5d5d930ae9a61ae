"""Splits whose photographs stay on disk, encoded, until a step needs them."""

import dataclasses
import functools
from typing import Protocol

import numpy as np

from autolabel_jax.datasets import photographs


class Records(Protocol):
    """Random access to encoded photographs. It is sent to other processes, so it holds no file."""

    def read(self, row: int) -> tuple[str | bytes, int]:
        """Path or content of an image file, and its label."""

    def labels(self) -> np.ndarray:
        """int32 [n]: all labels, which may take as long as reading all images."""

    @property
    def fingerprint(self) -> str:
        """Tells these records from others, without decoding one; the same in any folder."""


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """Stands where a ``Split`` stands; its ``input`` is decoded as it is indexed."""

    records: Records
    index: np.ndarray  # int64 [n], rows of the records
    image_size: int  # side of the squares that photographs become
    workers: int  # processes that read and decode; 0: threads of this one
    distance: None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray | slice) -> "StreamedSplit":
        """The given rows, in the given order."""
        return dataclasses.replace(self, index=self.index[rows])

    @functools.cached_property
    def label(self) -> np.ndarray:
        """int32 [n]."""
        return self.records.labels()[self.index]

    @property
    def input(self) -> "Squares":
        """uint8 [n, image_size, image_size, 3], as evaluation sees it."""
        return Squares(self)

    def square(self, row: int, random: np.random.RandomState | None) -> tuple[np.ndarray, int]:
        """One image uint8 [image_size, image_size, 3] and its label.

        Args:
          row: of this split.
          random: of the part that training sees; None: as evaluation sees it.

        Raises:
          OSError: names the record that cannot be read.
        """
        encoded, label = self.records.read(int(self.index[row]))
        try:
            if random is None:
                return photographs.evaluation_square(encoded, self.image_size), label
            return photographs.training_square(encoded, random, self.image_size), label
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a broken file
            where = encoded if isinstance(encoded, str) else f"record {self.index[row]}"
            raise OSError(f"data_dir: {where} is no readable image ({error})") from error


@dataclasses.dataclass(frozen=True)
class Squares:
    """What of an array of images its users need: shape, type, and rows."""

    split: StreamedSplit
    dtype: np.dtype = np.dtype(np.uint8)
    ndim: int = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, image_size, image_size, 3)."""
        return len(self.split), self.split.image_size, self.split.image_size, 3

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """uint8 [len(rows), image_size, image_size, 3]."""
        chosen = np.arange(len(self.split))[rows]
        found = np.zeros((len(chosen), *self.shape[1:]), np.uint8)
        for place, row in enumerate(chosen):
            found[place], _ = self.split.square(row, None)
        return found
