"""Makes inputs of the columns of a table: numbers as they are, texts one-hot.

``fit`` describes the columns in JSON values, which are saved with the run and its predictor, and
``encode`` makes inputs by such a description, the same in training and in prediction. Inputs are
standardised later, inside the model.

The description, ``Dataset.encoding``, has ``reads`` = 'columns', the ``kind`` of the inputs, and
for each of ``columns`` the ``name``; the ``categories``, None for numbers; and ``fill``, the number
that stands for a missing value, None where none may be missing. A column with ``fill`` has one more
entry, which is 1 where its value is missing.
"""

import functools
import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

READS = "columns"
ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl")
MISSING = ("error", "mask")
MOST_CATEGORIES = 200  # of a column; more are probably names or numbers of the rows
SHOWN = 10  # names in a message

Columns = Mapping[str, Sequence[Any]]


def load(path: pathlib.Path, field: str = "data_dir") -> dict[str, list[Any]]:
    """Reads all columns of a .csv, .tsv, .parquet or .jsonl file.

    Values of a .csv file may be in quotes and then hold line ends; those of a .tsv file are as they
    are between tabs.

    Raises:
      ValueError: it cannot be read; the message begins with ``field``.
    """
    from pyarrow import csv, json, parquet  # slow to import

    quoted = csv.ParseOptions(newlines_in_values=True)
    between_tabs = csv.ParseOptions(delimiter="\t", quote_char=False)
    readers = {
        ".csv": functools.partial(csv.read_csv, parse_options=quoted),
        ".tsv": functools.partial(csv.read_csv, parse_options=between_tabs),
        ".parquet": parquet.read_table,
        ".jsonl": json.read_json,
    }
    try:
        table = readers[path.suffix.lower()](path)
    except Exception as error:  # pyarrow raises many types
        reason = " ".join(str(error).split())
        raise ValueError(f"{field}: {path} cannot be read as a table ({reason})") from error
    return {name: table[name].to_pylist() for name in table.column_names}


def fit(
    where: str, columns: Columns, train: np.ndarray, *, kind: str, missing: str
) -> dict[str, Any]:
    """Describes columns, see the module.

    Args:
      where: path of the table, for messages.
      columns: values by name, one for each row.
      train: bool [n], whether a row is a training example.
      kind: 'features', or 'series' for columns that are the time steps of one channel.
      missing: 'error' refuses missing values; 'mask' replaces them by the mean of the training
        rows, and adds an entry that says so.

    Raises:
      ValueError: a column holds other values, or too many texts, or missing ones.
    """
    described = [_fit(f"data_dir: {where}", n, v, train, missing) for n, v in columns.items()]
    for column in described if kind == "series" else ():
        if column["categories"] is not None or column["fill"] is not None:
            raise ValueError(
                f"data_dir: {where}: column {column['name']!r} holds texts or missing values; the "
                "time steps of data.kind='series' must be numbers"
            )
    found = {"reads": READS, "kind": kind, "columns": described}
    constant = [c["name"] for c in described if len({*map(str, columns[c["name"]])}) < 2]
    if constant:
        warnings.warn(
            f"data_dir: {where}: columns with one value, which say nothing of the class: "
            f"{_some(constant)}",
            stacklevel=5,
        )
    return found


def encode(where: str, columns: Columns, encoding: Mapping[str, Any]) -> np.ndarray:
    """Makes inputs, float32 [n, D], or [n, T, 1] of kind 'series'; other columns are not read.

    Args:
      where: what holds the columns, for messages, such as 'data_dir: PATH'.
      columns: values by name, one for each row.
      encoding: from ``fit``.

    Raises:
      ValueError: a column or value is missing, or a value is of another type or a new category.
    """
    lacking = [c["name"] for c in encoding["columns"] if c["name"] not in columns]
    if lacking:
        raise ValueError(
            f"{where}: lacks the columns {_some(lacking)}; it has {_some(list(columns))}"
        )
    parts = [_encode(where, columns[c["name"]], c) for c in encoding["columns"]]
    with np.errstate(over="ignore"):  # overflow is reported below
        inputs = np.concatenate(parts, axis=1).astype(np.float32)
    if (bad := ~np.isfinite(inputs)).any():
        row, entry = np.argwhere(bad)[0]
        named = encoding["columns"][column_of(encoding)[entry]]["name"]
        raise ValueError(f"{where}: column {named!r} holds a number too large in row {row + 1}")
    return inputs[..., None] if encoding["kind"] == "series" else inputs


def column_of(encoding: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Returns the number of the column that each entry of an input is of; () if not of a table."""
    if encoding is None or encoding["reads"] != READS:
        return ()
    return tuple(i for i, column in enumerate(encoding["columns"]) for _ in range(_size(column)))


def _size(column: Mapping[str, Any]) -> int:
    names = column["categories"]
    return (1 if names is None else len(names)) + (column["fill"] is not None)


def _fit(
    where: str, name: str, values: Sequence[Any], train: np.ndarray, missing: str
) -> dict[str, Any]:
    """Describes one column."""
    gone = [_is_missing(value) for value in values]
    present = [value for value, is_gone in zip(values, gone, strict=True) if not is_gone]
    if any(gone) and (missing == "error" or not present):
        advice = "leave it out of data.columns" + (", or use data.missing='mask'" * bool(present))
        raise ValueError(
            f"{where}: column {name!r} lacks a value in {sum(gone)} rows, the first one is row "
            f"{gone.index(True) + 1}; {advice}"
        )
    categories, fill = None, None
    if any(isinstance(value, str) for value in present):
        categories = sorted({*map(str, present)})
        _check_texts(where, name, values, categories)
        fill = 0.0 if any(gone) else None
    elif any(gone):
        column = {"name": name, "categories": None, "fill": math.nan}
        known = _encode(where, values, column)[train & ~np.array(gone), 0]
        fill = float(known.mean()) if len(known) else 0.0
    return {"name": name, "categories": categories, "fill": fill}


def _check_texts(where: str, name: str, values: Sequence[Any], categories: Sequence[str]) -> None:
    """Refuses a column of numbers with a text among them, and one with too many texts."""
    texts = [text for text in categories if _number(text) is None]
    if texts and len(texts) < len(categories) - len(texts) and len(categories) > 2:
        row = 1 + next(i for i, value in enumerate(values) if str(value) == texts[0])
        raise ValueError(
            f"{where}: column {name!r} holds numbers, but in row {row} the text {texts[0]!r}; "
            "correct it, or, if these are categories, write the numbers as texts, such as 'n3'"
        )
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"{where}: column {name!r} has {len(categories)} different texts, must be at most "
            f"{MOST_CATEGORIES}; leave it out of data.columns, or read it alone as text by "
            f"data.kind='text' and data.columns={name!r}"
        )


def _encode(where: str, values: Sequence[Any], column: Mapping[str, Any]) -> np.ndarray:
    """Returns the entries of one column, float64 [n, entries]."""
    name, categories, fill = column["name"], column["categories"], column["fill"]
    gone = np.array([_is_missing(value) for value in values], bool)
    if gone.any() and fill is None:
        raise ValueError(
            f"{where}: column {name!r} has no value in row {gone.argmax() + 1}; in training it "
            "had one in every row"
        )
    if categories is None:
        found = [
            fill if is_gone else _checked_number(where, name, i, value)
            for i, (value, is_gone) in enumerate(zip(values, gone, strict=True))
        ]
        entries = np.array(found, np.float64)[:, None]
    else:
        place = {text: k for k, text in enumerate(categories)}
        entries = np.zeros((len(values), len(categories)))
        for i, value in enumerate(values):
            if gone[i]:
                continue
            if str(value) not in place:
                raise ValueError(
                    f"{where}: column {name!r} has the new category {str(value)!r} in row {i + 1}; "
                    f"known are {_some(categories)}"
                )
            entries[i, place[str(value)]] = 1
    return entries if fill is None else np.concatenate([entries, gone[:, None]], axis=1)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _checked_number(where: str, name: str, row: int, value: Any) -> float:
    number = _number(value)
    if number is None or not math.isfinite(number):
        raise ValueError(
            f"{where}: column {name!r} must hold finite numbers; got {value!r} in row {row + 1}"
        )
    return number


def _number(value: Any) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
