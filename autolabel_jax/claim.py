"""Claims the folder of a run for a training, and checks that a run there is the same.

Where several processes train together, all of them must call ``locked``, ``claim``,
``check_saved_config`` and ``check_dataset``.
"""

import contextlib
import json
import pathlib
from collections.abc import Generator, Sequence
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import files, processes
from autolabel_jax.datasets import Dataset, fingerprint
from autolabel_jax.run_dir import (
    CONFIG,
    DATASET,
    INIT_FROM,
    LOCK,
    RESULT,
    RunDir,
    library_versions,
)

# Fields that do not affect the results; they may differ when a run is resumed.
FREE_FIELDS = ("data_dir", "loader_workers", "checkpoint.keep", "checkpoint.every_epochs")
FREE_FIELDS += ("calibration.beyond", "calibration.beyond_every")


@contextlib.contextmanager
def locked(run_dir: RunDir) -> Generator[None]:
    """Holds the folder for one training; the system frees it when its process ends.

    Raises:
      ValueError: another process trains here.
    """
    made = not run_dir.path.exists()
    with contextlib.ExitStack() as stack:
        processes.on_first(lambda: _lock(run_dir, stack))
        try:
            yield
        finally:
            if made and processes.is_first():
                _remove_if_unused(run_dir)


def _lock(run_dir: RunDir, stack: contextlib.ExitStack) -> None:
    holder = stack.enter_context(files.lock(run_dir.path / LOCK))
    if holder is not None:
        raise ValueError(
            f"--workdir={run_dir.path}: {holder} trains there; wait for its end, or use another "
            "--workdir"
        )


def _remove_if_unused(run_dir: RunDir) -> None:
    if [path.name for path in run_dir.path.iterdir()] == [LOCK]:
        (run_dir.path / LOCK).unlink()
        run_dir.path.rmdir()


def claim(
    run_dir: RunDir,
    config: ConfigDict,
    dataset: Dataset,
    defaults: ConfigDict | None = None,
    weights_sha256: str | None = None,
) -> None:
    """Claims the folder for a config and data set, or checks that it has the same ones.

    A finished run may be claimed with more epochs: its result is renamed, and it is unfinished
    again. Temporary files that a killed process left are removed.

    Args:
      run_dir: the folder.
      config: config of the run.
      dataset: its data.
      defaults: config with the defaults of fields that an older run lacks, see
        ``check_config``.
      weights_sha256: checksum of the pretrained weights from which a new run starts.

    Raises:
      ValueError: the folder belongs to a run with other settings or data.
    """
    processes.on_first(lambda: _claim(run_dir, config, dataset, defaults, weights_sha256))


def _claim(
    run_dir: RunDir,
    config: ConfigDict,
    dataset: Dataset,
    defaults: ConfigDict | None,
    weights_sha256: str | None,
) -> None:
    run_dir.path.mkdir(parents=True, exist_ok=True)
    for folder in (run_dir.path, run_dir.ledger.folder):
        files.remove_leftovers(folder)
    known, more_epochs = run_dir.is_claimed, 0
    if known:
        more_epochs = _epochs_to_add(run_dir, config)
        check_config(run_dir, config, defaults, free=("epochs",) if more_epochs else ())
    described = _check_dataset(run_dir, dataset)
    _check_saved_config(run_dir, config)
    if more_epochs:
        _reopen(run_dir, config, more_epochs)
    if not known or not (run_dir.path / DATASET).exists():
        described["versions"] = library_versions()
        if weights_sha256 is not None:
            described[INIT_FROM] = weights_sha256
        files.write_json(run_dir.path / DATASET, described, checksum=True)
    files.write_json(run_dir.path / CONFIG, json.loads(config.to_json()))


def _epochs_to_add(run_dir: RunDir, config: ConfigDict) -> int:
    """Returns by how many epochs a config prolongs the finished run here, or 0."""
    before = run_dir.read_config().get("epochs", config.epochs)
    return max(config.epochs - before, 0) if run_dir.is_finished else 0


def _reopen(run_dir: RunDir, config: ConfigDict, more_epochs: int) -> None:
    before = config.epochs - more_epochs
    kept = run_dir.path / f"result_{before}_epochs.json"
    (run_dir.path / RESULT).rename(kept)
    processes.say(
        f"{run_dir.path}: trains on from epoch {before} to {config.epochs}; the "
        f"{config.optimizer.schedule} schedule of optimizer.schedule now spans {config.epochs} "
        f"epochs, so the learning rate differs from that of a run of {config.epochs} epochs in "
        f"the first {before}; the result so far is in {kept.name}"
    )


def check_config(
    run_dir: RunDir,
    config: ConfigDict,
    defaults: ConfigDict | None = None,
    free: Sequence[str] = (),
) -> None:
    """Checks that a config equals that of the run, except for ``FREE_FIELDS``.

    Fields that the run lacks, because it is older than they are, must have their defaults, and
    are named on standard error.

    Args:
      run_dir: folder of the run.
      config: config to check.
      defaults: config with the defaults of fields; a field that it lacks too may have any
        value.
      free: fields that may differ if no others do.

    Raises:
      ValueError: fields differ; the message lists them.
    """
    before, now = _flat(run_dir.read_config()), _flat(json.loads(config.to_json()))
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
            f"--workdir={run_dir.path} holds a run of another config ({changes}); "
            "use another --workdir, or the settings of that run"
        )
    if later:
        values = ", ".join(f"{field}={later[field]!r}" for field in sorted(later))
        processes.say(f"{run_dir.path}: this run is older than some fields; it takes {values}")


def check_saved_config(run_dir: RunDir, config: ConfigDict) -> None:
    """Checks that a config has the settings with which the last checkpoint was saved.

    Raises:
      ValueError: fields differ; the message lists them.
    """
    processes.on_first(lambda: _check_saved_config(run_dir, config))


def _check_saved_config(run_dir: RunDir, config: ConfigDict) -> None:
    last = run_dir.last_checkpoint()
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
                f"{run_dir.path / CONFIG}: differs from the config in {last} "
                f"({'; '.join(differing)}); restore the file"
            )


def check_dataset(run_dir: RunDir, dataset: Dataset) -> None:
    """Checks that data equal those that the run and its checkpoints record.

    A last checkpoint without a record, which is of an older version, is named on standard
    error.

    Raises:
      ValueError: splits or class names differ; the message lists them.
    """
    processes.on_first(lambda: _check_dataset(run_dir, dataset))


def _check_dataset(run_dir: RunDir, dataset: Dataset) -> dict[str, Any]:
    """Checks data, and returns their description."""
    described, saved = fingerprint.describe(dataset), run_dir.saved_checkpoints()
    # Without a config or checkpoint, the folder holds no run, but perhaps the start of one.
    own = run_dir.read_dataset() if run_dir.is_claimed or saved else None
    records = {"": own, **{f" in {p}": _data_of(p) for p in saved}}
    for place, before in records.items():
        if before is None:
            continue
        if differing := fingerprint.differences(before, described):
            raise ValueError(
                f"--workdir={run_dir.path} holds a run on other data{place} "
                f"({'; '.join(differing)}); give the --data_dir of the original, unchanged data"
            )
    if saved and not (saved[-1] / DATASET).exists():
        processes.say(
            f"{saved[-1]}: this checkpoint is of an older version and does not record its "
            "data; whether they are these could not be checked"
        )
    return described


def _data_of(checkpoint: pathlib.Path) -> dict[str, Any] | None:
    """Reads the record of data in a checkpoint; None for an older or damaged one."""
    with contextlib.suppress(OSError, ValueError):  # ``Checkpoints.restore`` names a damaged one
        return files.read_json(checkpoint / DATASET)
    return None


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")
