"""Makes device batches from splits, sharded over one ``data`` axis.

Either every device holds the whole split in its stored type (uint8 images) and
a batch is a gather of rows, or the split stays on disk and workers decode each
batch ahead of its step. A batch depends only on the seed and its position
(epoch, step), so it can be recomputed on any number of devices.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from autolabel_jax import processes
from autolabel_jax.datasets import Split, StreamedSplit, loader
from autolabel_jax.types import Batch

AHEAD = 2  # number of streamed batches that are put on the device ahead of their steps

# Input of one dispatch of ``train_step.train_steps``: (examples, their rows in the order of the
# epoch or None if the examples are one batch, number of steps).
Dispatch = tuple[Batch, jax.Array | None, int]


def make_mesh() -> Mesh:
    """Makes a mesh of all devices with one axis, ``data``."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Checks that the devices divide a global batch.

    Raises:
      ValueError: they do not; the message names ``field`` and the nearest valid sizes.
    """
    devices = mesh.devices.size
    if batch_size < 1 or batch_size % devices:
        lower = max(batch_size // devices, 1) * devices
        raise ValueError(
            f"{field}: got {batch_size}, which {devices} devices do not divide; "
            f"use {lower} or {lower + devices}"
        )


def put_split(split: Split | StreamedSplit, mesh: Mesh) -> Batch | StreamedSplit:
    """Puts a whole split on every device as one Batch [n, ...]; a streamed split stays on disk."""
    if isinstance(split, StreamedSplit):
        return split
    n = len(split.label)
    distance = np.zeros(n) if split.distance is None else split.distance
    arrays: dict[str, Any] = {
        "input": split.input,
        "label": np.asarray(split.label, np.int32),
        "index": np.arange(n, dtype=np.int32),
        "mask": np.ones(n, np.float32),
        "distance": np.asarray(distance, np.float32),
    }
    if split.group is not None:
        arrays["group"] = np.asarray(split.group, np.int32)
    return Batch(**processes.replicate(arrays, mesh))


def num_examples(whole: Batch | StreamedSplit) -> int:
    """Returns the number of examples in a result of ``put_split``."""
    return len(whole) if isinstance(whole, StreamedSplit) else whole.label.shape[0]


def take(whole: Batch, rows: jax.Array, mesh: Mesh) -> Batch:
    """Gathers the batch of the given rows, sharded over the mesh.

    Args:
      whole: split [n, ...].
      rows: int32 [B]; rows at or past n give a masked copy of the last row.
      mesh: mesh whose ``data`` axis divides B.
    """
    n = whole.label.shape[0]
    batch = jax.tree.map(lambda x: x[jnp.minimum(rows, n - 1)], whole)
    batch = batch.replace(mask=batch.mask * (rows < n))
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))


_take = jax.jit(take, static_argnames="mesh")


def epoch_order(seed: int, epoch: int, num_examples: int) -> jax.Array:
    """Returns the rows of a split in the order of one epoch, int32 [num_examples]."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), 0)
    return jax.random.permutation(key, num_examples).astype(jnp.int32)


def step_batch(
    whole: Batch, order: jax.Array | None, step: jax.Array, batch_size: int, mesh: Mesh
) -> Batch:
    """Returns the batch of a step; if ``order`` is None, ``whole`` is that batch."""
    return whole if order is None else take(whole, step_rows(order, step, batch_size), mesh)


def step_rows(order: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """Returns the rows of one step, int32 [batch_size]; an incomplete last batch is dropped."""
    return jax.lax.dynamic_slice_in_dim(order, step * batch_size, batch_size)


def padded_rows(
    whole: Batch, batch_size: int, mesh: Mesh, chosen: np.ndarray | None = None
) -> list[np.ndarray]:
    """Divides the rows of a split, or its ``chosen`` rows, into batches of one size, int32.

    The last batch runs past the end of the split, where ``take`` masks. A split
    smaller than a batch gets a smaller batch, of the same size on 1, 2, 4 … 64
    devices, because random numbers of a batch depend on its size.
    """
    n = whole.label.shape[0]
    chosen = np.arange(n) if chosen is None else chosen
    num = len(chosen)
    size = padded_batch_size(num, batch_size, mesh)
    rows = np.concatenate([chosen, np.arange(n, n + size)]).astype(np.int32)
    return [rows[first : first + size] for first in range(0, num, size)]


def padded_batch_size(num: int, batch_size: int, mesh: Mesh) -> int:
    """Returns the size of the batches of ``padded_rows`` of ``num`` examples."""
    unit = math.lcm(64, mesh.devices.size)
    return min(batch_size, -(-num // unit) * unit)


def evaluation_batches(
    whole: Batch | StreamedSplit, batch_size: int, mesh: Mesh
) -> Iterator[Batch]:
    """Yields every example once, in order; the rows that pad the last batch are masked."""
    if isinstance(whole, StreamedSplit):
        local = local_rows(batch_size, mesh)
        plan = loader.Evaluation(whole, batch_size, local)
        yield from _ahead(plan, 0, plan.num_steps, mesh)
    else:
        for rows in padded_rows(whole, batch_size, mesh):
            yield _take(whole, rows, mesh=mesh)


def epoch_key(seed: int, epoch: int, purpose: int) -> jax.Array:
    """Returns a typed key for the random numbers of one epoch; purposes ≥ 1 are independent."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), purpose)


def local_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Returns the rows of a global batch that the devices of this process hold, int [b]."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    parts = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[part] for part in parts]))


def training_batches(
    whole: Batch | StreamedSplit,
    *,
    seed: int,
    batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    most_steps: int,
    mesh: Mesh,
) -> "Resident | Streamed":
    """Makes the source of a run's training batches.

    Args:
      whole: split from ``put_split``.
      seed: seed of the run.
      batch_size: global batch size.
      steps_per_epoch: number of complete batches per epoch.
      epochs: number of training epochs.
      most_steps: maximum number of steps per dispatch, if the split is on the device.
      mesh: mesh whose ``data`` axis divides batch_size.
    """
    if isinstance(whole, StreamedSplit):
        plan = loader.Training(
            whole, seed, batch_size, steps_per_epoch, local_rows(batch_size, mesh)
        )
        return Streamed(plan, epochs * steps_per_epoch, mesh)
    return Resident(whole, seed, steps_per_epoch, most_steps)


@dataclasses.dataclass(frozen=True)
class Resident:
    """Source of batches from a split on the device; each dispatch gathers its own batches."""

    whole: Batch
    seed: int
    steps_per_epoch: int
    most_steps: int

    def epoch(self, epoch: int, first_step: int) -> Iterator[Dispatch]:
        """Yields the dispatches from a step of an epoch to its end."""
        order = epoch_order(self.seed, epoch, num_examples(self.whole))
        for step in range(first_step, self.steps_per_epoch, self.most_steps):
            yield self.whole, order, min(self.most_steps, self.steps_per_epoch - step)

    def close(self) -> None:
        """Does nothing, since no worker runs."""


class Streamed:
    """Source of batches that workers decode, in one stream through all epochs.

    The stream restarts if the position jumps.
    """

    def __init__(self, plan: loader.Training, last: int, mesh: Mesh):
        """Prepares a stream up to step ``last`` of the run; reading begins with the first epoch."""
        self._plan, self._last, self._mesh = plan, last, mesh
        self._stream, self._place = iter(()), -1

    def epoch(self, epoch: int, first_step: int) -> Iterator[Dispatch]:
        """Yields dispatches of one step each, from a step of an epoch to its end."""
        begin = epoch * self._plan.steps_per_epoch + first_step
        if begin != self._place:
            self.close()
            self._stream = _ahead(self._plan, begin, self._last, self._mesh)
            self._place = begin
        for _ in range(first_step, self._plan.steps_per_epoch):
            self._place += 1
            yield next(self._stream), None, 1

    def close(self) -> None:
        """Stops the workers."""
        if isinstance(self._stream, collections.abc.Generator):
            self._stream.close()
        self._stream, self._place = iter(()), -1


def _ahead(plan: loader.Plan, first: int, last: int, mesh: Mesh) -> Generator[Batch, None, None]:
    """Yields the batches of steps first … last - 1, which a thread makes ahead of their steps."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    host = loader.host_batches(plan, first, last)

    def make() -> Batch:
        return Batch(**{name: put(rows) for name, rows in next(host).items()})

    pool = ThreadPoolExecutor(1)
    try:
        waiting = collections.deque(pool.submit(make) for _ in range(min(AHEAD, last - first)))
        for place in range(first, last):
            batch = waiting.popleft().result()
            if place + AHEAD < last:
                waiting.append(pool.submit(make))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
        host.close()
