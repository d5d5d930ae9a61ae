"""Runs jobs one after another: the loop of every worker, and the worker in this process.

Runs in one process share imports, the device and compiled programs, whose setup takes longer on a
GPU than a short training.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, Outcome, Stop

Attempt = Callable[[Job], Outcome]  # runs a job and returns how it ended


class Source(Protocol):
    """Supplies the runs of a sweep: a list, or a search that learns how each one ended."""

    total: int  # number of runs, as far as it is known

    def next(self) -> Job | None:
        """Returns the next run, or None at the end. Called by one thread at a time."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Receives the outcome of a run. Called by one thread at a time."""


class JobList:
    """A source of runs that are known in advance."""

    def __init__(self, jobs: Sequence[Job]):
        self.total = len(jobs)
        self._jobs = iter(jobs)

    def next(self) -> Job | None:
        """Returns the next run, or None at the end."""
        return next(self._jobs, None)

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Ignores the outcome."""


class Locked:
    """Wraps a source so that several threads can use it."""

    def __init__(self, source: Source):
        self._source, self._lock = source, threading.Lock()

    def next(self) -> Job | None:
        """Returns the next run, or None at the end."""
        with self._lock:
            return self._source.next()

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Passes the outcome of a run on."""
        with self._lock:
            self._source.finished(job, outcome)


def work(source: Source, attempt: Attempt, board: Board, stop: Stop) -> None:
    """Runs the jobs of a source one after another, until it is empty or ``stop`` is set."""
    while not stop() and (job := source.next()) is not None:
        board.started(job)
        outcome = sweep_job.look(job) or attempt(job)
        source.finished(job, outcome)
        board.finished(job, outcome)


def run_here(source: Source, board: Board, stop: Stop) -> None:
    """Runs all jobs in this process."""
    work(source, lambda job: sweep_job.attempt(job, stop), board, stop)
