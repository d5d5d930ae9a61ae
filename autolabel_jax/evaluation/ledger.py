"""Keeps finished units of an evaluation, so that it resumes where it was stopped."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from autolabel_jax import files

Line = dict[str, Any]  # of one unit, JSON values


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Finished units on disk."""

    file: pathlib.Path  # one line per unit
    folder: pathlib.Path  # of the resamples, one file per corrupted set

    def done(self) -> list[Line]:
        """Reads the lines of finished units; removes an incomplete last line from the file."""
        lines = files.read_json_lines(self.file)
        files.rewrite_json_lines(self.file, lines)
        return lines

    def write(self, line: Line, resamples: dict[str, np.ndarray]) -> None:
        """Adds a finished unit, named by ``line['piece']``; the line is written last.

        Args:
          line: metrics of the unit.
          resamples: headline metrics of a corrupted set in resamples of its images, float32
            [S] each; {} for an attack.
        """
        if resamples:
            self.folder.mkdir(exist_ok=True)
            files.write_npz(self._path(line["piece"]), **resamples)
        files.append_json_line(self.file, line)

    def has_resamples(self, unit: str) -> bool:
        """Whether the resamples of a corrupted set are on disk."""
        return self._path(unit).exists()

    def resamples(self, unit: str) -> dict[str, np.ndarray]:
        """Reads the resamples of a corrupted set."""
        with np.load(self._path(unit)) as saved:
            return dict(saved)

    def _path(self, unit: str) -> pathlib.Path:
        return self.folder / f"{unit.replace('/', '_')}.npz"
