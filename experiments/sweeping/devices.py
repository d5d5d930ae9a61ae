"""Chooses the processes of a sweep on this machine, with the devices and cores of each."""

import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence

SHARED_MEMORY = 0.9  # fraction of a GPU's memory that all processes on it take together


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a worker process runs.

    Attributes:
      environment: variables added to its environment.
      cores: processor cores that it uses; () means all.
    """

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cores: tuple[int, ...] = ()


def places(processes: int, gpus: Sequence[str], cores: Sequence[int]) -> list[Place]:
    """Returns one place per process.

    Args:
      processes: number of processes (0 = one per GPU, or without a GPU one per two cores).
      gpus: names of GPUs as in CUDA_VISIBLE_DEVICES.
      cores: numbers of the processor cores.
    """
    if gpus:
        num = processes or len(gpus)
        share = -(-num // len(gpus))
        memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{SHARED_MEMORY / share:.3f}"}
        return [
            Place({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **(memory if share > 1 else {})})
            for i in range(num)
        ]
    num = processes or max(len(cores) // 2, 1)
    # XLA starts as many threads as there are cores, so processes on shared cores would compete.
    is_split = 1 < num <= len(cores)
    return [Place(cores=tuple(cores[i::num]) if is_split else ()) for i in range(num)]


def find_places(processes: int) -> list[Place]:
    """Returns one place per process on this machine; ``processes`` as in ``places``."""
    if has_tpu():
        return [Place()]
    return places(processes, visible_gpus(), available_cores())


def visible_gpus(environment: Mapping[str, str] | None = None) -> list[str]:
    """Lists the GPUs that JAX would see, without JAX, which would take their memory."""
    environment = os.environ if environment is None else environment
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu", "rocm"} & set(platforms.split(",")):
        return []
    if "CUDA_VISIBLE_DEVICES" in environment:
        named = environment["CUDA_VISIBLE_DEVICES"].split(",")
        return [name.strip() for name in named if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(i) for i in range(len(lines))]


def has_tpu(environment: Mapping[str, str] | None = None) -> bool:
    """Whether JAX would use a TPU, which only one process can hold."""
    environment = os.environ if environment is None else environment
    allowed = environment.get("JAX_PLATFORMS", "tpu").split(",")
    return "tpu" in allowed and any(pathlib.Path("/dev").glob("accel[0-9]*"))


def available_cores() -> list[int]:
    """Lists the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
