"""Writes the metrics of a run: a line per epoch, its result and its provenance."""

import pathlib
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import processes, run_dir
from autolabel_jax.datasets import Dataset
from autolabel_jax.evaluation import clean
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.run_dir import RunDir


class MetricWriter:
    """Appends one line per epoch to the run's metrics and the same to TensorBoard.

    Only the first process of a run writes.

    Args:
      run: the run's folder.
      first_epoch: epoch at which the run starts or resumes; lines of this epoch and later, from a
        process that was killed before its checkpoint, are removed.
      saved: lines of earlier epochs in the checkpoint from which the run resumes.

    Attributes:
      lines: lines of all epochs so far.
    """

    def __init__(self, run: RunDir, first_epoch: int, saved: Sequence[dict[str, Any]] = ()):
        """Opens both files, for epochs from ``first_epoch``."""
        self._run, self._events = run, None
        self.lines: list[dict[str, Any]] = []
        if processes.is_first():
            from tensorboardX import SummaryWriter  # slow to import

            run.restore_metrics(first_epoch, saved)
            self.lines = run.read_metrics()
            self._events = SummaryWriter(str(run.tensorboard), purge_step=first_epoch)

    def write(self, line: dict[str, Any]) -> None:
        """Writes the metrics of one epoch; lists become one TensorBoard curve per bucket."""
        if self._events is None:
            return
        self._run.write_metrics(line)
        self.lines.append(line)
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


def evaluate_clean(
    predictor: Predictor,
    config: ConfigDict,
    dataset: Dataset,
    run: RunDir,
    *,
    lines: Sequence[dict[str, Any]],
    began: float,
) -> dict[str, Any]:
    """Evaluates the clean test split for ``result.json``, and writes its logits.

    Args:
      predictor: the trained model.
      config: config of the run.
      dataset: data of the run.
      run: folder of the run.
      lines: metrics of its epochs.
      began: time when the evaluation began, by ``time.perf_counter``.
    """
    metrics, logits = clean.evaluate(predictor, dataset)
    run.write_logits(logits, dataset.test.label)
    return {
        "name": config.name,
        "dataset": config.dataset,
        "model": config.model.name,
        "augmentation": config.augment.name,
        "label_rule": config.labels.rule,
        "label_step": config.labels.step if config.labels.rule == "autolabel" else None,
        "seed": config.seed,
        "epochs": config.epochs,
        "train_examples": len(dataset.train),
        "calibration_examples": len(dataset.calibration.label),
        "test_examples": len(dataset.test.label),
        "train_accuracy": lines[-1]["train_accuracy"] if lines else None,
        **metrics,
        **provenance(),
        "seconds": sum(line["seconds"] for line in lines) + time.perf_counter() - began,
    }


def provenance() -> dict[str, Any]:
    """Returns the code, ``versions``, ``device`` and ``peak_memory_gib`` of a result.

    The last is the largest memory that this process has used so far on one of its devices, in 2^30
    bytes; None on backends without this count, such as the CPU.
    """
    devices = jax.devices()
    held = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in held if "peak_bytes_in_use" in stats]
    return {
        "revision": _revision(),
        "numerics_version": autolabel_jax.NUMERICS_VERSION,
        "versions": run_dir.library_versions(),
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "peak_memory_gib": max(peaks) / 2**30 if peaks else None,
    }


def _revision() -> str:
    """Returns the commit of the source, with -dirty if files differ, or else the version."""
    here = pathlib.Path(__file__).resolve().parent
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        output = subprocess.run(describe, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"autolabel_jax {autolabel_jax.__version__}"
    return output.stdout.strip()
