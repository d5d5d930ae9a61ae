"""Host batches of a streamed split: decoded by grain's workers, each a function of its place.

A plan says which rows a step has and how they are seen. Workers get blocks of
a step, so whatever their number, batches are the same; nothing of a worker's
state need be saved to go on in the middle of a run.
"""

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from typing import Any, Protocol

import numpy as np
from absl import flags

from autolabel_jax.datasets.split import Split
from autolabel_jax.datasets.streamed import StreamedSplit

BLOCK = 16  # images that a worker hands over at once, 2.4 MB at 224 px
THREADS = 4  # where no worker processes are asked for
BUFFERED = 2  # blocks that a worker process is ahead
# Blocks come by pipe, which costs this process no more time than shared memory does; containers
# often have little of that, and grain 0.2.18 leaves some of it behind.
NEVER_SHARED = 2**62  # bytes from which on shared memory would be used


class Plan(Protocol):
    """What one process reads in each step."""

    @property
    def split(self) -> StreamedSplit:
        """The split that is read."""

    @property
    def local(self) -> np.ndarray:
        """int [b]: the rows of the global batch that this process holds."""

    def rows(self, step: int) -> np.ndarray:
        """int [b]: rows of the split; those at or past its end are padding."""

    def random(self, step: int, row: int) -> np.random.RandomState | None:
        """Source of what training draws for an image; None: as evaluation sees it."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Shuffled epochs of whole batches, images cropped at random; a step counts from the start."""

    split: StreamedSplit
    seed: int
    batch_size: int  # global
    steps_per_epoch: int
    local: np.ndarray

    def rows(self, step: int) -> np.ndarray:
        """int [b], rows of the split."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.seed, epoch, len(self.split))
        return order[place * self.batch_size :][: self.batch_size][self.local]

    def random(self, step: int, row: int) -> np.random.RandomState:
        """Depends on the seed, the epoch and the row of the split alone."""
        return np.random.RandomState([self.seed, step // self.steps_per_epoch, 1, row])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The split once in its order, the last batch padded."""

    split: StreamedSplit
    batch_size: int  # global
    local: np.ndarray

    @property
    def num_steps(self) -> int:
        """Batches that cover the split."""
        return -(-len(self.split) // self.batch_size)

    def rows(self, step: int) -> np.ndarray:
        """int [b], rows of the split, from len(split) on padding."""
        return step * self.batch_size + self.local

    def random(self, step: int, row: int) -> None:
        """Nothing is drawn."""


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """int [num_examples]: the rows of a streamed training split in the order of one epoch."""
    # RandomState, unlike Generator, promises the same stream in every version of NumPy.
    return np.random.RandomState([seed, epoch, 0]).permutation(num_examples)


def host_batches(plan: Plan, first: int, last: int) -> Generator[dict[str, np.ndarray], None, None]:
    """The rows of this process in steps first … last - 1, as ``types.Batch`` names them.

    Raises:
      ValueError: grain is not installed.
      OSError: an image cannot be read.
    """
    grain = _grain()
    workers, parts = plan.split.workers, -(-len(plan.local) // BLOCK)
    blocks = grain.MapDataset.range(first * parts, last * parts)
    blocks = blocks.map(functools.partial(_block, plan=plan, parts=parts))
    threads = 0 if workers else THREADS
    blocks = blocks.to_iter_dataset(grain.ReadOptions(threads, prefetch_buffer_size=2 * threads))
    if workers:
        by_pipe = grain.experimental.DatasetOptions(min_shm_size=NEVER_SHARED)
        blocks = grain.experimental.WithOptionsIterDataset(blocks, by_pipe)
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=BUFFERED)
        blocks = blocks.mp_prefetch(options, worker_init_fn=_begin_worker)
    blocks = iter(blocks)
    try:
        for _ in range(first, last):
            found = [next(blocks) for _ in range(parts)]
            yield {name: np.concatenate([block[name] for block in found]) for name in found[0]}
    finally:
        blocks.close()


def decode(split: StreamedSplit, batch_size: int = 256) -> Split:
    """The whole split in host memory, as evaluation sees it."""
    plan = Evaluation(split, batch_size, np.arange(batch_size))
    image = np.zeros(split.input.shape, np.uint8)
    label = np.zeros(len(split), np.int32)
    for batch in host_batches(plan, 0, plan.num_steps):
        real = batch["mask"] == 1
        rows = batch["index"][real]
        image[rows], label[rows] = batch["input"][real], batch["label"][real]
    return Split(input=image, label=label, distance=None, index=split.index)


def _block(place: int, *, plan: Plan, parts: int) -> dict[str, np.ndarray]:
    """One of the ``parts`` blocks that make the rows of a step."""
    step, part = divmod(place, parts)
    rows = plan.rows(step)[part * BLOCK :][:BLOCK]
    size = plan.split.image_size
    image = np.zeros((len(rows), size, size, 3), np.uint8)
    label = np.zeros(len(rows), np.int32)
    for i, row in enumerate(rows):
        if row < len(plan.split):
            image[i], label[i] = plan.split.square(row, plan.random(step, row))
    return {
        "input": image,
        "label": label,
        "index": np.minimum(rows, len(plan.split) - 1).astype(np.int32),
        "mask": (rows < len(plan.split)).astype(np.float32),
        "distance": np.zeros(len(rows), np.float32),
    }


def _begin_worker(*_: Any) -> None:
    """A worker ends with the main process, and only then: Ctrl-C is for that one to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a cluster sends it to all of a job's processes

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None  # this is a worker process
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _grain() -> Any:
    """The module; its processes want the command line's flags to be read, whoever calls."""
    try:
        import grain
    except ImportError as error:
        raise ValueError(
            "stream: reading photographs as they are needed takes grain, which is not installed: "
            "pip install 'grain>=0.2.18'"
        ) from error
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain
