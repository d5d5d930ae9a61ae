"""Starts and ends the processes of jobs.

The process of a job holds a lock on a file that names it. The system frees the lock when the
process ends, so a later service knows whether a process of an earlier one still runs, and never
signals another one.
"""

import asyncio
import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Generator, Sequence

from autolabel_jax import files

TOKEN = "AUTOLABEL_TOKEN"  # of the service; is not handed to the processes
POLL = 0.1  # seconds
PATIENCE = 30.0  # seconds in which a process that is asked to stop may save its run


def start(command: Sequence[str], lock: pathlib.Path, log: pathlib.Path) -> subprocess.Popen[bytes]:
    """Starts a command in a process group of its own.

    Args:
      command: command line.
      lock: file that the process holds until its end.
      log: file that its output is appended to.
    """
    with handed_on(lock) as held, open(log, "ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[held],
            env={name: text for name, text in os.environ.items() if name != TOKEN},
        )
        os.write(held, str(process.pid).encode())
    return process


async def wait(process: subprocess.Popen[bytes]) -> int:
    """Returns the exit code of a process, once it and what it started have ended.

    If the caller is cancelled, the process is asked to stop, and killed after PATIENCE.
    """
    try:
        while (code := process.poll()) is None:
            await asyncio.sleep(POLL)
        return code
    finally:
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        _signal(process.pid, signal.SIGKILL)


async def end(lock: pathlib.Path, *signals: int) -> None:
    """Ends the processes of a job, whoever started them.

    Args:
      lock: file that the process of the job holds.
      *signals: signals to send, each after PATIENCE without success; SIGTERM and SIGKILL if none
        are given.

    Raises:
      ValueError: the process does not end.
    """
    for number in signals or (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if (holder := _holder(lock)) is None:
                return
            if holder.isdigit():
                _signal(int(holder), number)
            await asyncio.sleep(POLL)
    raise ValueError(f"{lock}: the process that holds it does not end")


def _holder(lock: pathlib.Path) -> str | None:
    if not lock.exists():
        return None
    with files.lock(lock) as holder:
        return holder


@contextlib.contextmanager
def handed_on(path: pathlib.Path) -> Generator[int]:
    """Locks a file; a process that gets its descriptor holds the lock after the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
