"""The workers of a sweep as actors on a Ray cluster.

Code, data and --workdir have the same paths on every node: a shared folder.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence

from absl import flags

from experiments import compilation_cache
from experiments.sweeping import job as sweep_job
from experiments.sweeping.board import Board
from experiments.sweeping.job import FAILED, STOPPED, Job, Outcome, Stop
from experiments.sweeping.local import Source
from experiments.sweeping.pool import child_environment, run_threads

CORES = 2  # of a worker without a GPU
GRACE = 60.0  # seconds to save in, once told to stop
PASSED_ON = ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "TFDS_DATA_DIR")


class Actor:
    """Runs jobs in a process on some node; ``stop`` is heard while it does."""

    def __init__(self, folder: str):
        """Works in this folder, to which relative paths of the config refer."""
        os.chdir(folder)
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable()
        self._stop = Stop()

    def attempt(self, job: Job) -> Outcome:
        return sweep_job.attempt(job, self._stop)

    def stop(self) -> None:
        self._stop.tell()


class Worker:
    """One actor, started for its first job and again after it died.

    Args:
      ray: the module.
      options: of the actor.
    """

    def __init__(self, ray, options: dict):
        self._ray, self._options = ray, options
        self._actor, self._busy = None, threading.Event()

    def attempt(self, job: Job) -> Outcome:
        """Sends a job and waits for its outcome; the node may die of it."""
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
        """Ends an actor that is still at it."""
        if self._actor is not None and self._busy.is_set():
            self._ray.kill(self._actor)


def run_on_cluster(address: str, processes: int, source: Source, board: Board, stop: Stop) -> None:
    """All runs, each on the next worker that is free.

    Args:
      address: of the cluster; '': $RAY_ADDRESS, the one that runs on this machine, or a new one.
      processes: how many workers; 0: one for each GPU, or without one for every two cores.
      source: of the runs.
      board: hears of each.
      stop: ends all of it.

    Raises:
      ValueError: Ray is not installed, or no cluster answers.
    """
    ray = _connect(address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        options = _options(nodes)
        num = processes or _fitting(nodes, options)
        workers = [Worker(ray, options) for _ in range(min(num, board.total))]

        def on_stop():
            for worker in workers:
                worker.stop()
            threading.Thread(target=_kill_late, args=(workers,), daemon=True).start()

        run_threads([w.attempt for w in workers], source, board, stop, on_stop=on_stop)
    finally:
        ray.shutdown()


def _kill_late(workers) -> None:
    time.sleep(GRACE)
    for worker in workers:
        worker.kill()


def _connect(address: str):
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
        raise ValueError(f"--ray={address}: no cluster answers there ({error})") from error
    return ray


def _options(nodes: Sequence[Mapping[str, float]]) -> dict:
    """Resources of a worker, and what Ray does when its node dies: the run goes on elsewhere."""
    if any(node.get("GPU", 0) >= 1 for node in nodes):
        needs = {"num_gpus": 1, "num_cpus": 1}
    else:
        needs = {"num_cpus": min(CORES, max(int(node.get("CPU", 1)) for node in nodes))}
    return {**needs, "max_concurrency": 2, "max_restarts": -1, "max_task_retries": 1}


def _fitting(nodes: Sequence[Mapping[str, float]], options: dict) -> int:
    """How many workers the nodes hold at once."""
    if "num_gpus" in options:
        return sum(int(node.get("GPU", 0)) for node in nodes)
    return max(sum(int(node.get("CPU", 0)) // options["num_cpus"] for node in nodes), 1)
