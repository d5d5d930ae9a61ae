"""Exchanges values between the processes of a run that spans several hosts.

With one process, the usual case, nothing is sent. Every process must make each of these calls, in
the same order.
"""

import json
import math
import re
import signal
import sys
import time
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


class Stopped(Exception):
    """The training or evaluation was asked to stop, and has saved what it has done."""


class Stop:
    """Tells whether to stop: after a signal, or after a deadline in seconds since the epoch."""

    def __init__(self, deadline: float = math.inf):
        self.signal: int | None = None
        self._deadline = deadline

    def __call__(self) -> bool:
        """Returns whether there is a reason to stop."""
        return self.signal is not None or time.time() >= self._deadline

    def install(self) -> None:
        """Handles SIGTERM and Ctrl-C; call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, _: object) -> None:
        self.signal = number


def is_first() -> bool:
    """Whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints a line on standard error in the first process."""
    if is_first():
        print(text, file=sys.stderr, flush=True)


def is_peer_lost(error: BaseException | None) -> bool:
    """Whether an error of JAX means that a collective failed because a process is gone."""
    return jax.process_count() > 1 and bool(PEER_LOST.search(str(error)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Copies arrays that are equal in every process to every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        # device_put would exchange all values to compare them.
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(put, tree)


def on_first(make: Callable[[], Any]) -> Any:
    """Calls ``make`` in the first process alone, and returns its value in all of them.

    Args:
      make: returns a value that JSON can hold.

    Raises:
      ValueError, OSError: in every process, if ``make`` raises one in the first.
    """
    if jax.process_count() == 1:
        return make()
    message, error = None, None
    if is_first():
        try:
            message = {"value": make()}
        except (ValueError, OSError) as caught:
            message, error = {"error": str(caught)}, caught
    message = json.loads(_from_first(json.dumps(message).encode()))
    if "error" in message:
        raise error or ValueError(message["error"])
    return message["value"]


def _from_first(text: bytes) -> bytes:
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:] = np.frombuffer(text, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def gather(rows: np.ndarray, most: int) -> np.ndarray:
    """Concatenates the rows of all processes, in the order of the processes.

    Args:
      rows: rows of this process, [n, ...]; n may differ between processes and be 0.
      most: upper bound of n in all processes.
    """
    if jax.process_count() == 1:
        return rows
    padded = np.zeros((most, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    counts = multihost_utils.process_allgather(np.int32(len(rows)))
    gathered = multihost_utils.process_allgather(padded)
    return np.concatenate([part[:num] for part, num in zip(gathered, counts, strict=True)])


def agreed(ask: Callable[[], bool], mesh: Mesh) -> Callable[[], bool]:
    """Makes a function that is true in all processes at the same call, once ``ask`` is in any.

    Answers are combined on the devices and read one call late, so that no device waits.
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
