"""Defines corruptions of inputs that are not images, with five severities of our own.

No published set has them, so figures under them compare models of this library alone. Each is a
function of one input,

  corrupt(key, input [...], *prepared) -> [...]

whose prepared values are arguments of the compiled program, as those of images.
"""

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from autolabel_jax.corruptions.settings import Prepared
from autolabel_jax.datasets import Dataset


class Own(NamedTuple):
    """A corruption of one kind of inputs.

    Attributes:
      corrupt: corrupts one input; its type is that of the inputs of the data set.
      prepare: prepares the arguments of ``corrupt`` from the data set and a setting.
      severities: setting at severity 1 … 5.
    """

    corrupt: Callable[..., jax.Array]
    prepare: Callable[..., Prepared]
    severities: tuple[tuple[float, ...], ...]


def create(
    name: str, corruption: Own, severity: int, dataset: Dataset, seed: int
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes a corruption as a jitted function (index int32 [B], input [B, ...]) → [B, ...].

    Args:
      name: name of the corruption.
      corruption: the corruption.
      severity: 1 … 5.
      dataset: data set whose inputs are corrupted.
      seed: seed of all random numbers.
    """
    prepared = corruption.prepare(dataset, *corruption.severities[severity - 1])
    arrays = tuple(map(jnp.asarray, prepared.arrays))
    base = jax.random.key(seed, impl="threefry2x32")
    base = jax.random.fold_in(jax.random.fold_in(base, zlib.crc32(name.encode())), severity)
    fixed = {"corrupt": corruption.corrupt, "fixed": prepared.fixed}
    return lambda index, inputs: _corrupt(index, inputs, base, arrays, **fixed)


@functools.partial(jax.jit, static_argnames=("corrupt", "fixed"))
def _corrupt(index, inputs, base, arrays, *, corrupt, fixed):
    def one(index: jax.Array, value: jax.Array) -> jax.Array:
        return corrupt(jax.random.fold_in(base, index), value, *arrays, *fixed)

    return jax.vmap(one)(index, inputs)
