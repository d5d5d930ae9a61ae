"""Evaluates corrupted test sets, which are made on the device and cached in the process.

A sweep evaluates many small models on the same 75 sets, and making a set takes longer than
evaluating a small network on it.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autolabel_jax import corruptions, input_pipeline
from autolabel_jax.datasets import Dataset, Split, StreamedSplit
from autolabel_jax.evaluation import clean
from autolabel_jax.evaluation.predict import Fetch, Predictor, Program
from autolabel_jax.types import Batch

MOST_BYTES = 2**29  # most memory for cached images, on each device

# Metrics of a set, for its line in the ledger, and resamples of the headline metrics.
Finished = tuple[dict[str, Any], dict[str, np.ndarray]]


class CorruptedSets:
    """The corrupted sets of one test split.

    Args:
      fingerprint: fingerprint of the test images and devices.
    """

    def __init__(self, fingerprint: Any):
        self.fingerprint = fingerprint
        self._kept: dict[tuple[str, int], jax.Array] = {}

    @property
    def num_bytes(self) -> int:
        """Size of the cached images."""
        return sum(image.nbytes for image in self._kept.values())

    def take(self, name: str, severity: int, whole: Batch, batch_size: int, mesh: Mesh) -> Batch:
        """Returns the corrupted split, from the cache or newly made.

        Args:
          name: name of the corruption.
          severity: 1 … 5.
          whole: the clean split uint8 [n, H, W, 3], from ``input_pipeline.put_split``.
          batch_size: global batch size of the work on the device.
          mesh: mesh of all devices.
        """
        place = name, severity
        image = self._kept.get(place)
        if image is None:
            image = _make(name, severity, whole, batch_size, mesh)
            if self.num_bytes + image.nbytes <= MOST_BYTES:
                self._kept[place] = image
        return whole.replace(input=image)


def sets_of(test: Split, mesh: Mesh) -> CorruptedSets:
    """Returns the sets of these test images, and drops those of the previous split."""
    image = np.ascontiguousarray(test.input)
    return _last((image.shape, str(image.dtype), zlib.crc32(image.data), mesh))


def forget() -> None:
    """Drops the cached sets."""
    _last.cache_clear()


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """Clean test inputs on the device, once for all sets that are made from them."""

    split: Split | StreamedSplit  # images uint8 [n, H, W, 3], or inputs of ``dataset``
    whole: Batch | StreamedSplit  # the same, from ``input_pipeline.put_split``
    sets: CorruptedSets | None  # None for images on disk and other inputs, which are not cached
    dataset: Dataset | None = None  # of inputs that are not images

    def transform(self, name: str, severity: int) -> corruptions.Transform:
        """Makes a corruption of these inputs."""
        if self.dataset is not None:
            return corruptions.create_for(self.dataset, name, severity)
        return corruptions.create(name, severity, size=self.split.input.shape[1])


def put(split: Split | StreamedSplit, mesh: Mesh, dataset: Dataset | None = None) -> OnDevice:
    """Puts the test inputs on the device; ``dataset``: theirs, if they are not images."""
    whole = input_pipeline.put_split(split, mesh)
    if dataset is not None and dataset.spec.kind == "image":
        dataset = None
    cached = dataset is None and isinstance(split, Split)
    return OnDevice(split, whole, sets_of(split, mesh) if cached else None, dataset)


def dispatch(
    predictor: Predictor, test: OnDevice, name: str, severity: int, program: Program | None = None
) -> Fetch:
    """Starts one corrupted set on the device; ``program``: see ``predict.make_dispatch``."""
    settings: dict[str, Any] = {} if program is None else {"program": program}
    if test.sets is None or isinstance(test.whole, StreamedSplit):
        return predictor.dispatch(test.whole, test.transform(name, severity), **settings)
    size, mesh = predictor.batch_size, predictor.mesh
    whole = test.sets.take(name, severity, test.whole, size, mesh)
    return predictor.dispatch(whole, **settings)


def start(predictor: Predictor, test: OnDevice, name: str, severity: int) -> Callable[[], Finished]:
    """Starts one corrupted set on the device; the returned function waits for its metrics."""
    fetch = dispatch(predictor, test, name, severity)
    return lambda: finish(predictor, fetch(), test.split.label)


def finish(predictor: Predictor, logits: np.ndarray, label: np.ndarray) -> Finished:
    """Computes metrics of a set from its logits float32 [n, K] and labels int [n]."""
    headline, resamples = clean.set_metrics(logits, label, predictor.scaling)
    # Sets with the same order of images can be resampled together.
    order = {"examples": len(label), "labels": zlib.crc32(label.astype("<i4").tobytes())}
    return order | headline, resamples


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
