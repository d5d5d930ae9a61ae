"""Keeps finished units of an evaluation, so that it resumes where it was stopped."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from autolabel_jax import files

Line = dict[str, Any]  # of one unit, as JSON has it


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Finished units on the disk."""

    file: pathlib.Path  # one line a unit
    folder: pathlib.Path  # of the resamples, one file a corrupted set

    def done(self) -> list[Line]:
        """Lines of the finished units; a line cut off by a kill is removed from the file."""
        lines = files.read_json_lines(self.file)
        files.rewrite_json_lines(self.file, lines)
        return lines

    def write(self, line: Line, resamples: dict[str, np.ndarray]) -> None:
        """Adds a finished unit, named by ``line['piece']``; the line is written last.

        Args:
          line: its metrics.
          resamples: headline metrics of a corrupted set in resamples of its images, float32
            [S] each; {} for an attack.
        """
        if resamples:
            self.folder.mkdir(exist_ok=True)
            files.write_npz(self._path(line["piece"]), **resamples)
        files.append_json_line(self.file, line)

    def has_resamples(self, unit: str) -> bool:
        """Whether those of a corrupted set are kept."""
        return self._path(unit).exists()

    def resamples(self, unit: str) -> dict[str, np.ndarray]:
        """As they were written."""
        with np.load(self._path(unit)) as saved:
            return dict(saved)

    def _path(self, unit: str) -> pathlib.Path:
        return self.folder / f"{unit.replace('/', '_')}.npz"
