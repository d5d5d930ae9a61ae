"""What the processes of a run that spans several hosts tell each other.

With one process, the usual case, all of it is the plain thing: nothing is sent. Every process
must come to each of these calls, and in the same order.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

PEER_LOST = re.compile(
    r"gloo|nccl|connection (reset|closed)|socket closed|coordination ?service|heartbeat"
    r"|UNAVAILABLE|DEADLINE_EXCEEDED",
    re.IGNORECASE,
)


def is_first() -> bool:
    """True in the process that writes files and prints."""
    return jax.process_index() == 0


def is_peer_lost(error: BaseException | None) -> bool:
    """True for what JAX raises when a collective or a barrier fails, as a process is gone."""
    return jax.process_count() > 1 and bool(PEER_LOST.search(str(error)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Arrays that every process has, the same, as arrays on every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        # device_put would send all of it around to compare.
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(put, tree)


def on_first(make: Callable[[], Any]) -> Any:
    """What ``make`` returns in the first process, in all of them; it runs in no other.

    Args:
      make: returns what JSON can hold.

    Raises:
      ValueError, OSError: in every process where ``make`` raises one in the first.
    """
    if jax.process_count() == 1:
        return make()
    told, error = None, None
    if is_first():
        try:
            told = {"value": make()}
        except (ValueError, OSError) as caught:
            told, error = {"error": str(caught)}, caught
    told = json.loads(_from_first(json.dumps(told).encode()))
    if "error" in told:
        raise error or ValueError(told["error"])
    return told["value"]


def _from_first(text: bytes) -> bytes:
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:] = np.frombuffer(text, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def gather(rows: np.ndarray, most: int) -> np.ndarray:
    """Rows of all processes, one process after another.

    Args:
      rows: [n, ...] of this process; n may differ between them, or be 0.
      most: n is nowhere larger.
    """
    if jax.process_count() == 1:
        return rows
    padded = np.zeros((most, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    counts = multihost_utils.process_allgather(np.int32(len(rows)))
    gathered = multihost_utils.process_allgather(padded)
    return np.concatenate([part[:num] for part, num in zip(gathered, counts, strict=True)])


def agreed(ask: Callable[[], bool], mesh: Mesh) -> Callable[[], bool]:
    """True in all processes at the same call, once ``ask`` is true in any of them.

    Answers are added up on the devices and read one call late, so that no device waits.
    """
    if jax.process_count() == 1:
        return ask
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    own = sharding.addressable_devices_indices_map((mesh.devices.size,))
    any_of = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))
    before = None

    def agree() -> bool:
        nonlocal before
        flags = np.full(len(own), ask())
        unread = any_of(jax.make_array_from_process_local_data(sharding, flags))
        answer, before = before is not None and bool(before), unread
        return answer

    return agree
