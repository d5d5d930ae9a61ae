"""Arrays → device batches, sharded over one ``data`` axis.

A split lives whole on every device, as it is stored (uint8 images); a batch
is a gather of rows. Its position is (epoch, step): the order of an epoch
follows from the seed and the epoch alone, so any batch can be made again.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from autolabel_jax.datasets import Split
from autolabel_jax.types import Batch


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


def put_split(split: Split, mesh: Mesh) -> Batch:
    """A whole split as one Batch [n, ...], replicated on every device of the mesh."""
    n = len(split.label)
    distance = np.zeros(n) if split.distance is None else split.distance
    whole = Batch(
        image=split.image,
        label=np.asarray(split.label, np.int32),
        index=np.arange(n, dtype=np.int32),
        mask=np.ones(n, np.float32),
        distance=np.asarray(distance, np.float32),
    )
    return jax.device_put(whole, NamedSharding(mesh, PartitionSpec()))


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


def epoch_order(seed: int, epoch: int, num_examples: int) -> jax.Array:
    """int32 [num_examples]: the rows of the training split in the order of one epoch."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), 0)
    return jax.random.permutation(key, num_examples).astype(jnp.int32)


def step_rows(order: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """int32 [batch_size]: the rows of one step; an incomplete last batch is left out."""
    return jax.lax.dynamic_slice_in_dim(order, step * batch_size, batch_size)


def padded_rows(whole: Batch, batch_size: int, mesh: Mesh) -> list[np.ndarray]:
    """int32 rows that cover a split once, in batches of one size.

    The last batch runs past the end of the split, where ``take`` masks; a
    split smaller than a batch gets a smaller one, the same on 1, 2, 4 … 64
    devices, as what is drawn for a batch hangs on its size.
    """
    n, unit = whole.label.shape[0], math.lcm(64, mesh.devices.size)
    size = min(batch_size, -(-n // unit) * unit)
    return [np.arange(first, first + size, dtype=np.int32) for first in range(0, n, size)]


def epoch_key(seed: int, epoch: int, purpose: int) -> jax.Array:
    """Typed key for the random numbers of one epoch; purposes ≥ 1 are independent."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch), purpose)
