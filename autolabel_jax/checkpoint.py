"""Saves and restores the whole state of a run with orbax.

Checkpoints are written atomically, and the last k are kept.
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
    """Contents of a checkpoint: the training state and its position in the run."""

    state: TrainState
    epoch: Array | np.int32  # int32 [], index of the epoch in progress
    step: Array | np.int32  # int32 [], steps of that epoch already taken
    metrics: StepMetrics  # sums over those steps


def no_metrics() -> StepMetrics:
    """Returns metrics before the first step: zeros."""
    return StepMetrics(*(np.zeros((), np.float32) for _ in range(3)))


def first_snapshot(
    experiment: experiment_lib.Experiment, seed: int, example_shape: tuple[int, ...]
) -> Snapshot:
    """Makes the snapshot at which a run begins, on every device of the mesh.

    Arguments are those of ``experiment.init_state``.
    """
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
      keep: number of last checkpoints to keep; None opens them for reading only, for example
        while a run is writing there.
    """

    def __init__(self, folder: pathlib.Path, keep: int | None):
        """Opens the folder; with ``keep``, also deletes incomplete checkpoints."""
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=keep is not None, create=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        """Enters a ``with`` block, whose end waits for a write in progress."""
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Waits for a write in progress, unless another process is lost."""
        if processes.is_peer_lost(error):
            return
        self._manager.wait_until_finished()
        self._manager.close()

    def save(self, snapshot: Snapshot, steps_per_epoch: int) -> None:
        """Starts writing a snapshot, named by its position in the run.

        An epoch has one position per step, and one for the end of its calibration, which is step 0
        of the next epoch.
        """
        place = int(snapshot.epoch) * (steps_per_epoch + 1) + int(snapshot.step)
        if place != self._manager.latest_step():
            # Copied, because the next step may reuse the snapshot's memory during the write.
            copy = jax.tree.map(jnp.copy, snapshot)
            self._manager.save(place, args=ocp.args.StandardSave(copy))

    def restore(self, like: Snapshot) -> Snapshot | None:
        """Restores the last snapshot, with the shapes and shardings of ``like``, or None."""
        if self._manager.latest_step() is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.StandardRestore(abstract)
        return cast(Snapshot, self._manager.restore(self._manager.latest_step(), args=arguments))

    def clear(self) -> None:
        """Deletes all checkpoints."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def latest(self) -> pathlib.Path | None:
        """Waits for a write in progress and returns the last checkpoint's folder, or None."""
        self._manager.wait_until_finished()
        step = self._manager.latest_step()
        return None if step is None else self.folder / str(step)
