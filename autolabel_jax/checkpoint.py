"""Saving and restoring all of a run with orbax: state, position, sums of the epoch so far.

A checkpoint is whole or absent; the last k are kept.
"""

import pathlib
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import struct

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import processes
from autolabel_jax.types import Array, StepMetrics, TrainState


class Snapshot(struct.PyTreeNode):
    """What is saved: a state and where in the run it stands."""

    state: TrainState
    epoch: Array | np.int32  # int32 [], being trained
    step: Array | np.int32  # int32 [], steps of that epoch already taken
    metrics: StepMetrics  # sums over those steps


def no_metrics() -> StepMetrics:
    """Sums over no step."""
    zero = np.zeros((), np.float32)
    return StepMetrics(loss=zero, correct=zero, count=zero)


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
    """The checkpoints of one run.

    Args:
      folder: ``RunDir.checkpoints``.
      keep: how many of the last ones stay; None only to read, as a run may be writing there.
    """

    def __init__(self, folder: pathlib.Path, keep: int | None):
        """Opens the folder; who writes clears what a killed process left half written."""
        self.folder = folder.absolute()
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
        arguments = ocp.args.StandardRestore(abstract)
        return cast(Snapshot, self._manager.restore(self._manager.latest_step(), args=arguments))

    def clear(self) -> None:
        """Deletes all of them."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def latest(self) -> pathlib.Path | None:
        """Folder of the last whole checkpoint, after any write under way; None if there is none."""
        self._manager.wait_until_finished()
        step = self._manager.latest_step()
        return None if step is None else self.folder / str(step)
