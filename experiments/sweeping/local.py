"""Runs the jobs of a sweep one after another in this process.

They share imports, the device and compiled programs, whose setup takes longer on a GPU than a
short training.
"""

from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, Outcome, Source, Stop


def begin(source: Source, board: Board, stop: Stop) -> Job | None:
    """Returns the next run that is not finished yet, or None at the end or after a stop."""
    while not stop() and (job := source.next()) is not None:
        board.started(job)
        outcome = sweep_job.look(job)
        if outcome is None:
            return job
        end(source, board, job, outcome)
    return None


def end(source: Source, board: Board, job: Job, outcome: Outcome) -> None:
    """Records how a run ended."""
    source.finished(job, outcome)
    board.finished(job, outcome)


def run(source: Source, board: Board, stop: Stop) -> None:
    """Runs the jobs of a source, until it is empty or ``stop`` is true."""
    while (job := begin(source, board, stop)) is not None:
        end(source, board, job, sweep_job.attempt(job, stop))
