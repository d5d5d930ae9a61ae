"""Saving and restoring all of a run with orbax: state, position, sums of the epoch so far.

A checkpoint is whole or absent; the last k are kept. The config that a
working directory was started with is held beside them, and no other goes on there.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import struct
from ml_collections import ConfigDict

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import metric_writer, processes
from autolabel_jax.types import StepMetrics, TrainState

# Fields that say where and how to run, not what: they may differ when a run goes on.
FREE_FIELDS = ("data_dir", "loader_workers", "checkpoint.keep", "checkpoint.every_epochs")


@struct.dataclass
class Snapshot:
    """What is saved: a state and where in the run it stands."""

    state: TrainState
    epoch: jax.Array  # int32 [], being trained
    step: jax.Array  # int32 [], steps of that epoch already taken
    metrics: StepMetrics  # sums over those steps


def no_metrics() -> StepMetrics:
    """Sums over no step."""
    return StepMetrics(loss=np.float32(0), correct=np.float32(0), count=np.float32(0))


def first_snapshot(
    experiment: experiment_lib.Experiment, seed: int, example_shape: tuple[int, ...]
) -> Snapshot:
    """Where a run begins, on every device of the mesh; arguments as of its ``init_state``."""
    snapshot = Snapshot(
        state=experiment_lib.init_state(experiment, seed, example_shape),
        epoch=np.int32(0),
        step=np.int32(0),
        metrics=no_metrics(),
    )
    return processes.replicate(snapshot, experiment.mesh)


class Checkpoints:
    """The checkpoints of one working directory.

    Args:
      workdir: of the run.
      keep: how many of the last ones stay; None only to read, as a run may be writing there.
    """

    def __init__(self, workdir: pathlib.Path, keep: int | None):
        """Opens the folder; who writes clears what a killed process left half written."""
        self.folder = (workdir / "checkpoints").absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=keep is not None, create=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        """For a ``with`` block, at whose end the write under way is waited for."""
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Waits for the write under way, unless it waits for a process that is gone."""
        if processes.is_peer_lost(error):
            return
        self._manager.wait_until_finished()
        self._manager.close()

    def save(self, snapshot: Snapshot, steps_per_epoch: int) -> None:
        """Starts writing a snapshot; a checkpoint's name is its place in the run.

        An epoch has a place for each step taken, and one for the end of its
        calibration, which is step 0 of the next.
        """
        place = int(snapshot.epoch) * (steps_per_epoch + 1) + int(snapshot.step)
        if place != self._manager.latest_step():
            # A copy, as the next step may take the snapshot's own memory while it is written.
            copy = jax.tree.map(jnp.copy, snapshot)
            self._manager.save(place, args=ocp.args.StandardSave(copy))

    def restore(self, like: Snapshot) -> Snapshot | None:
        """The last whole snapshot, with shapes and shardings as ``like``; None if there is none."""
        if self._manager.latest_step() is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(
            self._manager.latest_step(), args=ocp.args.StandardRestore(abstract)
        )

    def clear(self) -> None:
        """Deletes all of them."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def latest(self) -> pathlib.Path | None:
        """Folder of the last whole checkpoint, after any write under way; None if there is none."""
        self._manager.wait_until_finished()
        step = self._manager.latest_step()
        return None if step is None else self.folder / str(step)


def claim(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes ``workdir`` this config's, or checks that it already is.

    Raises:
      ValueError: the folder belongs to a run with other settings; lists them.
    """
    processes.on_first(lambda: _claim(workdir, config))


def _claim(workdir: pathlib.Path, config: ConfigDict) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "config.json"
    asked = json.loads(config.to_json())
    if path.exists():
        before, now = _flat(json.loads(path.read_text())), _flat(asked)
        fields = sorted(f for f in before.keys() | now.keys() if f not in FREE_FIELDS)
        differing = [f for f in fields if before.get(f) != now.get(f)]
        if differing:
            changes = "; ".join(
                f"{f}: {before.get(f)!r} there, {now.get(f)!r} asked for" for f in differing
            )
            raise ValueError(
                f"--workdir={workdir} holds a run of another config ({changes}); "
                "take another --workdir, or the settings that it was started with"
            )
    metric_writer.write_json(path, asked)


def load_config(workdir: pathlib.Path, defaults: ConfigDict | None = None) -> ConfigDict:
    """The config that a run was started with.

    Args:
      workdir: of the run.
      defaults: give the fields that came to the project after the run.

    Raises:
      FileNotFoundError: the folder holds no run.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"--workdir={workdir}: found no config.json there; give the --workdir of a training run"
        )
    later = {} if defaults is None else json.loads(defaults.to_json())
    return ConfigDict(_merged(later, json.loads(path.read_text())))


def _merged(later: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """``saved``, and the entries of ``later`` that it lacks, at any depth."""
    nested = ((name, value) for name, value in saved.items() if isinstance(value, dict))
    inner = {name: _merged(later.get(name, {}), value) for name, value in nested}
    return {**later, **saved, **inner}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, dict)
        flat.update(_flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value})
    return flat
