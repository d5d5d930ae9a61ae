"""Faults for tests: what a killed process leaves, a full disk, and damage to files."""

import contextlib
import errno
import functools
import multiprocessing
import os
import pathlib
import runpy
import shutil
import sys
from unittest import mock

import helpers

from autolabel_jax import corruptions

REMOVING = ("os.remove", "os.rmdir")
WRITING = ("os.rename", "os.mkdir", "os.truncate", *REMOVING)
SERVER = multiprocessing.get_context("forkserver")
CORRUPTIONS = ("brightness", "contrast")  # that programs evaluate
_listeners = []  # of the audit hook, which cannot be removed


class Writes:
    """Calls ``at`` before each operation that writes below a folder, in this process.

    Operations are opening a file to write, syncing it, and renaming or removing; those of
    TensorStore, which is C++, are not seen.

    Args:
      folder: watched folder.
      at: function of the number of the operation from 0, its path, and its audit event or 'sync'.
    """

    def __init__(self, folder: pathlib.Path, at):
        self._count, self._folder, self._at = 0, f"{folder.absolute()}{os.sep}", at
        self._busy, self._fsync = False, os.fsync

    def __enter__(self):
        if not _listeners:
            sys.addaudithook(lambda *event: _listeners[-1](*event))
            _listeners.append(lambda *event: None)
        _listeners.append(self._hear)
        self._patch = mock.patch.object(os, "fsync", self._sync)
        self._patch.start()
        return self

    def __exit__(self, *_):
        self._patch.stop()
        _listeners.remove(self._hear)

    def _hear(self, event, arguments):
        if event == "open":
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            paths = arguments[:1] if writes else ()
        else:
            paths = arguments[:2] if event in WRITING else ()
        if any(isinstance(p, str | os.PathLike) and self._is_inside(p) for p in paths):
            self._operation(paths[0], event)

    def _is_inside(self, path):
        return os.path.abspath(path).startswith(self._folder)

    def _sync(self, descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self._is_inside(path):
            self._operation(path, "sync")
        self._fsync(descriptor)

    def _operation(self, path, event):
        if self._busy:
            return
        self._busy = True
        try:
            self._at(self._count, pathlib.Path(path).absolute(), event)
        finally:
            self._count, self._busy = self._count + 1, False


@contextlib.contextmanager
def photographed(folder: pathlib.Path, into: pathlib.Path, rng):
    """Copies a folder before each write below it: what a process killed then would leave.

    A file that is being synced is cut at a random length in half of the copies. Temporary files
    get the number of a process that has ended.

    Yields:
      The list of copies.
    """
    copies = []

    def copy(n, path, event):
        target = into / str(n)
        with contextlib.suppress(shutil.Error):  # a file that another thread has just removed
            shutil.copytree(folder, target, symlinks=True)
        if event == "sync" and rng.random() < 0.5:
            cut(target / path.relative_to(folder), rng)
        for path in target.rglob(f".*.{os.getpid()}"):
            path.rename(path.with_suffix(f".{_ended_process()}"))
        copies.append(target)

    with Writes(folder, copy):
        yield copies


@functools.cache
def _ended_process() -> int:
    process = SERVER.Process(target=int)
    process.start()
    process.join()
    return process.pid


@contextlib.contextmanager
def full_disk(folder: pathlib.Path, first: int):
    """A disk without space from the ``first`` operation on; files can be removed.

    Yields:
      The list of paths that could not be written.
    """
    failed = []

    def fail(n, path, event):
        if n >= first and event not in REMOVING:
            failed.append(path)
            path = () if event == "sync" else (str(path),)  # a sync has no path
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *path)

    with Writes(folder, fail):
        yield failed


def cut(path: pathlib.Path, rng) -> None:
    """Truncates a file at a random length."""
    os.truncate(path, int(rng.integers(path.stat().st_size + 1)))


def flip(path: pathlib.Path, rng) -> None:
    """Changes a random byte of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)


def halve(folder: pathlib.Path, rng) -> None:
    """Deletes about half of the files below a folder."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if rng.random() < 0.5:
            path.unlink()


# Programs in processes of their own, which a server forks after it has imported what is slow.


def start(arguments, log: pathlib.Path):
    """Starts ``python -m PROGRAM FLAG …``."""
    SERVER.set_forkserver_preload(["fault_imports"])
    process = SERVER.Process(target=_run, args=(list(map(str, arguments)), str(log)))
    process.start()
    return process


def _run(arguments, log):
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.chdir(helpers.ROOT)
    corruptions.CORRUPTIONS = CORRUPTIONS
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def killed(arguments, seconds: float, log: pathlib.Path) -> int:
    """Runs a program and kills it after so many seconds; returns how it ended."""
    process = start(arguments, log)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode
