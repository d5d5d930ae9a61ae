"""Writes files atomically, and reads and writes files with one JSON value per line."""

import contextlib
import fcntl
import json
import math
import os
import pathlib
import socket
from collections.abc import Generator
from typing import IO, Any

import numpy as np


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Generator[IO[bytes]]:
    """Opens a temporary file that takes the place of ``path`` once it is written and synced.

    If writing fails, the temporary file is removed and ``path`` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes temporary files of ``replacing`` whose process has ended on this host."""
    for path in folder.glob(f".*.{socket.gethostname()}.*"):
        pid = path.name.rpartition(".")[2]
        if pid.isdigit() and not _is_running(int(pid)):
            path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Generator[str | None]:
    """Locks a file until the end of the block or of this process, however it ends.

    Yields:
      None if the lock is held now; if another process has it, that process: 'process 12 on host'.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            yield file.read().strip() or "another process"
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically; numbers that are not finite become null."""
    text = json.dumps(_null_for_nan(value), indent=2, allow_nan=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def read_json(path: pathlib.Path) -> Any:
    """Reads the value in a JSON file."""
    return json.loads(path.read_text())


def write_npz(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes arrays by their names, atomically."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # ty: ignore[invalid-argument-type] no array is named allow_pickle


def read_json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the objects of a file with one per line; ignores incomplete and damaged lines."""
    lines = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            value = json.loads(line)
        except ValueError:  # also for bytes that are not UTF-8
            continue
        lines += [value] if isinstance(value, dict) else []
    return lines


def append_json_line(path: pathlib.Path, *values: dict[str, Any]) -> None:
    """Appends a line for each value, in one write, and syncs it to disk.

    Numbers that are not finite become null.
    """
    lines = [json.dumps(_null_for_nan(value), allow_nan=False) + "\n" for value in values]
    with open(path, "a") as file:
        file.write("".join(lines))
        file.flush()
        os.fsync(file.fileno())


def rewrite_json_lines(path: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    """Replaces a file of JSON lines atomically."""
    with replacing(path) as file:
        file.write("".join(f"{json.dumps(_null_for_nan(line))}\n" for line in lines).encode())


def _null_for_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _null_for_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
