"""Keeps finished units of an evaluation, so that it resumes where it was stopped."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from autolabel_jax import files, processes

Line = dict[str, Any]  # of one unit, JSON values


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Finished units on disk."""

    file: pathlib.Path  # one line per unit
    folder: pathlib.Path  # of the resamples, one file per corrupted set and stamp

    def done(self) -> list[Line]:
        """Reads the lines of finished units, and removes those that cannot be read.

        A damaged line costs its unit alone; the file as it was is kept beside it, and a line on
        standard error names it. An incomplete last line, which a killed process leaves, is removed
        silently.
        """
        if not self.file.exists():
            return []
        whole = files.read_bytes(self.file)
        texts = whole.split(b"\n")
        lines = [_parsed(text) for text in texts]
        damaged = [i for i, text in enumerate(texts[:-1], 1) if text and lines[i - 1] is None]
        readable = [line for line in lines if line is not None]
        if damaged:
            copy = self.file.with_name(f"{self.file.name}.damaged")
            with files.replacing(copy) as file:
                file.write(whole)
            processes.say(
                f"{self.file}: cannot read line {', '.join(map(str, damaged))}; evaluating its "
                f"sets again (the file as it was: {copy.name})"
            )
        if damaged or texts[-1]:
            files.rewrite_json_lines(self.file, readable, checksum=True)
        return readable

    def write(self, line: Line, stamp: str, resamples: dict[str, np.ndarray]) -> None:
        """Adds a finished unit, named by ``line['piece']``; the line is written last.

        Args:
          line: metrics of the unit.
          stamp: names what the metrics depend on, so that evaluations of other weights, images or
            data keep files of their own.
          resamples: headline metrics of a corrupted set in resamples of its images, float32
            [S] each; {} for an attack.
        """
        if resamples:
            self.folder.mkdir(exist_ok=True)
            name = f"{line['piece'].replace('/', '_')}-{stamp}.npz"
            line["resamples"] = name
            files.write_npz(self.folder / name, **resamples)
            line["resamples_sha256"] = _sha256((self.folder / name).read_bytes())
        files.append_json_line(self.file, line, checksum=True)

    def has_resamples(self, line: Line) -> bool:
        """Whether the resamples of a corrupted set are on disk as they were written."""
        path = self.folder / line.get("resamples", "")
        if not path.is_file():
            return False
        is_whole = line.get("resamples_sha256") in (None, _sha256(path.read_bytes()))
        if not is_whole:
            processes.say(f"{path}: differs from its checksum; evaluating its set again")
        return is_whole

    def resamples(self, line: Line, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Reads the resamples of some metrics of a corrupted set.

        Raises:
          DamagedError: the file lacks one.
        """
        path = self.folder / line["resamples"]
        saved = files.read_npz(path)
        if missing := [name for name in names if name not in saved]:
            raise files.DamagedError(
                path, f"lacks {', '.join(missing)}; delete it to evaluate its set again"
            )
        return {name: saved[name] for name in names}


def _parsed(text: bytes) -> Line | None:
    """Returns the line of a unit; None if the text is not one."""
    try:
        line = files.parse(text)
    except ValueError:
        return None
    return line if {"kind", "piece"} <= line.keys() else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
