"""Splits → device batches, sharded over one ``data`` axis; a position is (epoch, step).

A split lives whole on every device, as it is stored (uint8 images), and a batch
is a gather of rows; or it stays on disk, and workers make each batch ahead of
its step. Either way a batch follows from the seed and its position alone, so
any of them can be made again, on any number of devices.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from autolabel_jax import processes
from autolabel_jax.datasets import Split, StreamedSplit, loader
from autolabel_jax.types import Batch

AHEAD = 2  # streamed batches on the device before they are needed

# What one dispatch of ``train_step.train_steps`` works on: (examples, the epoch's order of
# their rows, or None where they are one batch; number of steps).
Dispatch = tuple[Batch, jax.Array | None, int]


def make_mesh() -> Mesh:
    """All devices on one axis, ``data``."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Refuses a global batch that the devices do not divide.

    Raises:
      ValueError: names ``field`` and the nearest sizes that would do.
    """
    devices = mesh.devices.size
    if batch_size < 1 or batch_size % devices:
        lower = max(batch_size // devices, 1) * devices
        raise ValueError(
            f"{field}: got {batch_size}, which {devices} devices do not divide; "
            f"take {lower} or {lower + devices}"
        )


@overload
def put_split(split: Split, mesh: Mesh) -> Batch: ...
@overload
def put_split(split: StreamedSplit, mesh: Mesh) -> StreamedSplit: ...
def put_split(split: Split | StreamedSplit, mesh: Mesh) -> Batch | StreamedSplit:
    """A whole split as one Batch [n, ...] on every device; a streamed one stays where it is."""
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
    return Batch(**processes.replicate(arrays, mesh))


def num_examples(whole: Batch | StreamedSplit) -> int:
    """How many examples ``put_split`` was given."""
    return len(whole) if isinstance(whole, StreamedSplit) else whole.label.shape[0]


def take(whole: Batch, rows: jax.Array, mesh: Mesh) -> Batch:
    """The batch of the given rows, sharded over the mesh.

    Args:
      whole: a split [n, ...].
      rows: int32 [B]; those at or past n give a masked copy of the last row.
      mesh: its ``data`` axis divides B.
    """
    n = whole.label.shape[0]
    batch = jax.tree.map(lambda x: x[jnp.minimum(rows, n - 1)], whole)
    batch = batch.replace(mask=batch.mask * (rows < n))
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))


_take = jax.jit(take, static_argnames="mesh")


def epoch_order(seed: int, epoch: int, num_examples: int) -> jax.Array:
    """int32 [num_examples]: the rows of a split on the device in the order of one epoch."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), 0)
    return jax.random.permutation(key, num_examples).astype(jnp.int32)


def step_batch(
    whole: Batch, order: jax.Array | None, step: jax.Array, batch_size: int, mesh: Mesh
) -> Batch:
    """The batch of a step: its rows of the epoch's order, or all there is where order is None."""
    return whole if order is None else take(whole, step_rows(order, step, batch_size), mesh)


def step_rows(order: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """int32 [batch_size]: the rows of one step; an incomplete last batch is left out."""
    return jax.lax.dynamic_slice_in_dim(order, step * batch_size, batch_size)


def padded_rows(
    whole: Batch, batch_size: int, mesh: Mesh, chosen: np.ndarray | None = None
) -> list[np.ndarray]:
    """int32 rows that cover a split, or the ``chosen`` rows of it, once, in batches of one size.

    The last batch runs past the end of the split, where ``take`` masks; a
    split smaller than a batch gets a smaller one, the same on 1, 2, 4 … 64
    devices, as what is drawn for a batch hangs on its size.
    """
    n = whole.label.shape[0]
    chosen = np.arange(n) if chosen is None else chosen
    num, unit = len(chosen), math.lcm(64, mesh.devices.size)
    size = min(batch_size, -(-num // unit) * unit)
    rows = np.concatenate([chosen, np.arange(n, n + size)]).astype(np.int32)
    return [rows[first : first + size] for first in range(0, num, size)]


def evaluation_batches(
    whole: Batch | StreamedSplit, batch_size: int, mesh: Mesh
) -> Iterator[Batch]:
    """Every example once in its order; the rows that fill up the last batch are masked."""
    if isinstance(whole, StreamedSplit):
        local = local_rows(batch_size, mesh)
        plan = loader.Evaluation(whole, batch_size, local)
        yield from _ahead(plan, 0, plan.num_steps, mesh)
    else:
        for rows in padded_rows(whole, batch_size, mesh):
            yield _take(whole, rows, mesh=mesh)


def epoch_key(seed: int, epoch: int, purpose: int) -> jax.Array:
    """Typed key for the random numbers of one epoch; purposes ≥ 1 are independent."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), purpose)


def local_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """int [b]: the rows of a global batch that the devices of this process hold."""
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
    """Where the training batches of a run come from, however the split is kept.

    Args:
      whole: from ``put_split``.
      seed: of the run.
      batch_size: global.
      steps_per_epoch: of whole batches.
      epochs: of the run.
      most_steps: in one dispatch, where the split is on the device.
      mesh: its ``data`` axis divides batch_size.
    """
    if isinstance(whole, StreamedSplit):
        plan = loader.Training(
            whole, seed, batch_size, steps_per_epoch, local_rows(batch_size, mesh)
        )
        return Streamed(plan, epochs * steps_per_epoch, mesh)
    return Resident(whole, seed, steps_per_epoch, most_steps)


@dataclasses.dataclass(frozen=True)
class Resident:
    """Batches of a split that lives on the device: a dispatch gathers its own."""

    whole: Batch
    seed: int
    steps_per_epoch: int
    most_steps: int

    def epoch(self, epoch: int, first_step: int) -> Iterator[Dispatch]:
        """Dispatches from a step of an epoch to its end."""
        order = epoch_order(self.seed, epoch, num_examples(self.whole))
        for step in range(first_step, self.steps_per_epoch, self.most_steps):
            yield self.whole, order, min(self.most_steps, self.steps_per_epoch - step)

    def close(self) -> None:
        """Nothing runs beside."""


class Streamed:
    """Batches that workers decode: one stream through all epochs, begun anew at a jump."""

    def __init__(self, plan: loader.Training, last: int, mesh: Mesh):
        """A stream up to step ``last`` of the run; nothing is read before the first epoch."""
        self._plan, self._last, self._mesh = plan, last, mesh
        self._stream, self._place = iter(()), -1

    def epoch(self, epoch: int, first_step: int) -> Iterator[Dispatch]:
        """Dispatches of one step each, from a step of an epoch to its end."""
        begin = epoch * self._plan.steps_per_epoch + first_step
        if begin != self._place:
            self.close()
            self._stream = _ahead(self._plan, begin, self._last, self._mesh)
            self._place = begin
        for _ in range(first_step, self._plan.steps_per_epoch):
            self._place += 1
            yield next(self._stream), None, 1

    def close(self) -> None:
        """Ends the workers."""
        if isinstance(self._stream, collections.abc.Generator):
            self._stream.close()
        self._stream, self._place = iter(()), -1


def _ahead(plan: loader.Plan, first: int, last: int, mesh: Mesh) -> Generator[Batch, None, None]:
    """Global batches of steps first … last - 1, made in a thread while others are computed on."""
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
