"""What the benchmarks share: timed calls, lines on disk that a second run skips, tables."""

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
    """Medians over repeats, in seconds of one call."""

    wall: float
    cpu: float  # of this process, over all its threads


def time_calls(call: Callable[[], Any], repeats: int, *, inner: int = 1, warmup: int = 1) -> Timing:
    """Medians over ``repeats`` of ``inner`` calls each.

    Args:
      call: must not return before its work is done: the one that ends an inner
        loop is waited for by the call itself.
      repeats: timed groups of calls.
      inner: calls in a group.
      warmup: calls before the first group, which do not count.
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
    """Name of the processor, and how many cores of it this process may use."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text("utf-8").splitlines() if s.startswith("model name")]
        name = names[0].split(":")[1].strip() if names else name
    return f"{len(os.sched_getaffinity(0))} x {name}"


def load() -> str:
    """Load average of the last minute: what else went on while the wall clock ran."""
    return f"load {os.getloadavg()[0]:.1f}"


class Recorder:
    """Appends one JSON line a measurement to a file; what it already holds is not run again.

    A measurement that failed leaves its error's text, and is tried again by the
    next run. After ``seconds`` no further one is begun.
    """

    def __init__(self, path: str | pathlib.Path, seconds: float = float("inf")):
        """Reads what is there; ``seconds`` from now on new measurements are left out."""
        self.path, self.ends = pathlib.Path(path), time.monotonic() + seconds
        self.done = {_name(line["key"]) for line in self.lines() if "error" not in line}

    def lines(self) -> list[dict[str, Any]]:
        """All lines of the file."""
        if not self.path.exists():
            return []
        return [json.loads(s) for s in self.path.read_text("utf-8").splitlines() if s]

    def run(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """Measures, unless the file has the key; writes and prints the line."""
        if _name(key) in self.done:
            return
        if time.monotonic() > self.ends:
            print(f"left out, out of time: {_name(key)}", flush=True)
            return
        start = time.perf_counter()
        try:
            line = {"key": key, **measure()}
            self.done.add(_name(key))
        except Exception as error:  # whatever a peer raises is its result
            line = {"key": key, "error": f"{type(error).__name__}: {error}"[:2000]}
        line["took_seconds"] = round(time.perf_counter() - start, 2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(_name(key), {k: v for k, v in line.items() if k != "key"}, flush=True)

    def result(self, **key) -> dict[str, Any] | None:
        """The last good line whose key has these fields, or None."""
        found = [
            line
            for line in self.lines()
            if "error" not in line and key.items() <= line["key"].items()
        ]
        return found[-1] if found else None


def _name(key: dict[str, Any]) -> str:
    return " ".join(f"{field}={value}" for field, value in sorted(key.items()))


def chosen(known: Iterable[str], only: str) -> list[str]:
    """The names that a comma-separated flag asks for, in the order known; '' is all.

    Raises:
      ValueError: a name that is not known.
    """
    known, asked = list(known), [name for name in only.split(",") if name]
    wrong = [name for name in asked if name not in known]
    if wrong:
        raise ValueError(f"got {', '.join(wrong)}, known are {', '.join(known)}")
    return [name for name in known if name in asked or not asked]


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they need be, in Markdown; the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row):
        cells = [
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print("\n".join(map(line, (header, rule, *rows))), flush=True)
