"""Keeps the states of the runs of a sweep, and shows them.

A line is printed for each run that ends. Running ones are shown live on a terminal, and in a line
every minute elsewhere.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autolabel_jax import files
from experiments.sweeping.execution import DONE, FAILED, SKIPPED, STOPPED, Outcome
from experiments.sweeping.runs import Run

EVERY = 60.0  # seconds between the lines where there is no terminal
STYLES = {FAILED: "bold red", STOPPED: "yellow"}


class Board:
    """Takes runs from a source, and keeps and shows how each of them ended.

    Args:
      runs: runs of the sweep: a list, or a search that proposes them one by one.
      stop: tells whether to begin no more runs.
      tell: is told how each run ended.
      console: console to write to; standard output by default.
    """

    def __init__(
        self,
        runs: Collection[Run],
        stop: Callable[[], bool],
        *,
        tell: Callable[[Run, Outcome], None] = lambda run, outcome: None,
        console: Console | None = None,
    ):
        self.runs, self._stop, self._tell = runs, stop, tell
        self.outcomes: list[tuple[str, Outcome]] = []  # by name of the run
        self._todo = iter(runs)
        self._running: dict[str, tuple[Run, float]] = {}  # run and start in seconds, by name
        # Keep the stream itself: sys.stdout is redirected to a log while a run is trained.
        self._console = console or Console(file=sys.stdout)

    def begin(self) -> Run | None:
        """Returns the next run, or None at the end or after a stop."""
        run = None if self._stop() else next(self._todo, None)
        if run is not None:
            self._running[run.name] = run, time.monotonic()
        return run

    def end(self, run: Run, outcome: Outcome) -> None:
        """Records how a run ended, and prints a line."""
        self._tell(run, outcome)
        self.outcomes.append((run.name, outcome))
        _, began = self._running.pop(run.name)
        text = f"[{len(self.outcomes)}/{len(self.runs)}] {run.name}: {outcome.state}"
        if outcome.state != SKIPPED:
            text += f" in {time.monotonic() - began:.1f} s"
        details = outcome.message or _metrics(run)
        self._print(f"{text}: {details}" if details else text, STYLES.get(outcome.state, ""))

    def count(self, *states: str) -> int:
        """Returns the number of runs that ended in one of these states."""
        return sum(outcome.state in states for _, outcome in self.outcomes)

    def summary(self) -> str:
        """Returns '3 of 6 runs done (1 of them before), 1 failed, 2 to do'."""
        before, running = self.count(SKIPPED), len(self._running)
        counts = {state: self.count(state) for state in (FAILED, STOPPED)} | {"running": running}
        counts["to do"] = len(self.runs) - len(self.outcomes) - running
        done = f"{self.count(DONE, SKIPPED)} of {len(self.runs)} runs done"
        done += f" ({before} of them before)" if before else ""
        return ", ".join([done, *(f"{n} {state}" for state, n in counts.items() if n)])

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the running runs until the end of the block."""
        ended = threading.Event()
        if not self._console.is_terminal:
            threading.Thread(target=self._report, args=[ended], daemon=True).start()
        with Live(
            console=self._console,
            get_renderable=self._view,
            refresh_per_second=1,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            try:
                yield
            finally:
                ended.set()

    def _progress(self) -> list[str]:
        return [f"{run.name} ({_progress(run)})" for run, _ in list(self._running.values())]

    def _view(self) -> Text:
        lines = [self.summary(), *(f"  {line}" for line in self._progress())]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _report(self, ended: threading.Event) -> None:
        while not ended.wait(EVERY):
            self._print(": ".join(filter(None, [self.summary(), "; ".join(self._progress())])))

    def _print(self, line: str, style: str = "") -> None:
        """Prints a line above the live ones."""
        self._console.print(Text(line, style), soft_wrap=True)


def _progress(run: Run) -> str:
    """Returns how far a running run is, as its files say, wherever it runs."""
    if run.run_dir.is_finished:
        return f"evaluation, {len(files.read_json_lines(run.run_dir.ledger.file))} sets"
    line = run.run_dir.last_metrics()
    return f"epoch {line['epoch'] + 1}/{run.config.epochs}" if line else "starting"


def _metrics(run: Run) -> str:
    """Returns the metrics of a finished run."""
    result = run.run_dir.read_result() or {}
    formats = {"accuracy": "{:.2%}", "ece": "{:.2%}", "nll": "{:.4f}"}
    shown = {n: text.format(result[n]) for n, text in formats.items() if result.get(n) is not None}
    return ", ".join(f"{name} {text}" for name, text in shown.items())
