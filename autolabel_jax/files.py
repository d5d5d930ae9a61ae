"""Writes files atomically, and reads and writes files with one JSON value per line."""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically; numbers that are not finite become null."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w") as file:
        json.dump(_null_for_nan(value), file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: pathlib.Path) -> Any:
    """Reads the value in a JSON file."""
    return json.loads(path.read_text())


def write_npz(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes arrays by their names, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # ty: ignore[invalid-argument-type] no array is named allow_pickle
    os.replace(temporary, path)


def read_json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the values of a file with one per line; ignores an incomplete last line."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def append_json_line(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Appends a line and syncs it to disk; numbers that are not finite become null."""
    with open(path, "a") as file:
        file.write(json.dumps(_null_for_nan(value), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def rewrite_json_lines(path: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    """Replaces a file of JSON lines atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(temporary, path)


def _null_for_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _null_for_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
