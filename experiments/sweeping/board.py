"""Shows the state of a sweep: a live table on a terminal, plain lines elsewhere."""

import collections
import json
import sys
import threading
import time
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.sweeping.job import BUSY, DONE, FAILED, SKIPPED, STOPPED, Job, Outcome

RUNNING = "running"
STYLES = {RUNNING: "cyan", DONE: "green", FAILED: "bold red", STOPPED: "yellow", BUSY: "yellow"}
COLUMNS = ("run", "state", "epoch", "cal. NLL", "accuracy %", "ECE %", "NLL", "seconds")


class Sized(Protocol):
    """Knows the number of runs."""

    total: int


class Board:
    """Keeps and shows the states of all runs.

    Args:
      source: knows the number of runs.
      console: console to write to; standard output by default.
    """

    def __init__(self, source: Sized, console: Console | None = None):
        self._source = source
        self.outcomes: dict[str, Outcome] = {}
        self.jobs: dict[str, Job] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()
        # Keep the stream itself: sys.stdout is redirected to a log while a run is trained.
        self._console = console or Console(file=sys.stdout)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self.table,
                refresh_per_second=2,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        """Starts the live table."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the live table and leaves its last state on the terminal."""
        if self._live:
            self._live.stop()

    def started(self, job: Job) -> None:
        """Records that a run has begun."""
        with self._lock:
            self.jobs[job.name] = job
            self._began[job.name] = time.monotonic()

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Records how a run ended, and prints a line if there is no live table."""
        with self._lock:
            self.jobs[job.name] = job
            self.outcomes[job.name] = outcome
            seconds = time.monotonic() - self._began.pop(job.name, time.monotonic())
        if not self._live:
            place = f"[{len(self.outcomes)}/{self.total}]"
            metrics = _metrics(job, outcome.state)
            shown = ", ".join(f"{n} {metrics[n]}" for n in COLUMNS[4:7] if metrics.get(n))
            text = outcome.message or shown
            line = f"{place} {job.name}: {outcome.state} in {seconds:.1f} s" + (
                f": {text}" if text else ""
            )
            self._console.print(Text(line), soft_wrap=True)

    @property
    def total(self) -> int:
        """Number of runs."""
        return self._source.total

    def count(self, *states: str) -> int:
        """Returns the number of runs that ended in one of these states."""
        return sum(outcome.state in states for outcome in self.outcomes.values())

    def failures(self) -> list[tuple[str, str]]:
        """Returns name and reason of each failed run."""
        return [(n, o.message) for n, o in self.outcomes.items() if o.state == FAILED]

    def summary(self) -> str:
        """Returns '3 of 6 runs done (1 of them before), 1 failed, 2 to do'."""
        done, before = self.count(DONE, SKIPPED), self.count(SKIPPED)
        counts = collections.Counter(o.state for o in self.outcomes.values())
        parts = [f"{done} of {self.total} runs done"]
        parts[0] += f" ({before} of them before)" if before else ""
        parts += [f"{counts[s]} {s}" for s in (FAILED, STOPPED, BUSY) if counts[s]]
        parts += [f"{len(self._began)} running"] if self._began else []
        waiting = self.total - len(self.outcomes) - len(self._began)
        parts += [f"{waiting} to do"] if waiting > 0 else []
        return ", ".join(parts)

    def table(self) -> Table | Group:
        """Makes a table of all runs that have begun.

        A live table holds the running ones and as many of the last finished ones as fit.
        """
        with self._lock:
            names = [n for n in self.jobs if n in self.outcomes]
            running = [n for n in self.jobs if n in self._began]
            began = dict(self._began)
        if self._live and self._live.is_started:
            space = max(self._console.height - 6 - len(running), 1)
            names = names[-space:]
        table = Table(box=None, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, overflow="fold")
        for name in (*names, *running):
            state = RUNNING if name in began else self.outcomes[name].state
            metrics = _metrics(self.jobs[name], state)
            if name in began:
                metrics["seconds"] = f"{time.monotonic() - began[name]:.0f}"
            cells = [name, Text(state, STYLES.get(state, "")), *map(metrics.get, COLUMNS[2:])]
            table.add_row(*(cell if cell is not None else "" for cell in cells))
        return table if not self._live else Group(table, Text(self.summary()))

    def print_end(self) -> None:
        """Prints the whole table if there is no live one, and the failed runs."""
        if not self._live:
            Console(file=self._console.file, width=200).print(self.table())
        for name, message in self.failures():
            self._console.print(Text(f"failed: {name}: {message}"), soft_wrap=True)


def _metrics(job: Job, state: str) -> dict[str, str]:
    """Returns the table cells of a run, read from its files, wherever it runs."""
    line = job.run_dir.last_metrics()
    cells = {}
    if line:
        cells["epoch"] = f"{line['epoch'] + 1}/{json.loads(job.config)['epochs']}"
        cells["cal. NLL"] = _number(line.get("calibration_nll"), 1, 4)
    if state in (DONE, SKIPPED) and (result := job.run_dir.read_result()):
        for column, name, factor, digits in (
            *(("accuracy %", "accuracy", 100, 2), ("ECE %", "ece", 100, 2)),
            *(("NLL", "nll", 1, 4), ("seconds", "seconds", 1, 0)),
        ):
            cells[column] = _number(result.get(name), factor, digits)
    return cells


def _number(value: Any, factor: float, digits: int) -> str:
    return "" if value is None else f"{factor * value:.{digits}f}"
