"""Writes what a command found: to a file atomically, or to standard output."""

import contextlib
import os
import pathlib
import select
import signal
import sys
from collections.abc import Generator, Sequence
from typing import TextIO

from autolabel_jax import files


def write(content: bytes, path: pathlib.Path | None) -> None:
    """Writes to a file, or to standard output if there is none."""
    if path is None:
        sys.stdout.write(content.decode())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        file.write(content)


def say(text: str) -> None:
    """Prints a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Returns a path as UTF-8 can hold it; other bytes are escaped."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows of text as columns, the first one on the left and the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = [str.ljust, *(len(widths) - 1) * [str.rjust]]
    lines = (
        "  ".join(pad(text, width) for pad, text, width in zip(pads, row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def ending_with_reader() -> Generator[None]:
    """Exits silently, as SIGPIPE does, once nobody reads standard output, as in ``… | head``."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # as after >&-
                sys.stdout.flush()
    except BrokenPipeError:
        if not is_closed(sys.stdout):
            raise
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def is_closed(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose reader is gone."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
