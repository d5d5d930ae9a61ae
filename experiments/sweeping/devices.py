"""How many processes a sweep takes on this machine, and what each of them may use."""

import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence

SHARED_MEMORY = 0.9  # of a GPU that several processes share, all together


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a worker process runs: what it has more in its environment, and its cores."""

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cores: tuple[int, ...] = ()  # (): all


def places(processes: int, gpus: Sequence[str], cores: Sequence[int]) -> list[Place]:
    """One place for each process.

    Args:
      processes: how many; 0: one for each GPU, or without one for every two cores.
      gpus: as CUDA_VISIBLE_DEVICES names them.
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
    # XLA makes as many threads as there are cores: without a share each, they would fight.
    apart = 1 < num <= len(cores)
    return [Place(cores=tuple(cores[i::num]) if apart else ()) for i in range(num)]


def find_places(processes: int) -> list[Place]:
    """One place for each process, on what this machine has; ``processes`` as in ``places``."""
    if has_tpu():
        return [Place()]
    return places(processes, visible_gpus(), available_cores())


def visible_gpus(environment: Mapping[str, str] | None = None) -> list[str]:
    """The GPUs that JAX would see, found without JAX, which would take their memory."""
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
    """Whether JAX would take a TPU, which one process alone can have."""
    environment = os.environ if environment is None else environment
    allowed = environment.get("JAX_PLATFORMS", "tpu").split(",")
    return "tpu" in allowed and any(pathlib.Path("/dev").glob("accel[0-9]*"))


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
