"""Writes the metrics of a run, and repairs them: lines of epochs, result and provenance."""

import pathlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import files, processes, run_dir
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

            restore_metrics(run, first_epoch, saved)
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
                if isinstance(number, str):  # TensorBoard has curves of numbers alone
                    continue
                tag = name if n is None else f"{name}/{n:03d}"
                self._events.add_scalar(tag, number, line["epoch"])
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._events is not None:
            self._events.close()


def restore_metrics(run: RunDir, num_epochs: int, saved: Sequence[dict[str, Any]]) -> None:
    """Makes the file hold the lines of the first epochs, and no others.

    Lines that are missing or damaged are replaced by those that a checkpoint has saved, and
    their epochs are named on standard error.

    Args:
      run: folder of the run.
      num_epochs: number of epochs.
      saved: lines of these epochs, as far as they are saved.
    """
    own, by_epoch = _by_epoch(run.read_metrics()), _by_epoch(saved)
    whole = {n: by_epoch.get(n, own.get(n)) for n in range(num_epochs)}
    lines = [line for line in whole.values() if line is not None]
    if restored := [n + 1 for n in whole if n in by_epoch and own.get(n) != by_epoch[n]]:
        processes.say(
            f"{run.metrics_file}: was damaged; the lines of epochs {_ranges(restored)} are "
            "restored from the checkpoint"
        )
    if lost := [n + 1 for n in whole if whole[n] is None]:
        kept = run.path / "metrics.damaged"
        if run.metrics_file.exists():
            shutil.copyfile(run.metrics_file, kept)
        processes.say(
            f"{run.metrics_file}: the lines of epochs {_ranges(lost)} are missing, and no "
            f"checkpoint has them; the file as it was is {kept.name}"
        )
    files.rewrite_json_lines(run.metrics_file, lines)


def missing_epochs(run: RunDir) -> str:
    """Returns which epochs, from 1, the metrics of the finished run lack, such as '3, 7-9'."""
    own = _by_epoch(run.read_metrics())
    num_epochs = (run.read_result() or run.read_config())["epochs"]
    return _ranges([n + 1 for n in range(num_epochs) if n not in own])


def changed_epochs(run: RunDir) -> str:
    """Returns which epochs, from 1, have other metrics in the last checkpoint than in the file.

    Epochs that the file lacks do not count.
    """
    last, own = run.last_checkpoint(), _by_epoch(run.read_metrics())
    saved = _by_epoch(files.read_json_lines(last / run_dir.SAVED_METRICS)) if last else {}
    return _ranges([n + 1 for n, line in saved.items() if own.get(n, line) != line])


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
        **_weights(config, run),
        **_relabelled(config, dataset),
        **provenance(),
        "seconds": sum(line["seconds"] for line in lines) + time.perf_counter() - began,
    }


def _weights(config: ConfigDict, run: RunDir) -> dict[str, Any]:
    """Returns the checksum of the pretrained weights of a run that has some."""
    if not config.model.init_from:
        return {}
    described = processes.on_first(run.read_dataset) or {}
    return {run_dir.INIT_FROM: described.get(run_dir.INIT_FROM)}


def _relabelled(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Returns the labels from a file of a run that has some, and how many of them differ."""
    if dataset.relabelled is None:
        return {}
    return {
        "train_labels": config.data.train_labels,
        "train_labels_differ": dataset.relabelled.train,
        "calibration_labels_differ": dataset.relabelled.calibration,
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


def _by_epoch(lines: Sequence[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {line.get("epoch"): line for line in lines}


def _ranges(numbers: Sequence[int]) -> str:
    """Writes increasing numbers as '3, 7-9'."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][-1] == n - 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _revision() -> str:
    """Returns the commit of the source, with -dirty if files differ, or else the version."""
    here = pathlib.Path(__file__).resolve().parent
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        output = subprocess.run(describe, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"autolabel_jax {autolabel_jax.__version__}"
    return output.stdout.strip()
