"""Runs the workers of a sweep as actors on a Ray cluster.

Code, data and --workdir must have the same paths on every node, as in a shared folder.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from experiments import compilation_cache
from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import FAILED, STOPPED, Job, Outcome, Stop
from experiments.sweeping.local import Source
from experiments.sweeping.pool import child_environment, run_threads

CORES = 2  # per worker without a GPU
GRACE = 60.0  # seconds that a worker has to save after it is told to stop
PASSED_ON = ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "TFDS_DATA_DIR")


class Actor:
    """Runs jobs in a process on some node; ``stop`` works while a job runs."""

    def __init__(self, folder: str):
        """Changes to the folder that relative paths of the config refer to."""
        os.chdir(folder)
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable()
        self._stop = Stop()

    def attempt(self, job: Job) -> Outcome:
        """Runs a job."""
        return sweep_job.attempt(job, self._stop)

    def stop(self) -> None:
        """Tells the running job to save and stop."""
        self._stop.tell()


class Worker:
    """One actor, started for its first job and again after it died.

    Args:
      ray: the Ray module.
      options: options of the actor.
    """

    def __init__(self, ray: ModuleType, options: dict[str, Any]):
        self._ray, self._options = ray, options
        self._actor, self._busy = None, threading.Event()

    def attempt(self, job: Job) -> Outcome:
        """Sends a job and waits for its outcome, even if the node dies."""
        errors = self._ray.exceptions
        self._busy.set()
        try:
            if self._actor is None:
                self._actor = self._ray.remote(Actor).options(**self._options).remote(os.getcwd())
            return self._ray.get(self._actor.attempt.remote(job))
        except errors.RayActorError as error:
            self._actor = None
            killed = isinstance(error, errors.ActorDiedError) and "ray.kill" in str(error)
            first = str(error).splitlines()[0]
            return Outcome(STOPPED if killed else FAILED, f"its Ray worker ended: {first}")
        finally:
            self._busy.clear()

    def stop(self) -> None:
        """Tells the actor to save and stop."""
        if self._actor is not None:
            self._actor.stop.remote()

    def kill(self) -> None:
        """Kills an actor that is still running a job."""
        if self._actor is not None and self._busy.is_set():
            self._ray.kill(self._actor)


def run_on_cluster(address: str, processes: int, source: Source, board: Board, stop: Stop) -> None:
    """Runs all jobs, each on the next free worker.

    Args:
      address: address of the cluster; '' uses $RAY_ADDRESS, the local cluster, or a new one.
      processes: number of workers (0 = one per GPU, or without a GPU one per two cores).
      source: supplies the jobs.
      board: shows them.
      stop: ends the sweep.

    Raises:
      ValueError: Ray is not installed, or no cluster answers.
    """
    ray = _connect(address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        options = _options(nodes)
        num = processes or _fitting(nodes, options)
        workers = [Worker(ray, options) for _ in range(min(num, board.total))]

        def on_stop() -> None:
            for worker in workers:
                worker.stop()
            threading.Thread(target=_kill_late, args=(workers,), daemon=True).start()

        run_threads([w.attempt for w in workers], source, board, stop, on_stop=on_stop)
    finally:
        ray.shutdown()


def _kill_late(workers: Sequence[Worker]) -> None:
    time.sleep(GRACE)
    for worker in workers:
        worker.kill()


def _connect(address: str) -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "--ray: Ray is not installed; `pip install -r requirements-sweep.txt`"
        ) from error
    environment = child_environment()
    passed = {name: environment[name] for name in PASSED_ON if name in environment}
    try:
        ray.init(
            address=address or None,
            runtime_env={"env_vars": passed},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except ConnectionError as error:
        raise ValueError(
            f"--ray={address}: no cluster answers at this address ({error})"
        ) from error
    return ray


def _options(nodes: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Returns the resources of a worker, and lets Ray resume its run elsewhere if the node dies."""
    if any(node.get("GPU", 0) >= 1 for node in nodes):
        needs = {"num_gpus": 1, "num_cpus": 1}
    else:
        needs = {"num_cpus": min(CORES, max(int(node.get("CPU", 1)) for node in nodes))}
    return {**needs, "max_concurrency": 2, "max_restarts": -1, "max_task_retries": 1}


def _fitting(nodes: Sequence[Mapping[str, float]], options: dict[str, Any]) -> int:
    """Returns the number of workers that the nodes hold at once."""
    if "num_gpus" in options:
        return sum(int(node.get("GPU", 0)) for node in nodes)
    return max(sum(int(node.get("CPU", 0)) // options["num_cpus"] for node in nodes), 1)
