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
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import files, processes
from autolabel_jax.evaluation.ledger import Ledger

METRICS = "metrics.jsonl"
SAVED_METRICS = "epochs.jsonl"  # in the folder of a checkpoint
# Values of fields in runs that are older than these fields, where they are not the defaults.
BEFORE = {"calibration": {"exact": True}}
CONFIG, RESULT, LOCK = "config.json", "result.json", ".lock"
DATASET = "dataset.json"  # also in each checkpoint, so that a copy of it knows its data
INIT_FROM = "init_from_sha256"  # in dataset.json and result.json: pretrained weights of the run
PACKAGES = ("jax", "flax", "optax", "numpy")
# Entries of the result that only the training process can know.
OF_TRAINING = ("revision", "numerics_version", "versions", "device", "peak_memory_gib", "seconds")
# What to do about a damaged file.
AGAIN = "delete it and run the training command again"
WITHOUT = "restore it, or delete it to go on without it"
TAIL = 1 << 16  # bytes at the end of metrics.jsonl that contain its last line


@dataclasses.dataclass(frozen=True)
class RunDir:
    """Reads and writes the files of one run.

    Files are written atomically. Where several processes train together, ``result`` and
    ``write_result`` must be called by all of them, and the first one writes everything else.
    """

    path: pathlib.Path

    def __post_init__(self):
        """Converts a path given as a string."""
        object.__setattr__(self, "path", pathlib.Path(self.path))

    # --- config and data ---------------------------------------------------------------------

    @property
    def is_claimed(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG).exists()

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
        return ConfigDict(merged(later, self.read_config()))

    def read_config(self) -> dict[str, Any]:
        """Reads the config as it is in the file, with ``BEFORE``; {} if there is none."""
        config = _read(self.path / CONFIG, f"{AGAIN}, which writes it")
        return merged(BEFORE, config) if config else {}

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
        return next(reversed(self.saved_checkpoints()), None)

    def saved_checkpoints(self) -> list[pathlib.Path]:
        """Returns the folders of the complete checkpoints, the last one last."""
        # Orbax gives a folder its number once it is complete.
        saved = (p for p in self.checkpoints.glob("*") if p.name.isdigit())
        return sorted(saved, key=lambda p: int(p.name))

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the TensorBoard events."""
        return self.path / "tensorboard"

    def read_metrics(self) -> list[dict[str, Any]]:
        """Reads the metrics, one line per epoch."""
        return files.read_json_lines(self.metrics_file)

    def write_metrics(self, line: dict[str, Any]) -> None:
        """Appends the line of an epoch."""
        files.append_json_line(self.metrics_file, line)

    def last_metrics(self) -> dict[str, Any] | None:
        """Reads the last complete line from the end of the file, or None."""
        if not self.metrics_file.is_file():
            return None
        try:
            with open(self.metrics_file, "rb") as file:
                file.seek(max(file.seek(0, 2) - TAIL, 0))
                lines = file.read().splitlines()
        except OSError:
            return None
        for text in reversed(lines):
            with contextlib.suppress(ValueError):  # incomplete
                return files.parse(text)
        return None

    @property
    def metrics_file(self) -> pathlib.Path:
        """The file of ``write_metrics``."""
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
    """Returns the folder if it holds a run, or else the sorted folders below it that do.

    A folder inside that of a run is none, such as a checkpoint, which has a config too.
    """
    if RunDir(folder).is_claimed:
        return [folder]
    found = {path.parent for path in folder.rglob(CONFIG)}
    return sorted(path for path in found if found.isdisjoint(path.parents))


def library_versions() -> dict[str, str]:
    """Returns versions of this library, of Python and of packages that affect results."""
    return {
        "autolabel_jax": autolabel_jax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def _read(path: pathlib.Path, remedy: str = WITHOUT) -> dict[str, Any] | None:
    """Reads a JSON file if it exists; an error says what to do."""
    try:
        return files.read_json(path) if path.exists() else None
    except files.DamagedError as error:
        raise files.DamagedError(path, f"{error.reason}; {remedy}") from error


def merged(later: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Adds to ``saved`` the entries of ``later`` that it lacks, at any depth."""
    nested = ((name, value) for name, value in saved.items() if isinstance(value, dict))
    inner = {name: merged(later.get(name, {}), value) for name, value in nested}
    return {**later, **saved, **inner}
