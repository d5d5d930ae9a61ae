"""A batch in parts, one after another, so that any batch fits a small device.

Sums of parts are sums of the whole, so only batch norm notices: in training it
normalises each part by the part's own mean and variance. Memory is saved where the
parts are a loop, on accelerators; on the CPU, where the loop is unrolled for speed,
XLA holds the activations of all parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def split(tree: Any, parts: int, mesh: Mesh) -> Any:
    """[B, ...] → [parts, B / parts, ...], where part i has the rows i, i + parts and so on.

    With that stride each part has equally many rows of every device, and none moves.

    Args:
      tree: arrays [B, ...], sharded over ``data``; parts × devices divides B.
      parts: how many.
      mesh: its ``data`` axis.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def one(x):
        return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

    return jax.lax.with_sharding_constraint(jax.tree.map(one, tree), sharding)


def join(tree: Any, mesh: Mesh) -> Any:
    """[parts, B / parts, ...] → [B, ...], the reverse of ``split``."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def one(x):
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    return jax.lax.with_sharding_constraint(jax.tree.map(one, tree), sharding)


def mean(function: Callable[..., Any], batch: Any, parts: int, mesh: Mesh) -> tuple[Any, Any]:
    """(mean over the parts of ``function``'s first result, the whole batch's second).

    Args:
      function: arrays of a part [B / parts, ...] → (any tree, tree of [B / parts, ...]).
      batch: tree of arrays [B, ...].
      parts: 1 calls the function once, on the batch as it is.
      mesh: its ``data`` axis.
    """
    if parts == 1:
        return function(batch)

    def add(total, part):
        value, rows = function(part)
        return jax.tree.map(jnp.add, total, value), rows

    pieces = split(batch, parts, mesh)
    first = jax.eval_shape(function, jax.tree.map(lambda x: x[0], pieces))[0]
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    total, rows = jax.lax.scan(add, zero, pieces, unroll=loop_unroll(parts))
    return jax.tree.map(lambda x: x / parts, total), join(rows, mesh)


def loop_unroll(length: int) -> int:
    """How far to unroll a loop over a network: wholly on the CPU.

    XLA's CPU backend runs convolution gradients inside a loop 15-80 times
    slower than outside (jax issue 12868).
    """
    return length if jax.default_backend() == "cpu" else 1
