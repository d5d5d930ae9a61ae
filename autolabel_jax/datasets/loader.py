"""Makes host batches of a streamed split, decoded by grain's workers.

A plan says which rows a step has and how they are preprocessed. A worker decodes
blocks of a step, so batches do not depend on the number of workers, and a run
resumes without any saved state of the workers.
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

BLOCK = 16  # number of images that a worker sends at once, 2.4 MB at 224 px
THREADS = 4  # number of threads if there are no worker processes
BUFFERED = 2  # number of blocks that a worker process decodes ahead
# Blocks come through pipes, which take this process no more time than shared memory. Containers
# often have little shared memory, and grain 0.2.18 does not free all of it.
NEVER_SHARED = 2**62  # minimum size in bytes of arrays in shared memory


class Plan(Protocol):
    """Says what one process reads in each step."""

    @property
    def split(self) -> StreamedSplit:
        """Split that is read."""

    @property
    def local(self) -> np.ndarray:
        """Rows of the global batch that this process holds, int [b]."""

    def rows(self, step: int) -> np.ndarray:
        """Returns rows of the split, int [b]; rows at or past its end are padding."""

    def random(self, step: int, row: int) -> np.random.RandomState | None:
        """Returns the random source for an image in training; None for evaluation."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Reads shuffled epochs of complete batches; steps count from the start of the run."""

    split: StreamedSplit
    seed: int
    batch_size: int  # global
    steps_per_epoch: int
    local: np.ndarray

    def rows(self, step: int) -> np.ndarray:
        """Returns rows of the split, int [b]."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.seed, epoch, len(self.split))
        return order[place * self.batch_size :][: self.batch_size][self.local]

    def random(self, step: int, row: int) -> np.random.RandomState:
        """Returns a source that depends only on the seed, the epoch and the row of the split."""
        return np.random.RandomState([self.seed, step // self.steps_per_epoch, 1, row])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Reads the split once in order, and pads the last batch."""

    split: StreamedSplit
    batch_size: int  # global
    local: np.ndarray

    @property
    def num_steps(self) -> int:
        """Number of batches that cover the split."""
        return -(-len(self.split) // self.batch_size)

    def rows(self, step: int) -> np.ndarray:
        """Returns rows of the split, int [b]; rows from len(split) on are padding."""
        return step * self.batch_size + self.local

    def random(self, step: int, row: int) -> None:
        """Returns None, since evaluation draws nothing."""


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the rows of a streamed split in the order of one epoch, int [num_examples]."""
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    return np.random.RandomState([seed, epoch, 0]).permutation(num_examples)


def host_batches(plan: Plan, first: int, last: int) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields this process's rows of steps first … last - 1, by the field names of ``types.Batch``.

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
            of_step = [next(blocks) for _ in range(parts)]
            yield {name: np.concatenate([block[name] for block in of_step]) for name in of_step[0]}
    finally:
        blocks.close()


def decode(split: StreamedSplit, batch_size: int = 256) -> Split:
    """Decodes a whole split into host memory, with the preprocessing of evaluation."""
    plan = Evaluation(split, batch_size, np.arange(batch_size))
    image = np.zeros(split.input.shape, np.uint8)
    label = np.zeros(len(split), np.int32)
    for batch in host_batches(plan, 0, plan.num_steps):
        real = batch["mask"] == 1
        rows = batch["index"][real]
        image[rows], label[rows] = batch["input"][real], batch["label"][real]
    return Split(input=image, label=label, distance=None, index=split.index)


def _block(place: int, *, plan: Plan, parts: int) -> dict[str, np.ndarray]:
    """Decodes one of the ``parts`` blocks of a step."""
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
    """Makes a worker ignore signals, which the main process handles, and end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # clusters send it to all processes

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None  # this is a worker process
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _grain() -> Any:
    """Imports grain; marks flags as parsed, which grain's worker processes require."""
    try:
        import grain
    except ImportError as error:
        raise ValueError(
            "stream: reading photographs from disk needs grain, which is not installed; run "
            "pip install 'grain>=0.2.18'"
        ) from error
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain
