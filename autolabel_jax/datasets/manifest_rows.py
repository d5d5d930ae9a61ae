"""Lists the rows of a manifest, a folder of images or one of Hugging Face; see ``manifest``."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from autolabel_jax.datasets import audio, tables, texts
from autolabel_jax.datasets.folder import ENDINGS, HELD_OUT

COLUMNS = ("path", "input", "label", "split", "distance", "group", "source")
TEXT = "text"  # a column of this name is read alone
SPLITS = ("train", "calibration", "test")
SAVED = ("dataset_dict.json", "state.json")  # in a folder of Hugging Face


@dataclasses.dataclass(frozen=True)
class Rows:
    """Holds the columns of a manifest, one value for each row."""

    where: str  # for messages
    paths: list[str | bytes] | None  # paths or contents of image files
    input: np.ndarray | None
    label: list[str] | np.ndarray  # names, or int
    split: list[str] | None
    distance: np.ndarray | None
    source: list[Any] | None
    group: list[Any] | None = None  # text or int
    class_names: tuple[str, ...] | None = None  # of labels that are int, if they have names
    table: dict[str, list[Any]] | None = None  # columns of features or texts by name

    def __len__(self) -> int:
        return len(self.label)

    def name(self, row: int) -> str:
        """Names a row in messages: by its path, or its number."""
        path = self.paths and self.paths[row]
        return path if isinstance(path, str) else f"row {row + 1}"

    def encoded(self, row: int) -> str | bytes | np.ndarray:
        """Returns path or content of the image file of a row, or its input."""
        if self.paths is not None:
            return self.paths[row]
        assert self.input is not None
        return self.input[row]


def kind_of_columns(rows: Rows) -> str:
    """Returns the kind of inputs of columns: 'text' for one column of texts, or 'features'."""
    for name, values in (rows.table or {}).items() if len(rows.table or {}) == 1 else ():
        if name == TEXT or texts.is_text(values):
            return "text"
    return "features"


def is_table(data: str) -> bool:
    """Whether a path is that of a manifest, or of a folder of Hugging Face."""
    path = pathlib.Path(data).expanduser()
    return path.suffix.lower() in tables.ENDINGS or any((path / name).is_file() for name in SAVED)


def list_rows(data_dir: str, columns: Sequence[str] = ()) -> Rows:
    """Reads the table, or lists the folder; decodes no image.

    Args:
      data_dir: path of the table or the folder.
      columns: names of the columns of features or of the one of texts; () for TEXT, or for all but
        COLUMNS, if there is neither path nor input.

    Raises:
      FileNotFoundError, ValueError: as ``read``.
    """
    if not data_dir:
        raise ValueError(
            "data_dir: got '', dataset='manifest' needs a manifest or a folder of images"
        )
    path = pathlib.Path(data_dir).expanduser()
    if path.is_dir():
        return _saved_rows(path) if is_table(data_dir) else _folder_rows(path)
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} does not exist, or is not a regular file")
    if path.suffix.lower() not in tables.ENDINGS:
        raise ValueError(
            f"data_dir: {path} ends in {path.suffix!r}, expected one of: "
            f"{', '.join(tables.ENDINGS)}, or a folder"
        )
    found = tables.load(path)
    features = _features(path, found, columns)
    _warn_of_unread(path, [name for name in found if name not in (*COLUMNS, *features)])
    rows = {name: values for name, values in found.items() if name in COLUMNS}
    if features:
        rows = {n: values for n, values in rows.items() if n not in ("path", "input")}
    return _table_rows(path, rows, path.parent, {name: found[name] for name in features})


def _saved_rows(root: pathlib.Path) -> Rows:
    from autolabel_jax.datasets import hugging_face  # imports pyarrow, which is slow

    columns, class_names, unread = hugging_face.read(root)
    _warn_of_unread(root, unread)
    return dataclasses.replace(_table_rows(root, columns, root), class_names=class_names)


def split_names(text: str) -> list[str]:
    """Returns the names in ``data.columns``, which commas separate."""
    return [name.strip() for name in text.split(",")] if text else []


def _features(path: pathlib.Path, found: dict[str, list[Any]], asked: Sequence[str]) -> list[str]:
    """Returns the names of the columns of features."""
    if not asked:
        named = {"path", "input"} & {*found}
        if not named and any(isinstance(value, str) for value in found.get(TEXT, [])):
            return [TEXT]
        return [] if named else [name for name in found if name not in COLUMNS]
    if unknown := [name for name in asked if name not in found or name in COLUMNS]:
        raise ValueError(
            f"data.columns: got {', '.join(unknown)}, which {path} does not have as columns of "
            f"features; it has {', '.join(found)}"
        )
    return list(asked)


def _warn_of_unread(path: pathlib.Path, columns: list[str]) -> None:
    if columns:
        warnings.warn(
            f"data_dir: {path}: columns that are not read: {', '.join(columns)}; it reads "
            f"{', '.join(COLUMNS)}",
            stacklevel=6,
        )


def _table_rows(
    path: pathlib.Path,
    columns: dict[str, Any],
    root: pathlib.Path,
    features: dict[str, list[Any]] | None = None,
) -> Rows:
    where = str(path)
    given = [bool(features), "path" in columns, "input" in columns]
    if sum(given) != 1 or "label" not in columns:
        raise ValueError(
            f"data_dir: {path} has the columns {', '.join((*columns, *(features or ()))) or 'none'}"
            "; expected label and one of path, input, text and columns of features"
        )
    if not columns["label"]:
        raise ValueError(f"data_dir: {path} has no rows")
    for name, values in columns.items():
        if isinstance(values, list) and None in values:
            raise ValueError(f"data_dir: {path}: column {name!r} is empty in {_line(values, None)}")
    paths = columns.get("path")
    return Rows(
        where=where,
        paths=paths and [p if isinstance(p, bytes) else str(root / p) for p in paths],
        input=inputs(f"data_dir: {where}", columns["input"]) if "input" in columns else None,
        label=_labels(where, columns["label"]),
        split=columns.get("split"),
        distance=_distances(where, columns["distance"]) if "distance" in columns else None,
        source=columns.get("source"),
        group=_groups(where, columns["group"]) if "group" in columns else None,
        table=features or None,
    )


def _line(values: list[Any], value: Any) -> str:
    return f"row {values.index(value) + 1}"


def inputs(where: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Returns a column of lists of numbers as an array, float32 [n, ...].

    Raises:
      ValueError: the lists differ in shape, or hold something else.
    """
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.array(values, np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{where}: column 'input' must hold lists of numbers of one shape"
        ) from error


def _labels(where: str, values: list[Any]) -> list[str] | np.ndarray:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return np.array(values, np.int32)
    if kinds == {str}:
        return values
    raise ValueError(
        f"data_dir: {where}: column 'label' must hold names, or whole numbers from 0; got "
        f"{', '.join(sorted(kind.__name__ for kind in kinds))}"
    )


def _distances(where: str, values: list[Any]) -> np.ndarray:
    for value in values:
        if isinstance(value, str) or not 0 <= value <= 1:
            raise ValueError(
                f"data_dir: {where}: column 'distance' must be in [0, 1]; got {value!r} in "
                f"{_line(values, value)}"
            )
    return np.array(values, np.float32)


def _groups(where: str, values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values}
    if kinds in ({int}, {str}):
        return values
    raise ValueError(
        f"data_dir: {where}: column 'group' must hold names, or whole numbers; got "
        f"{', '.join(sorted(kind.__name__ for kind in kinds))}"
    )


def _folder_rows(root: pathlib.Path) -> Rows:
    """Lists images in CLASS/ or SPLIT/CLASS/, or sound files where there are no images."""
    for endings in (ENDINGS, audio.ENDINGS):
        if (rows := _folder_files(root, endings)) is not None:
            return rows
    raise ValueError(
        f"data_dir: {root} has no images in CLASS/ or train/CLASS/; expected files that end in "
        f"{', '.join((*ENDINGS, *audio.ENDINGS))}"
    )


def _folder_files(root: pathlib.Path, endings: tuple[str, ...]) -> Rows | None:
    has_splits = (root / "train").is_dir()
    paths, labels, splits = [], [], []
    for path, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        parts = pathlib.Path(path).relative_to(root).parts
        if len(parts) < 1 + has_splits or (has_splits and parts[0] not in ("train", *HELD_OUT)):
            continue
        images = sorted(n for n in names if n.lower().endswith(endings) and n[0] != ".")
        paths += [os.path.join(path, name) for name in images]
        labels += [parts[has_splits]] * len(images)
        splits += ["train" if parts[0] == "train" else "test"] * len(images)
    if not paths:
        return None
    return Rows(str(root), paths, None, labels, splits if has_splits else None, None, None)
