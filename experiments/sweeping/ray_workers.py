"""Executes a sweep in several processes, on this machine or on a cluster, by Ray.

Code, data and --workdir must have the same paths on every node, as in a shared folder.
"""

import contextlib
import importlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
from absl import flags

from autolabel_jax.processes import Stop
from experiments import compilation_cache
from experiments.sweeping import execution
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.board import Board
from experiments.sweeping.execution import FAILED, STOPPED, Outcome
from experiments.sweeping.runs import Run

CORES = 2  # of a worker on a cluster, if it has no GPU
SHARED_MEMORY = 0.9  # fraction of a GPU's memory that all workers on it take together
OBJECT_STORE = 100 * 2**20  # bytes, nearly Ray's minimum: runs and outcomes are short texts
# No reports to Ray's authors; and a priority as in one process, which Ray would lower.
RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
POLL = 0.5  # seconds between checks whether to stop
GRACE = 60.0  # seconds that a run has to save after it is told to stop
PASSED_ON = ("PYTHONPATH", "JAX_", "XLA_", "TFDS_")  # variables that other nodes need too
# Waits for the end of its input, then kills the processes with these descriptors.
KILLER = """
import contextlib, signal, sys
sys.stdin.read()
for process in map(int, sys.argv[1:]):
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
"""


class Worker:
    """Executes runs in the main thread of a process that Ray starts, on some processor cores."""

    def __init__(self, folder: str, cores: Sequence[int] = ()):
        os.chdir(folder)
        # Also the threads that are there already; those that they start inherit it.
        for thread in os.listdir("/proc/self/task") if cores else ():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread), cores)
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable()

    def attempt(self, run: Run, evaluation: dict[str, Any]) -> Outcome:
        """Executes a run; ``ray.cancel`` makes it save and stop."""
        context = importlib.import_module("ray").get_runtime_context()
        return execution.attempt(run, evaluation, context.is_canceled)


def execute(
    board: Board, evaluation: dict[str, Any], stop: Stop, address: str | None, processes: int | None
) -> None:
    """Executes all runs, each on the next free worker.

    Without an address, Ray is started on this machine, and ends with the sweep.

    Raises:
      ValueError: Ray is not installed, or no cluster answers.
    """
    ray = sweep_runs.import_extra("ray", "--processes, --ray")
    with _connected(ray, address, processes):
        stop.install()  # Ray has replaced the handler of SIGTERM
        busy: dict[Any, tuple[Run, Any]] = {}  # task → its run and its worker

        def start(worker: Any) -> None:
            if (run := board.begin()) is not None:
                busy[worker.attempt.remote(run, evaluation)] = run, worker

        for worker in _start_workers(ray, address is None, processes, len(board.runs)):
            start(worker)
        until = math.inf
        while busy:
            if stop() and until == math.inf:
                until = time.monotonic() + GRACE
                for task in busy:
                    ray.cancel(task)
            ended, _ = ray.wait(list(busy), timeout=POLL)
            for task in ended if time.monotonic() < until else list(busy):
                run, worker = busy.pop(task)
                board.end(run, _outcome(ray, task))
                start(worker)


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


@contextlib.contextmanager
def _connected(ray: ModuleType, address: str | None, processes: int | None) -> Iterator[None]:
    """Connects to a cluster, or starts one on this machine with room for ``processes`` workers."""
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    own = {"num_cpus": processes, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    options = {"address": address} if address else {"address": "local", **own}
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise ValueError(f"--ray={address}: no cluster answers there ({error})") from error
    killer = None if address else _start_killer()
    try:
        yield
    finally:
        ray.shutdown()
        if killer is not None:
            killer.kill()
            killer.communicate()


def _start_killer() -> subprocess.Popen[bytes] | None:
    """Starts a process that kills all those which Ray has started here, if this one is killed.

    Ray itself does so, but for its agents, which try for a minute to report to its dead server.
    """
    if not hasattr(os, "pidfd_open"):  # not Linux
        return None
    psutil = importlib.import_module("psutil")  # a part of Ray
    started = [os.pidfd_open(child.pid) for child in psutil.Process().children(recursive=True)]
    command = [sys.executable, "-c", KILLER, *map(str, started)]
    # In a session of its own, where no Ctrl-C and no signal to the whole group reaches it.
    settings = {"stdin": subprocess.PIPE, "pass_fds": started, "start_new_session": True}
    return subprocess.Popen(command, **settings)


def _start_workers(ray: ModuleType, is_local: bool, processes: int | None, total: int) -> list[Any]:
    """Starts the workers, at most ``total``."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs, num = resources(nodes, processes, cores=1 if is_local else CORES)
    num = min(num, total)
    cores = sorted(os.sched_getaffinity(0)) if is_local and hasattr(os, "sched_getaffinity") else []
    threads = (len(cores) or os.cpu_count() or 1) if is_local else int(needs["num_cpus"])
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

    A worker has one GPU, or without GPUs some ``cores``. More workers than GPUs share them.

    Args:
      nodes: resources of each node as Ray counts them, such as {"CPU": 8, "GPU": 1}.
      processes: number of workers, if there is room for them; None means as many as there is.
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
    """
    enabled = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
    made = {name: str(threads) for name in ("NPROC", "OMP_NUM_THREADS") if threads}
    if (share := needs.get("num_gpus", 1)) < 1:
        made["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{SHARED_MEMORY * share:.3f}"
    made |= {n: v for n, v in os.environ.items() if n in made or n.startswith(PASSED_ON)}
    return made | {"JAX_COMPILATION_CACHE_DIR": enabled or compilation_cache.NOWHERE}
