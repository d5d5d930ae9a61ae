"""Saves and restores the whole state of a run with orbax.

Checkpoints are written atomically, and the last k are kept. Each holds the checksums of its files,
the config of the run, the record of its data and the metrics of the epochs before it.
"""

import hashlib
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import struct
from ml_collections import ConfigDict

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import files, processes, run_dir
from autolabel_jax.models import pretrained
from autolabel_jax.types import Array, CarriedStats, StepMetrics, TrainState

CHECKSUMS = "checksums.json"  # in the folder of a checkpoint


class Snapshot(struct.PyTreeNode):
    """Contents of a checkpoint: the training state and its position in the run."""

    state: TrainState
    epoch: Array | np.int32  # int32 [], index of the epoch in progress
    step: Array | np.int32  # int32 [], steps of that epoch already taken
    metrics: StepMetrics  # sums over those steps


# This is a separate class because checkpoints store fields even if they are None, so that those
# of runs with a full pass would not restore.
class CarryingSnapshot(Snapshot):
    """Contents of a checkpoint of a run without full calibration passes."""

    carried: CarriedStats


def no_metrics() -> StepMetrics:
    """Returns metrics before the first step: zeros."""
    return StepMetrics(*(np.zeros((), np.float32) for _ in range(3)))


def first_snapshot(
    experiment: experiment_lib.Experiment,
    seed: int,
    example_shape: tuple[int, ...],
    weights: pretrained.Weights | None = None,
) -> Snapshot:
    """Makes the snapshot at which a run begins, on every device of the mesh.

    Arguments are those of ``experiment.init_state``.
    """
    snapshot = Snapshot(
        state=experiment_lib.init_state(experiment, seed, example_shape, weights),
        epoch=np.int32(0),
        step=np.int32(0),
        metrics=no_metrics(),
    )
    if experiment.visits:
        snapshot = CarryingSnapshot(**vars(snapshot), carried=experiment.nothing_carried())
    return processes.replicate(snapshot, experiment.mesh)


class _LastAndBest:
    """Tells orbax which checkpoints to preserve: the last ones, and that of the best epoch."""

    def __init__(self, keep: int):
        self.best: int | None = None  # place of the checkpoint
        self._keep = keep

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns a value for each checkpoint, in the order of their places."""
        del context
        old = len(checkpoints) - self._keep
        return [i >= old or saved.step == self.best for i, saved in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: ``RunDir.checkpoints``.
      keep: number of last checkpoints to keep, besides the best one that ``save`` names; None opens
        them for reading only, for example while a run is writing there.
      data: record of the data, ``RunDir.read_dataset``, that new checkpoints get.
      config: config of the run, that new checkpoints get.

    Attributes:
      restored: folder of the checkpoint that was restored, or None.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        keep: int | None,
        *,
        data: dict[str, Any] | None = None,
        config: ConfigDict | None = None,
    ):
        """Opens the folder; with ``keep``, also deletes incomplete checkpoints."""
        self.folder, self.restored = folder.absolute(), None
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder}: is a file; expected the folder of the checkpoints")
        config_record = None if config is None else json.loads(config.to_json())
        self._records = {run_dir.DATASET: data, run_dir.CONFIG: config_record}
        self._writes = keep is not None
        self._preserved = None if keep is None else _LastAndBest(keep)
        self._place, self._lines = 0, [{}]  # of the checkpoint that is written
        self._manager = ocp.CheckpointManager(
            self.folder,
            # Named, because orbax would otherwise infer it from the newest folder, whole or not.
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._preserved,
                cleanup_tmp_directories=self._writes,
                create=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._complete),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        """Enters a ``with`` block, whose end waits for a write in progress."""
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Waits for a write in progress, unless another process is lost."""
        if processes.is_peer_lost(error):
            return
        self._wait()
        self._manager.close()

    def save(
        self,
        snapshot: Snapshot,
        steps_per_epoch: int,
        lines: Sequence[dict[str, Any]] = (),
        best_epoch: int | None = None,
    ) -> None:
        """Starts writing a snapshot, named by its position in the run.

        An epoch has one position per step, and one for the end of its calibration, which is step 0
        of the next epoch.

        Args:
          snapshot: state and its position.
          steps_per_epoch: number of steps per epoch.
          lines: metrics of the epochs so far, for ``read_lines``.
          best_epoch: epoch whose checkpoint is not deleted, counted from 0; None = no such epoch.
        """
        place = int(snapshot.epoch) * (steps_per_epoch + 1) + int(snapshot.step)
        if place != self._manager.latest_step():
            self._wait()
            if self._preserved is not None and best_epoch is not None:
                self._preserved.best = _end_of(best_epoch, steps_per_epoch)
            self._place, self._lines = place, list(lines)
            # Copied, because the next step may reuse the snapshot's memory during the write.
            copy = jax.tree.map(jnp.copy, snapshot)
            with files.naming(self.folder):
                self._manager.save(place, args=ocp.args.StandardSave(copy))

    def _wait(self) -> None:
        with files.naming(self.folder):
            self._manager.wait_until_finished()

    def _complete(self) -> None:
        """Adds metrics, records and checksums to a checkpoint, before it gets its name."""
        if not processes.is_first():
            return
        names = (str(self._place), f"{self._place}.orbax-checkpoint-tmp*")
        (folder,) = (path for name in names for path in self.folder.glob(name))
        files.rewrite_json_lines(folder / run_dir.SAVED_METRICS, self._lines)
        for name, record in self._records.items():
            if record is not None:
                files.write_json(folder / name, record)
        files.write_json(folder / CHECKSUMS, _checksums(folder))

    def restore(self, like: Snapshot) -> Snapshot | None:
        """Restores the last snapshot that is whole, with the shapes and shardings of ``like``.

        A damaged checkpoint is named on standard error; where this process may write, its folder
        is renamed to ``….damaged``.

        Returns:
          The snapshot, or None if there is none.

        Raises:
          ValueError: a checkpoint holds another kind of state.
        """
        return self._restore(like, sorted(self._manager.all_steps()))

    def restore_best(
        self, like: Snapshot, epochs: Sequence[int], steps_per_epoch: int
    ) -> Snapshot | None:
        """Restores the snapshot after the best epoch that has a whole one; see ``restore``.

        Args:
          like: as in ``restore``.
          epochs: epochs, counted from 0, the best first.
          steps_per_epoch: number of steps per epoch.
        """
        self._wait()
        saved = {*self._manager.all_steps()}
        places = [_end_of(epoch, steps_per_epoch) for epoch in epochs]
        if places and places[0] not in saved:
            processes.say(f"{self.folder / str(places[0])}: this checkpoint is missing")
        return self._restore(like, [place for place in reversed(places) if place in saved])

    def _restore(self, like: Snapshot, places: list[int]) -> Snapshot | None:
        """Restores the last of some checkpoints that is whole; see ``restore``."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        while places:
            place = places.pop()
            folder = self.folder / str(place)
            fault = processes.on_first(lambda folder=folder: _fault(folder))
            try:
                if fault is None:
                    arguments = ocp.args.StandardRestore(abstract)
                    snapshot = cast(Snapshot, self._manager.restore(place, args=arguments))
                    self.restored = folder
                    return snapshot
            except Exception as error:  # orbax raises many kinds
                fault = (str(error).splitlines() or [type(error).__name__])[0][:200]
                if (folder / CHECKSUMS).exists() or "structure" in str(error).lower():
                    raise ValueError(
                        f"{folder}: the state there differs from that of this version and config "
                        f"({fault}); use the version that saved it, or another --workdir"
                    ) from error
            next_one = (
                f"the next is {self.folder / str(places[-1])}" if places else "it was the last"
            )
            processes.say(f"{folder}: this checkpoint is damaged ({fault}); {next_one}")
            if self._writes:
                processes.on_first(lambda folder=folder: _set_aside(folder))
                self._manager.reload()
        return None

    def clear(self) -> None:
        """Deletes all checkpoints."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def latest(self) -> pathlib.Path | None:
        """Waits for a write in progress and returns the last checkpoint's folder, or None."""
        self._wait()
        step = self._manager.latest_step()
        return None if step is None else self.folder / str(step)


def _end_of(epoch: int, steps_per_epoch: int) -> int:
    """Returns the place of the checkpoint after an epoch."""
    return (epoch + 1) * (steps_per_epoch + 1)


def read_lines(folder: pathlib.Path | None) -> list[dict[str, Any]]:
    """Reads the metrics of the epochs before a checkpoint; [] for an older one without them."""
    return [] if folder is None else files.read_json_lines(folder / run_dir.SAVED_METRICS)


def _checksums(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of the files of a checkpoint, by path; orbax changes its own later."""
    names = (run_dir.SAVED_METRICS, run_dir.DATASET, run_dir.CONFIG)
    paths = [*(folder / name for name in names), *sorted((folder / "default").rglob("*"))]
    paths = [path for path in paths if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def _fault(folder: pathlib.Path) -> str | None:
    """Says how the files of a checkpoint differ from their checksums, or None if they do not."""
    if not (folder / CHECKSUMS).exists():  # of an older version
        return None
    try:
        expected = files.read_json(folder / CHECKSUMS)
        missing = [name for name in expected if not (folder / name).exists()]
        if missing:
            return f"{missing[0]} is missing"
        changed = [n for n, sha in _checksums(folder).items() if expected.get(n) != sha]
    except (OSError, ValueError, AttributeError) as error:
        return f"{CHECKSUMS}: {error}"
    return f"{changed[0]} differs from its checksum" if changed else None


def _set_aside(folder: pathlib.Path) -> None:
    """Renames a damaged checkpoint, so that another can be saved in its place."""
    names = (f"{folder.name}.damaged{i or ''}" for i in itertools.count())
    folder.rename(next(p for p in map(folder.with_name, names) if not p.exists()))
