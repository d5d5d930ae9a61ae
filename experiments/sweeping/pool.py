"""Runs jobs in worker processes on this machine, one per GPU or group of cores."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import jax

import experiments
from experiments.sweeping.board import Board
from experiments.sweeping.devices import Place
from experiments.sweeping.job import FAILED, FILES, STOPPED, Job, Outcome, Stop
from experiments.sweeping.local import Attempt, Locked, Source, work

ROOT = pathlib.Path(experiments.__file__).resolve().parents[1]


class Worker:
    """One worker process, started for its first job and again after it died.

    Args:
      place: the devices and cores it may use.
      log: file for its output.
    """

    def __init__(self, place: Place, log: pathlib.Path):
        self._place, self._log = place, log
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._lock = threading.Lock()  # so that no process starts after close()

    def attempt(self, job: Job) -> Outcome:
        """Sends a job and waits for its outcome, even if the process dies."""
        process = self._start()
        if process is None:
            return Outcome(STOPPED, "stopped before it began")
        try:
            process.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):  # the pipe was closed at the same moment
            answer = process.stdout.readline()
        if answer:
            return Outcome(**json.loads(answer))
        code = process.wait()
        if self._closed and code == 0:
            return Outcome(STOPPED, "stopped before it began")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Outcome(FAILED, f"its process ended {how}; see {self._log}")

    def close(self) -> None:
        """Closes the input, on which the process saves and stops."""
        with self._lock:
            self._closed = True
            if self._process:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def wait(self) -> None:
        """Waits until the process has ended."""
        if self._process:
            self._process.wait()

    def _start(self) -> subprocess.Popen | None:
        with self._lock:
            if self._closed:
                return None
            if self._process is None or self._process.poll() is not None:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                with open(self._log, "a") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "experiments.sweeping.worker", *self._flags()],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        env=child_environment() | dict(self._place.environment),
                        start_new_session=True,  # this process passes Ctrl-C on
                    )
            return self._process

    def _flags(self) -> list[str]:
        return [f"--cores={','.join(map(str, self._place.cores))}"] if self._place.cores else []


def child_environment() -> dict[str, str]:
    """Returns this process's environment with the paths of the code and the compilation cache."""
    cache = jax.config.jax_compilation_cache_dir
    enabled = jax.config.jax_enable_compilation_cache and cache
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_COMPILATION_CACHE_DIR": cache if enabled else "none",
    }


def run_processes(
    places: Sequence[Place], root: pathlib.Path, source: Source, board: Board, stop: Stop
) -> None:
    """Runs all jobs, each in the next free process."""
    logs = [root / FILES / f"worker-{i}.log" for i in range(len(places))]
    workers = [Worker(place, log) for place, log in zip(places, logs, strict=True)]

    def close() -> None:
        for worker in workers:
            worker.close()

    try:
        run_threads([worker.attempt for worker in workers], source, board, stop, on_stop=close)
    finally:
        close()
        for worker in workers:
            worker.wait()


def run_threads(
    attempts: Sequence[Attempt],
    source: Source,
    board: Board,
    stop: Stop,
    on_stop: Callable[[], None],
) -> None:
    """Runs each worker in a thread, and waits in this one, which receives the signals.

    Args:
      attempts: one function per worker that runs a job.
      source: supplies the jobs.
      board: shows them.
      stop: ends the sweep.
      on_stop: called once when ``stop`` is set.
    """
    locked, errors = Locked(source), []

    def guarded(attempt: Attempt) -> None:
        try:
            work(locked, attempt, board, stop)
        except BaseException as error:  # a bug of the sweep itself; errors of a run are outcomes
            errors.append(error)
            stop.tell()

    threads = [threading.Thread(target=guarded, args=(a,), daemon=True) for a in attempts]
    for thread in threads:
        thread.start()
    notified = False
    while any(thread.is_alive() for thread in threads):
        if stop() and not notified:
            notified = True
            on_stop()
        for thread in threads:
            thread.join(0.1)
    if errors:
        raise errors[0]
