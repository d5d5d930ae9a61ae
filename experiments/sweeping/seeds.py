"""Runs of a sweep that differ in nothing but ``seed``, each group of them in one program."""

import contextlib
import gc
import json
from collections.abc import Sequence

from autolabel_jax import train, train_seeds
from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import STOPPED, Job, Outcome, Stop
from experiments.sweeping.local import Source


def run_here(source: Source, board: Board, stop: Stop) -> None:
    """All groups in this process, one after another; what is finished is skipped."""
    for group in groups(list(iter(source.next, None))):
        if stop():
            return
        left = []
        for job in group:
            board.started(job)
            if outcome := sweep_job.look(job):
                board.finished(job, outcome)
            else:
                left.append(job)
        for job, outcome in zip(left, attempt(left, stop), strict=True):
            board.finished(job, outcome)


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that differ in nothing but the seed stand together, in the order of the first."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        but_seed = json.loads(job.config) | {"seed": None}
        key = json.dumps([but_seed, job.evaluation], sort_keys=True)
        found.setdefault(key, []).append(job)
    return list(found.values())


def attempt(jobs: Sequence[Job], stop: Stop) -> list[Outcome]:
    """As ``sweep_job.attempt``, for a group; one that is left alone runs as any other."""
    outcomes: dict[str, Outcome] = {}
    with contextlib.ExitStack() as locks:
        mine = []
        for job in jobs:
            if locks.enter_context(sweep_job.lock(job)):
                mine.append(job)
            else:
                outcomes[job.name] = sweep_job.HELD
        if len(mine) > 1:
            outcomes |= _train(mine, stop)
        for job in mine:
            # What is trained now, it evaluates as asked.
            outcomes[job.name] = outcomes.get(job.name) or sweep_job.run(job, stop)
    return [outcomes[job.name] for job in jobs]


def _train(jobs: Sequence[Job], stop: Stop) -> dict[str, Outcome]:
    """Of those that did not come to their end, how they ended."""
    configs, folders = [job.load_config() for job in jobs], [job.workdir for job in jobs]
    try:
        with sweep_job.logged(jobs[0]):
            found = train_seeds.train_seeds(configs, folders, should_stop=stop, progress=False)
    except train.Stopped as stopped:
        return {job.name: Outcome(STOPPED, str(stopped)) for job in jobs}
    except Exception as error:  # whatever it is, the other groups go on
        return {job.name: sweep_job.failed(job, error) for job in jobs}
    finally:
        gc.collect()
    return {
        job.name: sweep_job.failed(job, error)
        for job, error in zip(jobs, found, strict=True)
        if isinstance(error, train.NonFiniteLossError)
    }
