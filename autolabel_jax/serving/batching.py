"""Collects the inputs of several requests into one call of the predictor.

While the predictor runs, inputs wait; the next call takes all that wait, up to its batch size. The
predictor pads a batch to a power of two. All these sizes are compiled before the first request, so
that nothing is compiled under load.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from autolabel_jax.predictor import LoadedPredictor


class FullError(Exception):
    """As many requests are inside as there may be."""


class Batcher:
    """Calls a predictor for single inputs.

    Args:
      predictor: predictor to call.
      most: most requests at once.
      observe: is called with the size of each batch.

    Attributes:
      inside: number of requests that have a place now.
    """

    def __init__(
        self,
        predictor: LoadedPredictor,
        most: int,
        observe: Callable[[float], None] = lambda size: None,
    ):
        self._predictor, self._most, self._observe = predictor, most, observe
        self._waiting: dict[asyncio.Future[np.ndarray], np.ndarray] = {}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predictor")
        self.inside = 0

    def warm(self) -> None:
        """Compiles the program for all sizes of a batch."""
        spec = self._predictor.info["input"]
        for size in sizes(self._predictor.batch_size):
            self._predictor(np.ones((size, *self._predictor.shape), spec["dtype"]))  # no silence

    @contextlib.contextmanager
    def place(self) -> Generator[None]:
        """Counts a request from its start to its answer.

        Raises:
          FullError: all places are taken.
        """
        if self.inside >= self._most:
            raise FullError
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def __call__(self, one: np.ndarray) -> np.ndarray:
        """Returns the probabilities [K] of one input [...]."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = one
        self._wake.set()
        try:
            return await future
        finally:
            self._waiting.pop(future, None)  # where the request has ended before

    async def run(self) -> None:
        """Computes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            taken = list(itertools.islice(self._waiting, self._predictor.batch_size))
            if not taken:
                self._wake.clear()
                continue
            batch = np.stack([self._waiting.pop(future) for future in taken])
            self._observe(len(batch))
            try:
                found = await loop.run_in_executor(self._thread, self._predictor, batch)
            except Exception as error:  # belongs to the requests; later ones may succeed
                for future in taken:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, row in zip(taken, found, strict=True):
                    if not future.done():
                        future.set_result(row)


def sizes(most: int) -> list[int]:
    """Returns the sizes to which a predictor pads batches of 1 to ``most`` inputs."""
    return sorted({min(1 << power, most) for power in range((most - 1).bit_length() + 1)})
