"""Evaluates a batch in parts, one after another, so that large batches fit a small device.

Sums over parts equal sums over the batch, so only batch norm differs: in training it normalises
each part by the part's own mean and variance. This saves memory on accelerators, where the parts
are a loop. On the CPU the loop is unrolled for speed, and XLA holds the activations of all parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict


def split(tree: Any, parts: int, mesh: Mesh) -> Any:
    """Splits [B, ...] into [parts, B / parts, ...]; part i has the rows i, i + parts and so on.

    With this stride each part has equally many rows of every device, and no row moves.

    Args:
      tree: arrays [B, ...], sharded over ``data``; parts × devices must divide B.
      parts: number of parts.
      mesh: mesh with a ``data`` axis.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def one(x: jax.Array) -> jax.Array:
        return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

    return jax.lax.with_sharding_constraint(jax.tree.map(one, tree), sharding)


def join(tree: Any, mesh: Mesh) -> Any:
    """Joins [parts, B / parts, ...] to [B, ...], the inverse of ``split``."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def one(x: jax.Array) -> jax.Array:
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    return jax.lax.with_sharding_constraint(jax.tree.map(one, tree), sharding)


def mean(
    function: Callable[[Any], tuple[Any, Any]], batch: Any, parts: int, mesh: Mesh
) -> tuple[Any, Any]:
    """Averages the first result of a function over parts of a batch, and joins the second.

    Args:
      function: arrays of a part [B / parts, ...] → (any tree, tree of [B / parts, ...]).
      batch: tree of arrays [B, ...].
      parts: number of parts; 1 calls the function once on the whole batch.
      mesh: mesh with a ``data`` axis.

    Returns:
      The mean of the first results, and the second results of the whole batch [B, ...].
    """
    if parts == 1:
        return function(batch)

    def add(total: Any, part: Any) -> tuple[Any, Any]:
        value, rows = function(part)
        return jax.tree.map(jnp.add, total, value), rows

    pieces = split(batch, parts, mesh)
    first = jax.eval_shape(function, jax.tree.map(lambda x: x[0], pieces))[0]
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    total, rows = jax.lax.scan(add, zero, pieces, unroll=loop_unroll(parts))
    return jax.tree.map(lambda x: x / parts, total), join(rows, mesh)


def loop_unroll(length: int) -> int:
    """Returns how far to unroll a loop over a network: completely on the CPU.

    XLA's CPU backend runs convolution gradients inside a loop 15-80 times
    slower than outside (jax issue 12868).
    """
    return length if jax.default_backend() == "cpu" else 1


def check_parts(config: ConfigDict, mesh: Mesh) -> None:
    """Checks that the parts of ``accumulate`` divide a batch on all devices.

    Raises:
      ValueError: they do not.
    """
    unit = max(config.accumulate, 1) * mesh.devices.size
    if config.batch_size % unit:
        raise ValueError(
            f"accumulate: got {config.accumulate}; {config.accumulate} parts on "
            f"{mesh.devices.size} devices do not divide batch_size={config.batch_size}; use a "
            f"multiple of {unit} as batch_size, or another number of parts"
        )
