"""Reads folders that ``save_to_disk`` of Hugging Face's ``datasets`` wrote, with pyarrow alone.

A folder has ``state.json``, which lists Arrow files, and ``dataset_info.json`` with the types of
columns; that of several splits has ``dataset_dict.json``, and such a folder for each split.
"""

import pathlib
from typing import Any

import numpy as np
import pyarrow
from pyarrow import compute, ipc, types

from autolabel_jax import files

SPLITS, SPLIT = "dataset_dict.json", "state.json"
HELD_OUT = ("validation", "valid", "val", "dev")  # calibration, or test if there is no test split
OPTIONAL = ("split", "distance", "group", "source")


def read(root: pathlib.Path) -> tuple[dict[str, Any], tuple[str, ...] | None, list[str]]:
    """Reads the columns of a manifest.

    The input is the column of type Image, or else the one of lists or arrays, or else all columns
    of numbers together. The label is the column of type ClassLabel, or else ``label``.

    Returns:
      (columns, class names, names of columns that are not read). The column path has contents of
      image files as bytes, or paths relative to ``root``; input is an array [n, ...].

    Raises:
      ValueError: the files are damaged, or it is not clear which column is the input or the label.
    """
    parts = _parts(root)
    tables = {name: _table(folder) for name, folder in parts.items()}
    features = {name: _features(folder) for name, folder in parts.items()}
    first = next(iter(features.values()))
    for name, other in features.items():
        if other != first:
            raise ValueError(f"data_dir: {root}: the columns of {name} differ from other splits'")
    label = _label(root, first)
    used, columns = _input(root, first, label, pyarrow.concat_tables(tables.values()))
    columns["label"] = _joined(tables, label)
    optional = [name for name in OPTIONAL if name in first]
    columns |= {name: _joined(tables, name) for name in optional}
    if (root / SPLITS).is_file():
        columns["split"] = [n for name, t in tables.items() for n in [_split(name, parts)] * len(t)]
    unread = [name for name in first if name not in (label, *used, *optional)]
    return columns, tuple(first[label].get("names", ())) or None, unread


def _parts(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the folder of each split."""
    if not (root / SPLITS).is_file():
        return {"": root}
    names = files.read_json(root / SPLITS)["splits"]
    return {name: root / _plain(root, name) for name in names}


def _plain(folder: pathlib.Path, name: str) -> str:
    """Returns the name of a file or folder in a folder, after a check that it is one."""
    if name == ".." or pathlib.PurePath(name).name != name:
        raise ValueError(f"data_dir: {folder} names {name!r}, which is not in it")
    return name


def _split(name: str, parts: dict[str, pathlib.Path]) -> str:
    if name in HELD_OUT:
        return "calibration" if "test" in parts else "test"
    return name


def _table(folder: pathlib.Path) -> pyarrow.Table:
    try:
        names = [entry["filename"] for entry in files.read_json(folder / SPLIT)["_data_files"]]
        tables = []
        for name in names:
            with pyarrow.memory_map(str(folder / _plain(folder, name))) as source:
                tables.append(ipc.open_stream(source).read_all())
        return pyarrow.concat_tables(tables)
    except (OSError, KeyError, TypeError, pyarrow.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"data_dir: {folder} cannot be read as a data set ({reason})") from error


def _features(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the type of each column, by name."""
    return files.read_json(folder / "dataset_info.json")["features"]


def _kind(feature: Any) -> str:
    """Returns 'ClassLabel', 'Image' and so on; 'List' for nested columns of older versions."""
    return feature.get("_type", "") if isinstance(feature, dict) else "List"


def _label(root: pathlib.Path, features: dict[str, Any]) -> str:
    found = [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]
    if len(found) != 1:
        found = [name for name in features if name in ("label", "labels")]
    if len(found) != 1:
        raise ValueError(
            f"data_dir: {root} has the columns {', '.join(features)}; expected one of type "
            "ClassLabel, or named label"
        )
    return found[0]


def _input(
    root: pathlib.Path, features: dict[str, Any], label: str, table: pyarrow.Table
) -> tuple[list[str], dict[str, Any]]:
    """Returns the names of the columns of the input, and the column path or input."""
    others = [name for name in features if name != label and name not in OPTIONAL]
    images = [name for name in others if _kind(features[name]) == "Image"]
    lists = [name for name in others if _is_list(table.schema.field(name).type)]
    found = images or lists
    if len(found) > 1:
        found = [name for name in found if name in ("input", "image")]
    if len(found) == 1 and images:
        return found, {"path": [_image(root, cell) for cell in table[found[0]].to_pylist()]}
    if len(found) == 1:
        return found, {"input": _stacked(root, found[0], table[found[0]])}
    numbers = [name for name in others if _is_number(table.schema.field(name).type)]
    if images or lists or not numbers:
        raise ValueError(
            f"data_dir: {root} has the columns {', '.join(features)}; expected one of type Image "
            "or of lists, or named input, or numbers"
        )
    values = [table[name].to_numpy().astype(np.float32) for name in numbers]
    return numbers, {"input": np.stack(values, axis=1)}


def _image(root: pathlib.Path, cell: dict[str, Any] | None) -> str | bytes:
    found = None if cell is None else cell["bytes"] or cell["path"]
    if not found:
        raise ValueError(f"data_dir: {root}: an image is empty")
    return found


def _is_list(kind: pyarrow.DataType) -> bool:
    storage = kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind
    return (
        types.is_list(storage) or types.is_large_list(storage) or types.is_fixed_size_list(storage)
    )


def _is_number(kind: pyarrow.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _stacked(root: pathlib.Path, name: str, column: pyarrow.ChunkedArray) -> np.ndarray:
    """Returns lists of lists as an array [n, ...], uint8 or float32."""
    values, shape = column.combine_chunks(), [len(column)]
    if isinstance(values, pyarrow.ExtensionArray):
        values = values.storage
    while _is_list(values.type):
        lengths = compute.call_function("list_value_length", [values]).unique().to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise ValueError(f"data_dir: {root}: column {name!r} must hold lists of one shape")
        shape += lengths
        values = values.flatten()
    if values.null_count or not _is_number(values.type):
        raise ValueError(f"data_dir: {root}: column {name!r} must hold lists of numbers")
    found = values.to_numpy().reshape(shape)
    return found if found.dtype == np.uint8 else found.astype(np.float32)


def _joined(tables: dict[str, pyarrow.Table], name: str) -> list[Any]:
    return [value for table in tables.values() for value in table[name].to_pylist()]
