"""Corrupted test sets, made on the device and kept for the next model of the same process.

A sweep evaluates many small models on the same 75 sets, and making a set takes longer than
reading it with a small network.
"""

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autolabel_jax import corruptions, input_pipeline
from autolabel_jax.datasets import Split
from autolabel_jax.types import Batch

MOST_BYTES = 2**29  # of kept images, on each device


class CorruptedSets:
    """The corrupted sets of one test split.

    Args:
      fingerprint: of the test images; the same for the same images on the same devices.
    """

    def __init__(self, fingerprint: Any):
        self.fingerprint = fingerprint
        self._kept: dict[tuple[str, int], jax.Array] = {}

    @property
    def num_bytes(self) -> int:
        """Of the images that are kept."""
        return sum(image.nbytes for image in self._kept.values())

    def take(self, name: str, severity: int, whole: Batch, batch_size: int, mesh: Mesh) -> Batch:
        """The split under a corruption: made now, or kept from an earlier model.

        Args:
          name: of the corruption.
          severity: 1 … 5.
          whole: the clean split uint8 [n, H, W, 3], from ``input_pipeline.put_split``.
          batch_size: global, of the work on the device.
          mesh: of all devices.
        """
        place = name, severity
        image = self._kept.get(place)
        if image is None:
            image = _make(name, severity, whole, batch_size, mesh)
            if self.num_bytes + image.nbytes <= MOST_BYTES:
                self._kept[place] = image
        return whole.replace(input=image)


def of(test: Split, mesh: Mesh) -> CorruptedSets:
    """The sets of these test images; those of the split asked for before are let go."""
    image = np.ascontiguousarray(test.input)
    return _last((image.shape, str(image.dtype), zlib.crc32(image), mesh))


def forget() -> None:
    """Lets go of the sets that are kept."""
    _last.cache_clear()


_last = functools.lru_cache(maxsize=1)(CorruptedSets)


def _make(name: str, severity: int, whole: Batch, batch_size: int, mesh: Mesh) -> jax.Array:
    transform = corruptions.create(name, severity, size=whole.input.shape[1])
    batches = input_pipeline.evaluation_batches(whole, batch_size, mesh)
    parts = [transform(batch.index, batch.input) for batch in batches]
    return _join(parts, num=len(whole.label), mesh=mesh)


@functools.partial(jax.jit, static_argnames=("num", "mesh"))
def _join(parts: list[jax.Array], *, num: int, mesh: Mesh) -> jax.Array:
    whole = jnp.concatenate(parts)[:num]
    return jax.lax.with_sharding_constraint(whole, NamedSharding(mesh, PartitionSpec()))
