"""Reads the images of a manifest, or of a folder by class, as needed; see ``manifest``."""

import os
import pathlib

import numpy as np

from autolabel_jax.datasets import folder, manifest, readable
from autolabel_jax.datasets.manifest_rows import SPLITS, Rows, list_rows
from autolabel_jax.datasets.split import Source
from autolabel_jax.datasets.streamed import StreamedSplit


def read(
    data_dir: str, *, image_size: int, workers: int = 0, skip_unreadable: bool = False
) -> Source:
    """Lists all examples; each image is decoded once to find unreadable ones.

    The examples of a split are in a fixed shuffled order, so that the first N are a fair sample.

    Args:
      data_dir: path of the manifest or of the folder.
      image_size: side of the decoded squares in pixels.
      workers: number of processes that decode (0 = threads).
      skip_unreadable: whether to leave out images that cannot be decoded.

    Raises:
      FileNotFoundError, ValueError: as ``manifest.read``, or the examples are no files of images,
        or have distances.
    """
    rows = list_rows(data_dir)
    names = _names(rows)
    label, class_names = manifest.classes(rows)
    source = manifest.sources(rows)
    split = manifest.splits(rows, source)
    root = _root(rows)
    found, _ = readable.find(pathlib.Path(root), names)
    unreadable = {row: found[name] for row, name in enumerate(names) if name in found}
    kept = manifest.leave_out(rows, unreadable, skip_unreadable)
    records = folder.FolderRecords(root, np.array([os.fsencode(name) for name in names]), label)
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    order = np.random.RandomState(folder.ORDER_SEED).permutation(kept)
    parts = {}
    for name in SPLITS:
        at = order[split[order] == name]
        copies = None if rows.source is None else source[at]
        parts[name] = StreamedSplit(records, at, image_size, workers, source=copies)
    return manifest.make_source(rows, parts, label, class_names)


def _names(rows: Rows) -> list[str]:
    """Returns the path of each image from the root of the records."""
    if rows.distance is not None:
        raise ValueError(
            f"stream: got True, but {rows.where} has a column 'distance', which is read in memory "
            "alone; use False, or leave out the column"
        )
    if rows.paths is None or not all(isinstance(path, str) for path in rows.paths):
        raise ValueError(
            f"stream: got True, but the examples of {rows.where} are no files of images; use False"
        )
    root = _root(rows)
    return [os.path.relpath(str(path), root) for path in rows.paths]


def _root(rows: Rows) -> str:
    """Returns the folder that the paths are from."""
    return rows.where if os.path.isdir(rows.where) else os.path.dirname(rows.where) or "."
