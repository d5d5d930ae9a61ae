"""Defines splits whose photographs stay encoded on disk until a step needs them."""

import dataclasses
import functools
from typing import Protocol

import numpy as np

from autolabel_jax.datasets import photographs


class Records(Protocol):
    """Gives random access to encoded photographs; picklable, as it is sent to other processes."""

    def read(self, row: int) -> tuple[str | bytes, int]:
        """Returns path or content of an image file, and its label."""

    def labels(self) -> np.ndarray:
        """Returns all labels, int32 [n]; this can take as long as reading all images."""

    @property
    def fingerprint(self) -> str:
        """String that identifies the records without decoding; it does not depend on the folder."""


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """Replaces a ``Split``; its ``input`` is decoded when it is indexed."""

    records: Records
    index: np.ndarray  # int64 [n], rows of the records
    image_size: int  # side of the decoded squares in pixels
    workers: int  # number of processes that read and decode (0 = threads of this process)
    source: np.ndarray | None = None  # int64 [n], as in ``Split``
    distance: None = None
    group: None = None
    decoder: str = photographs.PILLOW  # of training, one of ``photographs.DECODERS``

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray | slice) -> "StreamedSplit":
        """Returns the given rows, in the given order."""
        source = None if self.source is None else self.source[rows]
        return dataclasses.replace(self, index=self.index[rows], source=source)

    @functools.cached_property
    def label(self) -> np.ndarray:
        """Labels, int32 [n]."""
        return self.records.labels()[self.index]

    @property
    def input(self) -> "Squares":
        """Images as in evaluation, uint8 [n, image_size, image_size, 3]."""
        return Squares(self)

    def square(self, row: int, random: np.random.RandomState | None) -> tuple[np.ndarray, int]:
        """Decodes one image to uint8 [image_size, image_size, 3], and returns it with its label.

        Args:
          row: row of this split.
          random: random source of the part used in training; None for evaluation.

        Raises:
          OSError: the record cannot be read.
        """
        encoded, label = self.records.read(int(self.index[row]))
        try:
            if random is None:
                return photographs.evaluation_square(encoded, self.image_size), label
            how = {"decoder": self.decoder}
            return photographs.training_square(encoded, random, self.image_size, **how), label
        except Exception as error:  # decoders of damaged files raise many types
            where = encoded if isinstance(encoded, str) else f"record {self.index[row]}"
            raise OSError(
                f"data_dir: {where} is not a readable image ({photographs.reason(error)})"
            ) from error


@dataclasses.dataclass(frozen=True)
class Squares:
    """Acts as an array of images, with shape, dtype and indexing by rows."""

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
        """Decodes the given rows to uint8 [len(rows), image_size, image_size, 3]."""
        chosen = np.arange(len(self.split))[rows]
        images = np.zeros((len(chosen), *self.shape[1:]), np.uint8)
        for place, row in enumerate(chosen):
            images[place], _ = self.split.square(int(row), None)
        return images
