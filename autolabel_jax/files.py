"""Writes files atomically, and reads and writes files with one JSON object per line.

Objects may hold a checksum of themselves, so that a changed byte does not pass for a number.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import math
import os
import pathlib
import shutil
import socket
from collections.abc import Generator
from typing import IO, Any

import numpy as np

CHECKSUM = "checksum"  # name of the entry, the last of its object


class DamagedError(ValueError):
    """A file does not hold what was written."""

    def __init__(self, path: pathlib.Path, reason: object):
        super().__init__(f"{path}: {reason}")
        self.reason = str(reason)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Generator[None]:
    """Adds the path to errors of the operating system that name no file, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Generator[IO[bytes]]:
    """Opens a temporary file that takes the place of ``path`` once it is written and synced.

    If writing fails, the temporary file is removed and ``path`` stays as it was. A link stays one,
    and a file keeps its permissions.

    Raises:
      DamagedError: ``path`` is a folder, pipe or device.
    """
    path = path.resolve()
    _check_regular(path)
    temporary = temporary_path(path)
    remove_leftovers(path.parent, path.name)
    try:
        with naming(path), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: pathlib.Path) -> pathlib.Path:
    """Returns where this process writes what takes the place of ``path`` later."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def remove_leftovers(folder: pathlib.Path, name: str = "") -> None:
    """Removes temporary files and folders whose process has ended on this host.

    Args:
      folder: folder that they are in.
      name: name of the file or folder that they were to replace; '' for any.
    """
    for path in folder.glob(f".{glob.escape(name) or '*'}.{socket.gethostname()}.*"):
        pid = path.name.rpartition(".")[2]
        if pid.isdigit() and not _is_running(int(pid)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
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


def read_bytes(path: pathlib.Path) -> bytes:
    """Reads a file.

    Raises:
      DamagedError: it is no regular file; reading a pipe would wait for a writer.
    """
    _check_regular(path)
    return path.read_bytes()


def _check_regular(path: pathlib.Path) -> None:
    if path.exists() and not path.is_file():
        raise DamagedError(path, "is not a regular file")


def read_text(path: pathlib.Path) -> str:
    """Reads a text in UTF-8 with its line ends as newlines.

    Raises:
      DamagedError: the file is not UTF-8.
    """
    try:
        return read_bytes(path).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DamagedError(path, "is not UTF-8") from error


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text in UTF-8 atomically, with the line ends of the file that it replaces."""
    if "\r\n" not in text and path.exists() and b"\r\n" in read_bytes(path):
        text = text.replace("\n", "\r\n")
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: pathlib.Path, value: dict[str, Any], *, checksum: bool = False) -> None:
    """Writes a JSON file atomically; numbers that are not finite become null."""
    text = json.dumps(_stored(value, checksum), indent=2, allow_nan=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads the object in a JSON file, without its checksum.

    Raises:
      DamagedError: the file holds no JSON object, or not the one that was written.
    """
    content = read_bytes(path)
    try:
        return parse(content)
    except ValueError as error:
        raise DamagedError(path, error) from error


def parse(text: bytes) -> dict[str, Any]:
    """Parses a JSON object, and returns it without its checksum.

    Raises:
      ValueError: it is no JSON object, names an entry twice, or differs from its checksum.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_entries)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("cannot be read as a JSON object")
    expected = value.pop(CHECKSUM, None)
    if expected is not None and expected != _checksum(value):
        raise ValueError("was changed after it was written: it differs from its checksum")
    return value


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"holds the entry {twice!r} twice")
    return entries


def write_npz(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes arrays by their names, atomically."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # ty: ignore[invalid-argument-type] no array is named allow_pickle


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads arrays by their names.

    Raises:
      DamagedError: the file cannot be read as one of arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            return dict(saved)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds
        raise DamagedError(path, "cannot be read as arrays (.npz)") from error


def read_json_lines(path: pathlib.Path, *, strict: bool = False) -> list[dict[str, Any]]:
    """Reads the objects of a file with one per line; ignores incomplete and damaged lines.

    Raises:
      DamagedError: it is no regular file, or with ``strict``, for the first of these lines.
    """
    lines = []
    texts = read_bytes(path).split(b"\n") if strict or path.exists() else []
    for i, text in enumerate(texts, 1):
        try:
            lines += [parse(text)] if text.strip() else []
        except ValueError as error:
            if strict:
                raise DamagedError(path, f"line {i} {error}") from error
    return lines


def append_json_line(path: pathlib.Path, *values: dict[str, Any], checksum: bool = False) -> None:
    """Appends a line for each value, in one write, and syncs it to disk.

    Numbers that are not finite become null.
    """
    texts = [json.dumps(_stored(value, checksum), allow_nan=False) for value in values]
    _check_regular(path)
    with naming(path), open(path, "a+b") as file:
        begin = "" if _ends_with_line(file) else "\n"  # after half a line of a killed process
        file.write((begin + "".join(f"{text}\n" for text in texts)).encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_with_line(file: IO[bytes]) -> bool:
    """Whether a file is empty, or ends with a whole line."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def rewrite_json_lines(
    path: pathlib.Path, lines: list[dict[str, Any]], *, checksum: bool = False
) -> None:
    """Replaces a file of JSON lines atomically."""
    with replacing(path) as file:
        file.write("".join(f"{json.dumps(_stored(line, checksum))}\n" for line in lines).encode())


def _stored(value: dict[str, Any], checksum: bool) -> dict[str, Any]:
    """Returns what JSON can hold, with a checksum if asked for."""
    value = _null_for_nan(value)
    return {**value, CHECKSUM: _checksum(value)} if checksum else value


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _null_for_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _null_for_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
