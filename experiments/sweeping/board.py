"""Shows the state of a sweep: live lines on a terminal, a plain line every minute elsewhere."""

import collections
import json
import sys
import threading
import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from experiments.sweeping.job import DONE, FAILED, SKIPPED, STOPPED, Job, Outcome, Source

EVERY = 60.0  # seconds between the lines where there is no terminal
STYLES = {FAILED: "bold red", STOPPED: "yellow"}


class Board:
    """Keeps and shows the states of all runs.

    Args:
      source: knows the number of runs.
      console: console to write to; standard output by default.
    """

    def __init__(self, source: Source, console: Console | None = None):
        self._source = source
        self.outcomes: dict[str, Outcome] = {}
        self._running: dict[str, tuple[Job, float]] = {}  # job and start in seconds, by name
        # Keep the stream itself: sys.stdout is redirected to a log while a run is trained.
        self._console = console or Console(file=sys.stdout)
        self._ended = threading.Event()
        self._live = Live(
            console=self._console,
            get_renderable=self._view,
            refresh_per_second=1,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Starts the live lines, or the line of every minute."""
        if self._console.is_terminal:
            self._live.start()
        else:
            threading.Thread(target=self._tell, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what ``__enter__`` has started."""
        self._ended.set()
        self._live.stop()

    def started(self, job: Job) -> None:
        """Records that a run has begun."""
        self._running[job.name] = job, time.monotonic()

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Records how a run ended, and prints a line."""
        self.outcomes[job.name] = outcome
        _, began = self._running.pop(job.name)
        text = f"[{len(self.outcomes)}/{self._source.total}] {job.name}: {outcome.state}"
        if outcome.state != SKIPPED:
            text += f" in {time.monotonic() - began:.1f} s"
        details = outcome.message or _metrics(job)
        self.print(f"{text}: {details}" if details else text, STYLES.get(outcome.state, ""))

    def print(self, line: str, style: str = "") -> None:
        """Prints a line above the live ones."""
        self._console.print(Text(line, style), soft_wrap=True)

    def count(self, *states: str) -> int:
        """Returns the number of runs that ended in one of these states."""
        return sum(outcome.state in states for outcome in self.outcomes.values())

    def failures(self) -> list[str]:
        """Returns a line with name and reason of each failed run."""
        ended = self.outcomes.items()
        return [f"failed: {name}: {o.message}" for name, o in ended if o.state == FAILED]

    def summary(self) -> str:
        """Returns '3 of 6 runs done (1 of them before), 1 failed, 2 to do'."""
        done, before, total = self.count(DONE, SKIPPED), self.count(SKIPPED), self._source.total
        counts = collections.Counter(o.state for o in self.outcomes.values())
        parts = [f"{done} of {total} runs done"]
        parts[0] += f" ({before} of them before)" if before else ""
        parts += [f"{counts[s]} {s}" for s in (FAILED, STOPPED) if counts[s]]
        parts += [f"{len(self._running)} running"] if self._running else []
        waiting = total - len(self.outcomes) - len(self._running)
        parts += [f"{waiting} to do"] if waiting > 0 else []
        return ", ".join(parts)

    def progress(self) -> list[str]:
        """Returns the name and the progress of each running run."""
        return [f"{job.name} ({_progress(job)})" for job, _ in list(self._running.values())]

    def _view(self) -> Text:
        lines = [self.summary(), *(f"  {line}" for line in self.progress())]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _tell(self) -> None:
        while not self._ended.wait(EVERY):
            running = "; ".join(self.progress())
            self.print(f"{self.summary()}{': ' if running else ''}{running}")


def _progress(job: Job) -> str:
    """Returns how far a running run is, as its files say, wherever it runs."""
    if job.run_dir.is_finished:
        return "evaluation"
    line = job.run_dir.last_metrics()
    return f"epoch {line['epoch'] + 1}/{json.loads(job.config)['epochs']}" if line else "starting"


def _metrics(job: Job) -> str:
    """Returns the metrics of a finished run."""
    result = job.run_dir.read_result() or {}
    known = {name: value for name, value in result.items() if value is not None}
    formats = {"accuracy": "{:.2%}", "ece": "{:.2%}", "nll": "{:.4f}"}
    shown = (f"{n} {text.format(known[n])}" for n, text in formats.items() if n in known)
    return ", ".join(shown)
