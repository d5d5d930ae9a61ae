"""Run files: metrics.jsonl, TensorBoard events, config.json, result.json."""

import json
import math
import os
import pathlib
import platform
import subprocess
from importlib import metadata
from typing import Any

import jax
from tensorboardX import SummaryWriter

import autolabel_jax
from autolabel_jax import processes


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; numbers that are not finite become null."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w") as file:
        json.dump(_null_for_nan(value), file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: pathlib.Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text())


def provenance() -> dict[str, Any]:
    """What made a result: ``revision``, ``versions``, ``device``, ``peak_memory_gib``.

    The last is the most memory that this process has held so far on a device of its own, 2^30
    bytes; None where the backend does not count, as on the CPU.
    """
    packages = ("jax", "flax", "optax", "numpy")
    devices = jax.devices()
    held = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in held if "peak_bytes_in_use" in stats]
    return {
        "revision": _revision(),
        "versions": {
            "autolabel_jax": autolabel_jax.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages},
        },
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "peak_memory_gib": max(peaks) / 2**30 if peaks else None,
    }


def _revision() -> str:
    """The commit of the source tree, with -dirty where files differ from it; else the version."""
    here = pathlib.Path(__file__).resolve().parent
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(describe, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"autolabel_jax {autolabel_jax.__version__}"
    return found.stdout.strip()


def read_json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The values of a file with one a line; a last line cut off by a kill is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def append_json_line(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Adds a line that is on the disk when this returns; numbers not finite become null."""
    with open(path, "a") as file:
        file.write(json.dumps(_null_for_nan(value), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def rewrite_json_lines(path: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    """Replaces a file of lines, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(temporary, path)


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``."""
    return read_json_lines(workdir / "metrics.jsonl")


class MetricWriter:
    """Appends one line per epoch to ``metrics.jsonl`` and the same to TensorBoard.

    Only the first process of a run writes.

    Args:
      workdir: of the run.
      first_epoch: where the run goes on; lines of this epoch and later, left
        by a process that was killed before its checkpoint, are dropped.
    """

    def __init__(self, workdir: pathlib.Path, first_epoch: int):
        """Opens both files for the epochs from ``first_epoch`` on."""
        self._events = None
        if not processes.is_first():
            return
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(workdir) if line["epoch"] < first_epoch]
        rewrite_json_lines(self._path, kept)
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_epoch)

    def write(self, line: dict[str, Any]) -> None:
        """Writes the metrics of one epoch; lists become one TensorBoard curve per bucket."""
        if self._events is None:
            return
        append_json_line(self._path, line)
        for name, value in line.items():
            curves = enumerate(value) if isinstance(value, list) else [(None, value)]
            for n, number in curves:
                tag = name if n is None else f"{name}/{n:03d}"
                self._events.add_scalar(tag, number, line["epoch"])
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._events is not None:
            self._events.close()


def _null_for_nan(value: Any) -> Any:
    """JSON has no NaN: the figures of an empty bucket are null."""
    if isinstance(value, dict):
        return {name: _null_for_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
