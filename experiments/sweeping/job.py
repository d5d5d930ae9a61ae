"""Runs one job of a sweep in any process: training, then the requested evaluation."""

import contextlib
import dataclasses
import gc
import json
import pathlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ml_collections import ConfigDict

from autolabel_jax import files, train, trained
from autolabel_jax.run_dir import RunDir
from experiments import launch

DONE, SKIPPED, FAILED, STOPPED = "done", "skipped", "failed", "stopped"

FILES = ".sweep"  # beside the runs: logs, locks, and the study of a search
STAMP = "sweep.json"  # in each run: its settings, and its finished evaluation
PATIENCE = 20.0  # seconds to wait for the processes of a sweep that was just killed
POLL = 0.5  # seconds between checks whether to stop an evaluation


@dataclasses.dataclass(frozen=True)
class Job:
    """A run as it is sent to a process, in plain values only.

    Attributes:
      name: name of its folder.
      root: folder of all runs.
      settings: settings that the sweep changed.
      config: the whole config, as JSON.
      evaluation: keywords of ``trained.evaluate``; {} means no evaluation.
    """

    name: str
    root: str
    settings: dict[str, Any]
    config: str
    evaluation: dict[str, Any]

    @property
    def workdir(self) -> pathlib.Path:
        """Folder of the run."""
        return pathlib.Path(self.root) / self.name

    @property
    def run_dir(self) -> RunDir:
        """Files of the run."""
        return RunDir(self.workdir)

    @property
    def log(self) -> pathlib.Path:
        """File of the output and errors of the run."""
        return pathlib.Path(self.root) / FILES / f"{self.name}.log"

    def load_config(self) -> ConfigDict:
        """The whole config."""
        return ConfigDict(json.loads(self.config))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: one of the states above, and the reason if it is not done."""

    state: str
    message: str = ""


class Source(Protocol):
    """Supplies the runs of a sweep: a list, or a search that learns how each one ended."""

    total: int  # number of runs, as far as it is known

    def next(self) -> Job | None:
        """Returns the next run, or None at the end."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Receives the outcome of a run."""


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


class Stop:
    """Tells whether to stop: after a signal, or for one of the given reasons.

    Args:
      *reasons: functions that return True once there is a reason to stop.
    """

    def __init__(self, *reasons: Callable[[], bool]):
        self.signal: int | None = None
        self._reasons = reasons

    def __call__(self) -> bool:
        """Returns whether there is a reason to stop."""
        return self.signal is not None or any(reason() for reason in self._reasons)

    def install(self) -> None:
        """Handles SIGTERM and Ctrl-C; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, _: object) -> None:
        self.signal = number

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Interrupts its block, which does not check whether to stop; for the main thread.

        Raises:
          Stopped: immediately, or at any point of the block.
        """

        def check(*_: object) -> None:
            if self():
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise train.Stopped("stopped in the evaluation; finished sets are kept")

        check()
        before = signal.signal(signal.SIGALRM, check)
        signal.setitimer(signal.ITIMER_REAL, POLL, POLL)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def look(job: Job) -> Outcome | None:
    """Returns the outcome if it is known without running the job, or else None."""
    try:
        if not job.run_dir.is_claimed:
            return None
        job.run_dir.check_config(job.load_config())
        is_finished = job.run_dir.read_result() is not None
        return Outcome(SKIPPED) if is_finished and _is_evaluated(job) else None
    except Exception as error:  # any error, so that the other runs continue
        return _failed(job, error)


def _is_evaluated(job: Job) -> bool:
    stamp: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, files.DamagedError):  # evaluated again, and written
        stamp = files.read_json(job.workdir / STAMP)
    return not job.evaluation or stamp.get("evaluation") == job.evaluation


def attempt(job: Job, stop: Stop) -> Outcome:
    """Runs or resumes a job; reports an error in the outcome, and its traceback in the log."""
    try:
        with lock(job):
            _run(job, stop)
        return Outcome(DONE)
    except train.Stopped as stopped:
        return Outcome(STOPPED, str(stopped))
    except Exception as error:  # any error, so that the other runs continue
        return _failed(job, error)
    finally:
        gc.collect()  # frees the arrays of this run before the next one


def _run(job: Job, stop: Stop) -> None:
    config = job.load_config()
    with (
        open(job.log, "a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        if not job.run_dir.is_finished:
            train.train(config, job.workdir, should_stop=stop, progress=False)
        if not _is_evaluated(job):
            with stop.interrupting():
                trained.evaluate(job.workdir, config, **job.evaluation)
    stamp = {"settings": job.settings, "evaluation": job.evaluation}
    files.write_json(job.workdir / STAMP, stamp, checksum=True)


def _failed(job: Job, error: Exception) -> Outcome:
    """Returns the outcome of an error, and writes its traceback to the log of the job."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "a") as log:
        traceback.print_exception(error, file=log)
    first = (str(error).splitlines() or [""])[0]
    mistake = isinstance(error, launch.MISTAKES)
    return Outcome(FAILED, first if mistake else f"{type(error).__name__}: {first}; see {job.log}")


def lock(job: Job) -> contextlib.AbstractContextManager[None]:
    """Locks a run; waits a while for a process of an earlier sweep."""
    return _lock(job.log.with_suffix(".lock"), "another process trains this run", PATIENCE)


def exclusive(root: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """Locks the folder of a sweep.

    Raises:
      ValueError: the folder is that of a run, or another sweep is running there.
    """
    if RunDir(root).is_claimed:
        raise ValueError(f"--workdir={root} is the folder of one run; a sweep needs another one")
    message = f"--workdir={root}: another sweep is running there; wait for it, or use another one"
    return _lock(root / FILES / "sweep.lock", message)


@contextlib.contextmanager
def _lock(path: pathlib.Path, message: str, patience: float = 0) -> Iterator[None]:
    """Holds a lock, which the system frees if the process dies.

    Args:
      path: file of the lock.
      message: error if another process holds it.
      patience: seconds to wait for that process.

    Raises:
      ValueError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        with files.lock(path) as holder:
            if holder is None:
                yield
                return
        if time.monotonic() >= until:
            raise ValueError(f"{message} (held by {holder})")
        time.sleep(POLL)
