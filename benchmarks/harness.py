"""Provides timed calls, a file of measurements that a second run skips, and tables."""

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Timing:
    """Median seconds of one call."""

    wall: float
    cpu: float  # processor time of this process, over all its threads


def time_calls(call: Callable[[], Any], repeats: int, *, inner: int = 1, warmup: int = 1) -> Timing:
    """Returns the median time of a call over ``repeats`` groups of ``inner`` calls each.

    Args:
      call: must return only when its work is done.
      repeats: number of timed groups of calls.
      inner: number of calls in a group.
      warmup: number of untimed calls before the first group.
    """
    for _ in range(warmup):
        call()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(inner):
            call()
        wall.append((time.perf_counter() - start) / inner)
        cpu.append((time.process_time() - start_cpu) / inner)
    return Timing(statistics.median(wall), statistics.median(cpu))


def processor() -> str:
    """Returns the name of the processor and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text("utf-8").splitlines() if s.startswith("model name")]
        name = names[0].split(":")[1].strip() if names else name
    return f"{len(os.sched_getaffinity(0))} x {name}"


def load() -> str:
    """Returns the load average of the last minute, to show other work on the machine."""
    return f"load {os.getloadavg()[0]:.1f}"


class Recorder:
    """Appends one JSON line per measurement to a file, and skips measurements it holds.

    A failed measurement leaves the text of its error, and is repeated by the next run.

    Args:
      path: the file.
      seconds: time after which no further measurement is started.
    """

    def __init__(self, path: str | pathlib.Path, seconds: float = float("inf")):
        self.path, self.ends = pathlib.Path(path), time.monotonic() + seconds
        self.done = {_name(line["key"]) for line in self.lines() if "error" not in line}

    def lines(self) -> list[dict[str, Any]]:
        """Returns all lines of the file."""
        if not self.path.exists():
            return []
        return [json.loads(s) for s in self.path.read_text("utf-8").splitlines() if s]

    def run(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """Measures unless the file has the key; writes and prints the line."""
        if _name(key) in self.done:
            return
        if time.monotonic() > self.ends:
            print(f"skipped, out of time: {_name(key)}", flush=True)
            return
        start = time.perf_counter()
        try:
            line = {"key": key, **measure()}
            self.done.add(_name(key))
        except Exception as error:  # an error of a peer is its result
            line = {"key": key, "error": f"{type(error).__name__}: {error}"[:2000]}
        line["took_seconds"] = round(time.perf_counter() - start, 2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(_name(key), {k: v for k, v in line.items() if k != "key"}, flush=True)

    def result(self, **key: Any) -> dict[str, Any] | None:
        """Returns the last line without an error whose key has these fields, or None."""
        lines = [
            line
            for line in self.lines()
            if "error" not in line and key.items() <= line["key"].items()
        ]
        return lines[-1] if lines else None


def _name(key: dict[str, Any]) -> str:
    return " ".join(f"{field}={value}" for field, value in sorted(key.items()))


def chosen(known: Iterable[str], only: str) -> list[str]:
    """Returns the names that a comma-separated flag selects, in the order of ``known``; '' is all.

    Raises:
      ValueError: a name is unknown.
    """
    known, asked = list(known), [name for name in only.split(",") if name]
    wrong = [name for name in asked if name not in known]
    if wrong:
        raise ValueError(f"got {', '.join(wrong)}, expected some of: {', '.join(known)}")
    return [name for name in known if name in asked or not asked]


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints a Markdown table with aligned columns, the first left and the others right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print("\n".join(map(line, (header, rule, *rows))), flush=True)
