"""Runs the jobs of a sweep in several processes, on this machine or on a cluster, by Ray.

Code, data and --workdir must have the same paths on every node, as in a shared folder.
"""

import contextlib
import importlib
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
from absl import flags

import experiments
from experiments import compilation_cache
from experiments.sweeping import job as sweep_job
from experiments.sweeping import local
from experiments.sweeping.board import Board
from experiments.sweeping.job import FAILED, STOPPED, Job, Outcome, Source, Stop

CODE = pathlib.Path(experiments.__file__).resolve().parents[1]
CORES = 2  # of a worker on a cluster, if it has no GPU
SHARED_MEMORY = 0.9  # fraction of a GPU's memory that all workers on it take together
OBJECT_STORE = 100 * 2**20  # bytes, nearly Ray's minimum: jobs and outcomes are short texts
# No reports to Ray's authors; and a priority as in one process, which Ray would lower.
RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
GRACE = 60.0  # seconds that a run has to save after it is told to stop
PASSED_ON = ("JAX_", "XLA_", "TFDS_")  # variables that workers on other nodes need too


class Worker:
    """Runs jobs in the main thread of a process that Ray starts.

    Args:
      folder: folder that relative paths of the config refer to.
      cores: numbers of the processor cores to use; () means all.
    """

    def __init__(self, folder: str, cores: Sequence[int] = ()):
        os.chdir(folder)
        _pin(cores)
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable()
        self._stop = Stop(import_ray().get_runtime_context().is_canceled)

    def attempt(self, job: Job) -> Outcome:
        """Runs a job; ``ray.cancel`` makes it save and stop."""
        return sweep_job.attempt(job, self._stop)


def _pin(cores: Sequence[int]) -> None:
    """Limits the threads of this process, and those they start, to these cores."""
    if cores and hasattr(os, "sched_setaffinity"):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread), cores)


def run(
    address: str | None, processes: int | None, source: Source, board: Board, stop: Stop
) -> None:
    """Runs all jobs, each on the next free worker.

    Args:
      address: address of a cluster; None starts Ray on this machine until the sweep ends.
      processes: number of workers, at most what the cluster has room for; None means as many as
        that, each with a GPU, or without GPUs with ``CORES``.
      source: supplies the jobs.
      board: shows them.
      stop: ends the sweep.

    Raises:
      ValueError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    job = local.begin(source, board, stop)
    if job is None:
        return
    with _connected(ray, address, processes):
        stop.install()  # Ray has replaced the handler of SIGTERM
        idle = _start_workers(ray, address is None, processes, source.total)
        busy: dict[Any, tuple[Job, Any]] = {}  # task → its job and its worker
        until = math.inf
        while job is not None or busy:
            while job is not None:
                worker = idle.pop()
                busy[worker.attempt.remote(job)] = job, worker
                job = local.begin(source, board, stop) if idle else None
            if stop() and until == math.inf:
                until = time.monotonic() + GRACE
                for task in busy:
                    ray.cancel(task)
            ended, _ = ray.wait(list(busy), timeout=sweep_job.POLL)
            for task in ended if time.monotonic() < until else list(busy):
                ended_job, worker = busy.pop(task)
                local.end(source, board, ended_job, _outcome(ray, task))
                idle.append(worker)
            job = local.begin(source, board, stop) if idle else None


def _outcome(ray: ModuleType, task: Any) -> Outcome:
    """Returns the outcome of a task, even if its process or its node has died."""
    try:
        return ray.get(task, timeout=0)
    except ray.exceptions.TaskCancelledError:
        return Outcome(STOPPED, "finished work is kept")
    except ray.exceptions.GetTimeoutError:
        return Outcome(STOPPED, f"killed after {GRACE:.0f} s; its last checkpoint is kept")
    except ray.exceptions.RayError as error:
        first = str(error).splitlines()[0]
        return Outcome(FAILED, f"its process ended: {type(error).__name__}: {first}")


def import_ray() -> ModuleType:
    """Imports Ray.

    Raises:
      ValueError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            "--processes, --ray: Ray is not installed; pip install -r requirements-sweep.txt"
        ) from error


@contextlib.contextmanager
def _connected(ray: ModuleType, address: str | None, processes: int | None) -> Iterator[None]:
    """Connects to a cluster, or starts one on this machine with room for ``processes`` workers."""
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    options = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": processes, "include_dashboard": False}
        options["object_store_memory"] = OBJECT_STORE
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise ValueError(
            f"--ray={address}: no cluster answers at this address ({error})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _start_workers(ray: ModuleType, is_local: bool, processes: int | None, total: int) -> list[Any]:
    """Starts the workers, at most ``total``."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs, num = resources(nodes, processes, cores=1 if is_local else CORES)
    num, cores = min(num, total), _available_cores() if is_local else []
    threads = len(cores) or int(needs["num_cpus"])
    is_split = "num_gpus" not in needs and num <= len(cores)
    # If a node dies, Ray starts its workers elsewhere, and their runs are resumed there.
    worker = ray.remote(Worker).options(
        **needs,
        max_restarts=-1,
        max_task_retries=1,
        runtime_env={"env_vars": environment(needs, threads)},
    )
    return [worker.remote(os.getcwd(), cores[i::num] if is_split else ()) for i in range(num)]


def resources(
    nodes: Sequence[Mapping[str, float]], processes: int | None, *, cores: int
) -> tuple[dict[str, float], int]:
    """Returns what Ray reserves for a worker, and the number of workers.

    Args:
      nodes: resources of each node as Ray counts them, such as {"CPU": 8, "GPU": 1}.
      processes: number of workers, which share the GPUs; None means one per GPU, or as many as
        the cores allow. There are fewer if there is no room for them.
      cores: cores of a worker without a GPU.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus and (not platforms or {"cuda", "gpu", "rocm"} & set(platforms.split(","))):
        kind, need = "GPU", 1 / math.ceil((processes or gpus) / gpus)
        needs = {"num_gpus": need, "num_cpus": 0}
    else:
        kind, need = "CPU", min(cores, max(node.get("CPU", 0) for node in nodes))
        needs = {"num_cpus": need}
    room = sum(int(node.get(kind, 0) / need + 1e-6) for node in nodes)
    return needs, min(processes or room, room)


def environment(needs: Mapping[str, float], threads: int) -> dict[str, str]:
    """Returns the environment variables that a worker adds to those of its node.

    The number of threads affects the last bits of sums in convolutions and matrix products. It is
    the number of cores of the machine, as in one process, even where a worker is limited to some.

    Args:
      needs: resources of a worker, from ``resources``.
      threads: number of threads of XLA (NPROC) and of NumPy; 0 means their defaults.
    """
    cache = jax.config.jax_compilation_cache_dir
    enabled = jax.config.jax_enable_compilation_cache and cache
    paths = filter(None, [str(CODE), os.environ.get("PYTHONPATH")])
    defaults = {name: str(threads) for name in ("NPROC", "OMP_NUM_THREADS") if threads}
    if (share := needs.get("num_gpus", 1)) < 1:
        defaults["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{SHARED_MEMORY * share:.3f}"
    given = {n: v for n, v in os.environ.items() if n in defaults or n.startswith(PASSED_ON)}
    made = {
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_COMPILATION_CACHE_DIR": cache if enabled else compilation_cache.NOWHERE,
    }
    return {**defaults, **given, **made}


def _available_cores() -> list[int]:
    """Lists the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
