"""The working directory of a run: the one place that names its files.

- config.json: the whole config that the run was started with.
- dataset.json: what its data are, see ``datasets.fingerprint``, and library versions.
- metrics.jsonl: one line an epoch; tensorboard/ has the same.
- checkpoints/: the last whole states, written by ``checkpoint``.
- result.json: metrics of the trained state; a run that has it is finished.
- test_logits.npz: logits and labels of the clean test split.
- evaluation.jsonl: finished units of an evaluation; evaluation/ has their resamples.
- diagnosis.json: what ``experiments.diagnose`` measured; diagnosis/ has its figures.
"""

import dataclasses
import json
import pathlib
import platform
from importlib import metadata
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import files, processes
from autolabel_jax.datasets import Dataset, fingerprint
from autolabel_jax.evaluation.ledger import Ledger

CONFIG, RESULT = "config.json", "result.json"
PACKAGES = ("jax", "flax", "optax", "numpy")
# Fields that say where and how to run, not what: they may differ when a run is resumed.
FREE_FIELDS = ("data_dir", "loader_workers", "checkpoint.keep", "checkpoint.every_epochs")
# What an evaluation in a later process does not know.
OF_TRAINING = ("revision", "numerics_version", "versions", "device", "peak_memory_gib", "seconds")
TAIL = 1 << 16  # bytes; the last line of metrics.jsonl is in them


@dataclasses.dataclass(frozen=True)
class RunDir:
    """The files of one run, read and written by their meaning.

    Writing is whole or not at all. Where several processes train together, ``claim``,
    ``check_dataset``, ``result`` and ``write_result`` must be called by all of them; other
    writing is the first one's.
    """

    path: pathlib.Path

    def __post_init__(self):
        """Takes a path given as text, too."""
        object.__setattr__(self, "path", pathlib.Path(self.path))

    # --- config and data ---------------------------------------------------------------------

    def claim(self, config: ConfigDict, dataset: Dataset) -> None:
        """Makes the folder this config's and data set's, or checks that it already is.

        Raises:
          ValueError: the folder belongs to a run with other settings or data; lists them.
        """
        processes.on_first(lambda: self._claim(config, dataset))

    def _claim(self, config: ConfigDict, dataset: Dataset) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if self.is_claimed:
            self.check_config(config)
            self._check_dataset(dataset)
        else:
            described = {**fingerprint.describe(dataset), "versions": library_versions()}
            files.write_json(self.path / "dataset.json", described)
        files.write_json(self.path / CONFIG, json.loads(config.to_json()))

    @property
    def is_claimed(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG).exists()

    def check_config(self, config: ConfigDict) -> None:
        """Refuses another config than the run's, where to run aside.

        Raises:
          ValueError: lists the fields that differ.
        """
        before, now = _flat(self.read_config()), _flat(json.loads(config.to_json()))
        fields = sorted(f for f in before.keys() | now.keys() if f not in FREE_FIELDS)
        differing = [f for f in fields if before.get(f) != now.get(f)]
        if differing:
            changes = "; ".join(
                f"{f}: {before.get(f)!r} there, {now.get(f)!r} asked for" for f in differing
            )
            raise ValueError(
                f"--workdir={self.path} holds a run of another config ({changes}); "
                "take another --workdir, or the settings that it was started with"
            )

    def check_dataset(self, dataset: Dataset) -> None:
        """Refuses other data than the run was trained with; older runs do not know theirs.

        Raises:
          ValueError: names the splits and class names that differ.
        """
        processes.on_first(lambda: self._check_dataset(dataset))

    def _check_dataset(self, dataset: Dataset) -> None:
        before = self.read_dataset()
        differing = before and fingerprint.differences(before, fingerprint.describe(dataset))
        if differing:
            raise ValueError(
                f"--workdir={self.path} holds a run on other data ({'; '.join(differing)}); "
                "give the --data_dir that the run was trained with, with the data as they were"
            )

    def load_config(self, defaults: ConfigDict | None = None) -> ConfigDict:
        """The config that the run was started with.

        Args:
          defaults: give the fields that came to the project after the run.

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

    def read_config(self) -> Any:
        """The config as it is in the file."""
        return files.read_json(self.path / CONFIG)

    def read_dataset(self) -> dict[str, Any] | None:
        """What the data are; None for a run from before this was kept."""
        return _read(self.path / "dataset.json")

    # --- training ----------------------------------------------------------------------------

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def last_checkpoint(self) -> pathlib.Path | None:
        """Folder of the last whole one (orbax gives it its number last); None: there is none."""
        saved = [p for p in self.checkpoints.glob("*") if p.name.isdigit()]
        return max(saved, key=lambda p: int(p.name), default=None)

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the TensorBoard events."""
        return self.path / "tensorboard"

    def read_metrics(self) -> list[dict[str, Any]]:
        """One line an epoch."""
        return files.read_json_lines(self._metrics)

    def write_metrics(self, line: dict[str, Any]) -> None:
        """Adds the line of an epoch."""
        files.append_json_line(self._metrics, line)

    def drop_metrics(self, first_epoch: int) -> None:
        """Drops the lines of this epoch and later ones."""
        kept = [line for line in self.read_metrics() if line["epoch"] < first_epoch]
        files.rewrite_json_lines(self._metrics, kept)

    def last_metrics(self) -> dict[str, Any] | None:
        """The last whole line, read from the end of the file; None: there is none."""
        try:
            with open(self._metrics, "rb") as file:
                file.seek(max(file.seek(0, 2) - TAIL, 0))
                lines = file.read().splitlines()
        except OSError:
            return None
        for text in reversed(lines):
            try:
                return json.loads(text)
            except ValueError:  # cut off, or being written
                continue
        return None

    @property
    def _metrics(self) -> pathlib.Path:
        return self.path / "metrics.jsonl"

    # --- results -----------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """Whether there is a result."""
        return (self.path / RESULT).exists()

    def result(self) -> dict[str, Any] | None:
        """The result, as the first process reads it; None for a run that is not finished."""
        return processes.on_first(self.read_result)

    def read_result(self) -> Any:
        """The result as it is in the file; None for a run that is not finished."""
        return _read(self.path / RESULT)

    def write_result(self, result: dict[str, Any]) -> dict[str, Any]:
        """Writes the result, and keeps of an earlier one what only the training knew.

        Returns:
          What the file holds now.
        """

        def write() -> dict[str, Any]:
            before = self.read_result() or {}
            new = {n: v for n, v in result.items() if not before or n not in OF_TRAINING}
            files.write_json(self.path / RESULT, whole := {**before, **new})
            return whole

        return processes.on_first(write)

    @property
    def logits_file(self) -> pathlib.Path:
        """The file of ``write_logits``."""
        return self.path / "test_logits.npz"

    def write_logits(self, logits: np.ndarray, label: np.ndarray) -> None:
        """Keeps ``logits`` float32 [n, K] and ``label`` int32 [n] of the clean test split."""
        if processes.is_first():
            files.write_npz(self.logits_file, logits=logits, label=label)

    @property
    def ledger(self) -> Ledger:
        """Finished units of an evaluation."""
        return Ledger(self.path / "evaluation.jsonl", self.path / "evaluation")

    # --- diagnosis ---------------------------------------------------------------------------

    def read_diagnosis(self) -> dict[str, Any]:
        """What was measured, by part; {} before anything was."""
        return _read(self.path / "diagnosis.json") or {}

    def write_diagnosis(self, part: str, measured: dict[str, Any]) -> None:
        """Replaces one part of the diagnosis."""
        files.write_json(self.path / "diagnosis.json", {**self.read_diagnosis(), part: measured})

    @property
    def fourier_file(self) -> pathlib.Path:
        """Lines of a Fourier map that is being measured."""
        return self.path / "diagnosis_fourier.jsonl"

    @property
    def figures(self) -> pathlib.Path:
        """Folder of the figures of a diagnosis."""
        return self.path / "diagnosis"


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folder, if it holds a run; else the folders below it that do, sorted."""
    if RunDir(folder).is_claimed:
        return [folder]
    return sorted(path.parent for path in folder.rglob(CONFIG))


def library_versions() -> dict[str, str]:
    """Versions of this library, of Python and of what numbers hang on."""
    return {
        "autolabel_jax": autolabel_jax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def _read(path: pathlib.Path) -> Any:
    return files.read_json(path) if path.exists() else None


def _merged(later: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """``saved``, and the entries of ``later`` that it lacks, at any depth."""
    nested = ((name, value) for name, value in saved.items() if isinstance(value, dict))
    inner = {name: _merged(later.get(name, {}), value) for name, value in nested}
    return {**later, **saved, **inner}


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")
