"""Reads the inputs of a predictor: images, sound files, texts, arrays, tables."""

import functools
import glob
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool

import numpy as np

from autolabel_jax import files, progress
from autolabel_jax.datasets import arrays, audio, folder, photographs, tables, waveforms
from autolabel_jax.predictor import LoadedPredictor

ARRAYS = (".npy", ".npz")
SILENT_SECONDS = 2  # before progress is shown


def find(given: Sequence[str], *, sounds: bool = False) -> list[str]:
    """Lists the files that paths, folders and patterns name, each once, in order.

    Of a folder, these are the images and arrays in it, and in folders inside; hidden ones are left
    out. With ``sounds``, they are the sound files and arrays.

    Raises:
      FileNotFoundError: there is no such file or folder, or a folder or pattern has no files.
    """
    found: list[str] = []
    for path in given:
        if os.path.isdir(path):
            names = _inside(path, audio.ENDINGS if sounds else folder.ENDINGS)
        elif os.path.exists(path):
            names = [path]
        else:
            names = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
        if not names:
            wanted = "sound files" if sounds else "images"
            kind = f"folder holds no {wanted} or arrays" if os.path.isdir(path) else "no such file"
            raise FileNotFoundError(f"--data: {path}: {kind}")
        found += names
    return list(dict.fromkeys(found))


def _inside(root: str, endings: tuple[str, ...]) -> list[str]:
    endings = (*endings, *ARRAYS)
    found = []
    for path, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        shown = (name for name in names if not name.startswith("."))
        found += [os.path.join(path, name) for name in shown if name.lower().endswith(endings)]
    return sorted(found)


class Reader:
    """Reads files batch by batch.

    Args:
      predictor: predictor whose inputs are read.
      paths: files from ``find``, or names of inputs in ``contents``.
      contents: for names that are no paths, the content of an image file or an input.

    Attributes:
      unreadable: reason for each image that could not be decoded, so far.
    """

    def __init__(
        self,
        predictor: LoadedPredictor,
        paths: Sequence[str],
        contents: Mapping[str, str | bytes | np.ndarray] | None = None,
    ):
        """Prepares; files are read with the batches."""
        self._predictor, self._paths, self._contents = predictor, paths, contents or {}
        self.unreadable: dict[str, str] = {}

    def batches(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yields names and inputs [b, ...] with b up to the batch size of the predictor.

        The name of an image is its path; rows of an array or a table are ``PATH:0``, ``PATH:1``
        and so on.

        Raises:
          OSError, ValueError: a file with an array cannot be read, or does not fit.
        """
        size, read = self._predictor.batch_size, functools.partial(_read, self._predictor)
        parts = [self._paths[i : i + size] for i in range(0, len(self._paths), size)]
        with ThreadPool(min(size, os.cpu_count() or 1)) as pool:
            shown = progress.each(parts, "reading", len(parts), "batch", delay=SILENT_SECONDS)
            for paths in shown:
                images = [path for path in paths if not self._has_rows(path)]
                contents = [self._contents.get(path, path) for path in images]
                decoded = dict(zip(images, pool.map(read, contents), strict=True))
                ready: dict[str, np.ndarray] = {}
                for path in paths:
                    if self._has_rows(path):
                        yield from _stacked(ready)
                        ready = {}
                        yield from _rows(path, _checked(self._predictor, path), size)
                    elif isinstance(found := decoded[path], str):
                        self.unreadable[path] = found
                    else:
                        ready[path] = found
                yield from _stacked(ready)

    def _has_rows(self, path: str) -> bool:
        return path not in self._contents and has_rows(path)


def has_rows(path: str) -> bool:
    """Whether a file holds an array or a table, by its ending."""
    return path.lower().endswith((*ARRAYS, *tables.ENDINGS))


def read_array(path: str) -> np.ndarray:
    """Reads the inputs in a .npy file, or under 'input' or 'image' in a .npz file.

    Raises:
      ValueError: it cannot be read, or holds no inputs.
    """
    if path.lower().endswith(".npy"):
        try:
            return np.load(path, allow_pickle=False)
        except ValueError as error:
            raise files.DamagedError(pathlib.Path(path), "cannot be read as an array") from error
    stored = files.read_npz(pathlib.Path(path))
    keys = [key for key in arrays.INPUT_KEYS if key in stored]
    if len(keys) != 1:
        raise ValueError(
            f"{path}: holds {', '.join(stored) or 'nothing'}; expected one of: "
            f"{', '.join(arrays.INPUT_KEYS)}"
        )
    return stored[keys[0]]


def _read(predictor: LoadedPredictor, encoded: str | bytes | np.ndarray) -> np.ndarray | str:
    """Returns the input of an image or sound file, or why it cannot be decoded."""
    if isinstance(encoded, np.ndarray):
        return encoded
    if predictor.reads_sounds:
        try:
            return predictor.read_sound(encoded)
        except (ValueError, OSError) as error:
            return waveforms.reason(error)
    if not predictor.reads_pictures:
        predictor.read_picture(encoded)  # says what it takes instead
    try:
        return predictor.read_picture(encoded)
    except Exception as error:  # decoders of damaged files raise many types
        return photographs.reason(error)


def _checked(predictor: LoadedPredictor, path: str) -> np.ndarray:
    """Reads an array or a table; an error names the file."""
    if path.lower().endswith(tables.ENDINGS):
        return predictor.read_table(pathlib.Path(path))
    found = read_array(path)
    try:
        return predictor.check(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _stacked(ready: Mapping[str, np.ndarray]) -> Iterator[tuple[list[str], np.ndarray]]:
    if ready:
        yield list(ready), np.stack(list(ready.values()))


def _rows(path: str, inputs: np.ndarray, size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        yield [f"{path}:{start + i}" for i in range(len(part))], part
