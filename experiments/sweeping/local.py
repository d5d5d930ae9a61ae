"""The loop that every worker of a sweep runs, and the worker that is this process itself.

In one process imports, the device and compiled programs are there for the next run at once,
which on a GPU takes longer than a short training.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, Outcome, Stop

Attempt = Callable[[Job], Outcome]


class Source(Protocol):
    """Where the runs come from: a list, or a search that hears how each one ended."""

    total: int  # how many runs there are, as far as is known

    def next(self) -> Job | None:
        """The next run; None: there is no more. Called by one thread at a time."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Hears of the end of a run. Called by one thread at a time."""


class JobList:
    """Runs that are known beforehand."""

    def __init__(self, jobs: Sequence[Job]):
        self.total = len(jobs)
        self._jobs = iter(jobs)

    def next(self) -> Job | None:
        return next(self._jobs, None)

    def finished(self, job: Job, outcome: Outcome) -> None:
        pass


class Locked:
    """Makes a source safe for several threads."""

    def __init__(self, source: Source):
        self._source, self._lock = source, threading.Lock()

    def next(self) -> Job | None:
        with self._lock:
            return self._source.next()

    def finished(self, job: Job, outcome: Outcome) -> None:
        with self._lock:
            self._source.finished(job, outcome)


def work(source: Source, attempt: Attempt, board: Board, stop: Stop) -> None:
    """Runs what the source gives, one after another, until it is empty or told to stop."""
    while not stop() and (job := source.next()) is not None:
        board.started(job)
        outcome = sweep_job.look(job) or attempt(job)
        source.finished(job, outcome)
        board.finished(job, outcome)


def run_here(source: Source, board: Board, stop: Stop) -> None:
    """All runs in this process."""
    work(source, lambda job: sweep_job.attempt(job, stop), board, stop)
