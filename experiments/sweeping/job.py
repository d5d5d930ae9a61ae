"""Runs one job of a sweep in any process: training, then the requested evaluation."""

import contextlib
import dataclasses
import fcntl
import gc
import json
import pathlib
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import files, train, trained
from autolabel_jax.run_dir import RunDir
from experiments import launch

DONE, SKIPPED, FAILED, STOPPED, BUSY = "done", "skipped", "failed", "stopped", "busy"

FILES = ".sweep"  # beside the runs: logs, locks, and the study of a search
STAMP = "sweep.json"  # in each run: its settings, and its finished evaluation
PATIENCE = 20.0  # seconds to wait for the processes of a sweep that was just stopped


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


HELD = Outcome(BUSY, "locked by another process")


class Stop:
    """Tells whether to stop: after a signal, after a deadline, or after ``tell``.

    Args:
      deadline: time in seconds since the epoch, or None.
    """

    def __init__(self, deadline: float | None = None):
        self.deadline = deadline
        self.signal: int | None = None
        self._requested = threading.Event()
        self._raises = False

    def __call__(self) -> bool:
        """Returns whether any reason to stop has occurred."""
        late = self.deadline is not None and time.time() >= self.deadline
        return late or self._requested.is_set()

    def tell(self) -> None:
        """Requests the stop, from any thread."""
        self._requested.set()

    def install(self) -> None:
        """Handles SIGTERM, Ctrl-C and the alarm; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, self._received)

    def _received(self, number: int, _) -> None:
        if number != signal.SIGALRM:
            self.signal = number
            self.tell()
        if self._raises:
            raise train.Stopped("stopped during the evaluation; finished sets are kept")

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Interrupts its block, an evaluation, which does not check whether to stop.

        Raises:
          Stopped: immediately, or at any point of the block.
        """
        if self():
            raise train.Stopped("stopped before the evaluation")
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if self.deadline is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self.deadline - time.time(), 0.001))
        self._raises = True
        try:
            yield
        finally:
            self._raises = False
            signal.setitimer(signal.ITIMER_REAL, 0)


def is_finished(job: Job) -> bool:
    """Returns whether the folder holds the result of this config, evaluated as requested.

    Raises:
      ValueError: the folder holds a run of another config.
    """
    if not job.run_dir.is_claimed:
        return False
    job.run_dir.check_config(job.load_config())
    return job.run_dir.is_finished and _is_evaluated(job)


def _is_evaluated(job: Job) -> bool:
    path = job.workdir / STAMP
    stamp = files.read_json(path) if path.exists() else {}
    return not job.evaluation or stamp.get("evaluation") == job.evaluation


def look(job: Job) -> Outcome | None:
    """Returns the outcome if it is known without running the job, or else None."""
    try:
        return Outcome(SKIPPED) if is_finished(job) else None
    except Exception as error:
        return failed(job, error)


def attempt(job: Job, stop: Stop) -> Outcome:
    """Runs or resumes a job; reports an error in the outcome, and its traceback in the log."""
    try:
        with lock(job) as mine:
            return run(job, stop) if mine else HELD
    except OSError as error:
        return failed(job, error)


def run(job: Job, stop: Stop) -> Outcome:
    """Runs a job like ``attempt``, but requires that its lock is held."""
    try:
        with logged(job):
            _finish(job, stop)
        return Outcome(DONE)
    except train.Stopped as stopped:
        return Outcome(STOPPED, str(stopped))
    except Exception as error:  # any error, so that the other runs continue
        return failed(job, error)
    finally:
        gc.collect()  # frees the arrays of this run before the next one


def failed(job: Job, error: Exception) -> Outcome:
    """Returns the outcome of an error, and writes its traceback to the log of the job."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "a") as log:
        traceback.print_exception(error, file=log)
    first = (str(error).splitlines() or [""])[0]
    mistake = isinstance(error, launch.MISTAKES)
    return Outcome(FAILED, first if mistake else f"{type(error).__name__}: {first}; see {job.log}")


def _finish(job: Job, stop: Stop) -> None:
    config = job.load_config()
    if not job.run_dir.is_finished:
        train.train(config, job.workdir, should_stop=stop, progress=False)
    if not _is_evaluated(job):
        with stop.interrupting():
            trained.evaluate(job.workdir, config, **job.evaluation)
    stamp = {"settings": job.settings, "evaluation": job.evaluation}
    files.write_json(job.workdir / STAMP, stamp)


@contextlib.contextmanager
def lock(job: Job) -> Iterator[bool]:
    """Locks a run, or yields False if another process holds it; the system frees dead locks."""
    path = job.log.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    yield False
                    return
                time.sleep(0.5)
        yield True


@contextlib.contextmanager
def logged(job: Job) -> Iterator[None]:
    """Redirects output of the run to its log, away from the live table."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with (
        open(job.log, "a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield
