"""The working directory of a run: the one place that names its files.

- config.json: the whole config of the run.
- dataset.json: fingerprint of its data, see ``datasets.fingerprint``, and library versions.
- metrics.jsonl: one line per epoch; tensorboard/ has the same metrics.
- checkpoints/: the last states, written by ``checkpoint``.
- .lock: held by the process that trains here.
- result.json: metrics of the trained state; a run with this file is finished.
- test_logits.npz: logits and labels of the clean test split.
- evaluation.jsonl: finished units of an evaluation; evaluation/ has their resamples.
- diagnosis.json: measurements of ``experiments.diagnose``; diagnosis/ has its figures.
"""

import contextlib
import dataclasses
import json
import pathlib
import platform
import shutil
from collections.abc import Callable, Generator, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import files, processes
from autolabel_jax.datasets import Dataset, fingerprint
from autolabel_jax.evaluation.ledger import Ledger

METRICS = "metrics.jsonl"
SAVED_METRICS = "epochs.jsonl"  # in the folder of a checkpoint
CONFIG, RESULT, LOCK = "config.json", "result.json", ".lock"
DATASET = "dataset.json"  # also in each checkpoint, so that a copy of it knows its data
PACKAGES = ("jax", "flax", "optax", "numpy")
# Fields that do not affect the results; they may differ when a run is resumed.
FREE_FIELDS = ("data_dir", "loader_workers", "checkpoint.keep", "checkpoint.every_epochs")
# Entries of the result that only the training process can know.
OF_TRAINING = ("revision", "numerics_version", "versions", "device", "peak_memory_gib", "seconds")
# What to do about a damaged file.
AGAIN = "delete it and run the training command again"
WITHOUT = "restore it, or delete it to go on without it"
TAIL = 1 << 16  # bytes at the end of metrics.jsonl that contain its last line


@dataclasses.dataclass(frozen=True)
class RunDir:
    """Reads and writes the files of one run.

    Files are written atomically. Where several processes train together, ``claim``,
    ``check_dataset``, ``result`` and ``write_result`` must be called by all of them, and
    the first one writes everything else.
    """

    path: pathlib.Path

    def __post_init__(self):
        """Converts a path given as a string."""
        object.__setattr__(self, "path", pathlib.Path(self.path))

    # --- config and data ---------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Holds the folder for one training; the system frees it when its process ends.

        Raises:
          ValueError: another process trains here.
        """
        made = not self.path.exists()
        with contextlib.ExitStack() as stack:
            processes.on_first(lambda: self._lock(stack))
            try:
                yield
            finally:
                if made and processes.is_first():
                    self._remove_if_unused()

    def _lock(self, stack: contextlib.ExitStack) -> None:
        holder = stack.enter_context(files.lock(self.path / LOCK))
        if holder is not None:
            raise ValueError(
                f"--workdir={self.path}: {holder} trains there; wait for its end, or use another "
                "--workdir"
            )

    def _remove_if_unused(self) -> None:
        if [path.name for path in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()
            self.path.rmdir()

    def claim(
        self, config: ConfigDict, dataset: Dataset, defaults: ConfigDict | None = None
    ) -> None:
        """Claims the folder for a config and data set, or checks that it has the same ones.

        A finished run may be claimed with more epochs: its result is renamed, and it is unfinished
        again. Temporary files that a killed process left are removed.

        Args:
          config: config of the run.
          dataset: its data.
          defaults: config with the defaults of fields that an older run lacks, see
            ``check_config``.

        Raises:
          ValueError: the folder belongs to a run with other settings or data.
        """
        processes.on_first(lambda: self._claim(config, dataset, defaults))

    def _claim(self, config: ConfigDict, dataset: Dataset, defaults: ConfigDict | None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.ledger.folder):
            files.remove_leftovers(folder)
        known, more_epochs = self.is_claimed, 0
        if known:
            more_epochs = self._epochs_to_add(config)
            self.check_config(config, defaults, free=("epochs",) if more_epochs else ())
        described = self._check_dataset(dataset)
        self._check_saved_config(config)
        if more_epochs:
            self._reopen(config, more_epochs)
        if not known or not (self.path / DATASET).exists():
            described["versions"] = library_versions()
            files.write_json(self.path / DATASET, described, checksum=True)
        files.write_json(self.path / CONFIG, json.loads(config.to_json()))

    @property
    def is_claimed(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG).exists()

    def _epochs_to_add(self, config: ConfigDict) -> int:
        """Returns by how many epochs a config prolongs the finished run here, or 0."""
        before = self.read_config().get("epochs", config.epochs)
        return max(config.epochs - before, 0) if self.is_finished else 0

    def _reopen(self, config: ConfigDict, more_epochs: int) -> None:
        before = config.epochs - more_epochs
        kept = self.path / f"result_{before}_epochs.json"
        (self.path / RESULT).rename(kept)
        processes.say(
            f"{self.path}: trains on from epoch {before} to {config.epochs}; the "
            f"{config.optimizer.schedule} schedule of optimizer.schedule now spans {config.epochs} "
            f"epochs, so the learning rate differs from that of a run of {config.epochs} epochs in "
            f"the first {before}; the result so far is in {kept.name}"
        )

    def check_config(
        self,
        config: ConfigDict,
        defaults: ConfigDict | None = None,
        free: Sequence[str] = (),
    ) -> None:
        """Checks that a config equals that of the run, except for ``FREE_FIELDS``.

        Fields that the run lacks, because it is older than they are, must have their defaults, and
        are named on standard error.

        Args:
          config: config to check.
          defaults: config with the defaults of fields; a field that it lacks too may have any
            value.
          free: fields that may differ if no others do.

        Raises:
          ValueError: fields differ; the message lists them.
        """
        before, now = _flat(self.read_config()), _flat(json.loads(config.to_json()))
        later = {field: now[field] for field in now.keys() - before.keys()}
        known = {} if defaults is None else _flat(json.loads(defaults.to_json()))
        before |= {field: known.get(field, value) for field, value in later.items()}
        fields = sorted(f for f in before.keys() | now.keys() if f not in FREE_FIELDS)
        differing = [f for f in fields if before.get(f) != now.get(f)]
        if not set(differing) <= set(free):
            changes = "; ".join(
                f"{f}: {before.get(f)!r} there, {now.get(f)!r} asked for" for f in differing
            )
            raise ValueError(
                f"--workdir={self.path} holds a run of another config ({changes}); "
                "use another --workdir, or the settings of that run"
            )
        if later:
            values = ", ".join(f"{field}={later[field]!r}" for field in sorted(later))
            processes.say(f"{self.path}: this run is older than some fields; it takes {values}")

    def check_saved_config(self, config: ConfigDict) -> None:
        """Checks that a config has the settings with which the last checkpoint was saved.

        Raises:
          ValueError: fields differ; the message lists them.
        """
        processes.on_first(lambda: self._check_saved_config(config))

    def _check_saved_config(self, config: ConfigDict) -> None:
        last = self.last_checkpoint()
        if last is None or not (last / CONFIG).exists():  # of an older version
            return
        with contextlib.suppress(files.DamagedError):  # ``Checkpoints.restore`` will name it
            saved, now = _flat(files.read_json(last / CONFIG)), _flat(json.loads(config.to_json()))
            differing = [
                f"{field}: {saved[field]!r} there, {now[field]!r} now"
                for field in sorted(saved.keys() & now.keys() - {*FREE_FIELDS, "epochs"})
                if saved[field] != now[field]
            ]
            if differing:
                raise ValueError(
                    f"{self.path / CONFIG}: differs from the config in {last} "
                    f"({'; '.join(differing)}); restore the file"
                )

    def check_dataset(self, dataset: Dataset) -> None:
        """Checks that data equal those that the run and its checkpoints record.

        A last checkpoint without a record, which is of an older version, is named on standard
        error.

        Raises:
          ValueError: splits or class names differ; the message lists them.
        """
        processes.on_first(lambda: self._check_dataset(dataset))

    def _check_dataset(self, dataset: Dataset) -> dict[str, Any]:
        """Checks data, and returns their description."""
        described, saved = fingerprint.describe(dataset), self._saved()
        # Without a config or checkpoint, the folder holds no run, but perhaps the start of one.
        own = self.read_dataset() if self.is_claimed or saved else None
        records = {"": own, **{f" in {p}": _data_of(p) for p in saved}}
        for place, before in records.items():
            if before is None:
                continue
            if differing := fingerprint.differences(before, described):
                raise ValueError(
                    f"--workdir={self.path} holds a run on other data{place} "
                    f"({'; '.join(differing)}); give the --data_dir of the original, unchanged data"
                )
        if saved and not (saved[-1] / DATASET).exists():
            processes.say(
                f"{saved[-1]}: this checkpoint is of an older version and does not record its "
                "data; whether they are these could not be checked"
            )
        return described

    def load_config(self, defaults: ConfigDict | None = None) -> ConfigDict:
        """Loads the config of the run.

        Args:
          defaults: config with defaults of fields that the run lacks, such as newer ones.

        Raises:
          FileNotFoundError: the folder holds no run.
        """
        if not self.is_claimed:
            raise FileNotFoundError(
                f"--workdir={self.path}: found no {CONFIG} there; "
                "give the --workdir of a training run"
            )
        later = {} if defaults is None else json.loads(defaults.to_json())
        return ConfigDict(_merged(later, self.read_config()))

    def read_config(self) -> dict[str, Any]:
        """Reads the config exactly as it is in the file; {} if there is none."""
        return _read(self.path / CONFIG, f"{AGAIN}, which writes it") or {}

    def read_dataset(self) -> dict[str, Any] | None:
        """Reads the fingerprint of the data; None for an older run without one."""
        return _read(self.path / DATASET, f"{AGAIN}, which writes it")

    # --- training ----------------------------------------------------------------------------

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def last_checkpoint(self) -> pathlib.Path | None:
        """Returns the folder of the last complete checkpoint, or None."""
        return next(reversed(self._saved()), None)

    def _saved(self) -> list[pathlib.Path]:
        # Orbax gives a folder its number once it is complete.
        saved = (p for p in self.checkpoints.glob("*") if p.name.isdigit())
        return sorted(saved, key=lambda p: int(p.name))

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the TensorBoard events."""
        return self.path / "tensorboard"

    def read_metrics(self) -> list[dict[str, Any]]:
        """Reads the metrics, one line per epoch."""
        return files.read_json_lines(self._metrics)

    def write_metrics(self, line: dict[str, Any]) -> None:
        """Appends the line of an epoch."""
        files.append_json_line(self._metrics, line)

    def restore_metrics(self, num_epochs: int, saved: Sequence[dict[str, Any]]) -> None:
        """Makes the file hold the lines of the first epochs, and no others.

        Lines that are missing or damaged are replaced by those that a checkpoint has saved, and
        their epochs are named on standard error.

        Args:
          num_epochs: number of epochs.
          saved: lines of these epochs, as far as they are saved.
        """
        own, by_epoch = _by_epoch(self.read_metrics()), _by_epoch(saved)
        whole = {n: by_epoch.get(n, own.get(n)) for n in range(num_epochs)}
        lines = [line for line in whole.values() if line is not None]
        if restored := [n + 1 for n in whole if n in by_epoch and own.get(n) != by_epoch[n]]:
            processes.say(
                f"{self._metrics}: was damaged; the lines of epochs {_ranges(restored)} are "
                "restored from the checkpoint"
            )
        if lost := [n + 1 for n in whole if whole[n] is None]:
            kept = self.path / "metrics.damaged"
            if self._metrics.exists():
                shutil.copyfile(self._metrics, kept)
            processes.say(
                f"{self._metrics}: the lines of epochs {_ranges(lost)} are missing, and no "
                f"checkpoint has them; the file as it was is {kept.name}"
            )
        files.rewrite_json_lines(self._metrics, lines)

    def missing_epochs(self) -> str:
        """Returns which epochs, from 1, the metrics of the finished run lack, such as '3, 7-9'."""
        own = _by_epoch(self.read_metrics())
        return _ranges([n + 1 for n in range(self.read_config()["epochs"]) if n not in own])

    def changed_epochs(self) -> str:
        """Returns which epochs, from 1, have other metrics in the last checkpoint than in the file.

        Epochs that the file lacks do not count.
        """
        last, own = self.last_checkpoint(), _by_epoch(self.read_metrics())
        saved = _by_epoch(files.read_json_lines(last / SAVED_METRICS)) if last else {}
        return _ranges([n + 1 for n, line in saved.items() if own.get(n, line) != line])

    def last_metrics(self) -> dict[str, Any] | None:
        """Reads the last complete line from the end of the file, or None."""
        if not self._metrics.is_file():
            return None
        try:
            with open(self._metrics, "rb") as file:
                file.seek(max(file.seek(0, 2) - TAIL, 0))
                lines = file.read().splitlines()
        except OSError:
            return None
        for text in reversed(lines):
            with contextlib.suppress(ValueError):  # incomplete
                return files.parse(text)
        return None

    @property
    def _metrics(self) -> pathlib.Path:
        return self.path / METRICS

    # --- results -----------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """Whether the run has a result."""
        return (self.path / RESULT).exists()

    def result(self) -> dict[str, Any] | None:
        """Reads the result in the first process for all; None for an unfinished run."""
        return processes.on_first(self.read_result)

    def read_result(self) -> dict[str, Any] | None:
        """Reads the result from the file; None for an unfinished run."""
        return _read(self.path / RESULT, f"{AGAIN}, which evaluates the last checkpoint")

    def write_result(
        self, result: dict[str, Any], replaced: Callable[[str], bool] = lambda name: False
    ) -> dict[str, Any]:
        """Merges metrics into the result, but keeps the entries ``OF_TRAINING`` of an earlier one.

        Args:
          result: new entries.
          replaced: whether an earlier entry of this name is dropped if ``result`` lacks it.

        Returns:
          The new contents of the file.
        """

        def write() -> dict[str, Any]:
            before = self.read_result() or {}
            before = {n: v for n, v in before.items() if n in result or not replaced(n)}
            new = {n: v for n, v in result.items() if not before or n not in OF_TRAINING}
            files.write_json(self.path / RESULT, whole := {**before, **new}, checksum=True)
            return whole

        return processes.on_first(write)

    @property
    def logits_file(self) -> pathlib.Path:
        """The file of ``write_logits``."""
        return self.path / "test_logits.npz"

    def write_logits(self, logits: np.ndarray, label: np.ndarray) -> None:
        """Writes ``logits`` float32 [n, K] and ``label`` int32 [n] of the clean test split."""
        if processes.is_first():
            files.write_npz(self.logits_file, logits=logits, label=label)

    @property
    def ledger(self) -> Ledger:
        """The ledger of finished evaluation units."""
        return Ledger(self.path / "evaluation.jsonl", self.path / "evaluation")

    # --- diagnosis ---------------------------------------------------------------------------

    def read_diagnosis(self) -> dict[str, Any]:
        """Reads the measurements by part; {} if there are none."""
        return _read(self.path / "diagnosis.json") or {}

    def write_diagnosis(self, part: str, measured: dict[str, Any]) -> None:
        """Replaces one part of the diagnosis."""
        whole = {**self.read_diagnosis(), part: measured}
        files.write_json(self.path / "diagnosis.json", whole, checksum=True)

    @property
    def fourier_file(self) -> pathlib.Path:
        """The file of a Fourier map in progress."""
        return self.path / "diagnosis_fourier.jsonl"

    @property
    def figures(self) -> pathlib.Path:
        """Folder of the figures of the diagnosis."""
        return self.path / "diagnosis"


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folder if it holds a run, or else the sorted folders below it that do."""
    if RunDir(folder).is_claimed:
        return [folder]
    return sorted(path.parent for path in folder.rglob(CONFIG))


def library_versions() -> dict[str, str]:
    """Returns versions of this library, of Python and of packages that affect results."""
    return {
        "autolabel_jax": autolabel_jax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
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


def _read(path: pathlib.Path, remedy: str = WITHOUT) -> dict[str, Any] | None:
    """Reads a JSON file if it exists; an error says what to do."""
    try:
        return files.read_json(path) if path.exists() else None
    except files.DamagedError as error:
        raise files.DamagedError(path, f"{error.reason}; {remedy}") from error


def _data_of(checkpoint: pathlib.Path) -> dict[str, Any] | None:
    """Reads the record of data in a checkpoint; None for an older or damaged one."""
    with contextlib.suppress(OSError, ValueError):  # ``Checkpoints.restore`` names a damaged one
        return files.read_json(checkpoint / DATASET)
    return None


def _merged(later: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Adds to ``saved`` the entries of ``later`` that it lacks, at any depth."""
    nested = ((name, value) for name, value in saved.items() if isinstance(value, dict))
    inner = {name: _merged(later.get(name, {}), value) for name, value in nested}
    return {**later, **saved, **inner}


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")
