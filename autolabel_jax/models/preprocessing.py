"""Preprocessing of inputs inside the model, chosen by their kind."""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from autolabel_jax.datasets import InputSpec


class Preprocessing(Protocol):
    """Hashable, so that it can be a field of a Flax module."""

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Inputs [B, ...] in the data's own range → what the network takes, in ``dtype``."""
        ...


@dataclasses.dataclass(frozen=True)
class Standardize:
    """(inputs - mean) / std, one number or one for each entry of the last axis."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Float inputs [B, ...] → the same shape."""
        return ((inputs - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)).astype(
            dtype
        )


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """Tokens of text go into the network as they are."""

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Integers [B, L] → the same."""
        del dtype
        return inputs


def create(spec: InputSpec, mean: ArrayLike, std: ArrayLike) -> Preprocessing:
    """The preprocessing for inputs of a kind.

    Args:
      spec: of the inputs.
      mean: of the training inputs, in their own range; one number or one for each channel.
      std: the same.

    Raises:
      ValueError: a std that is not positive.
    """
    if spec.kind == "text":
        return Unchanged()
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"std: got {std}, must be positive; a constant channel can have 1")
    return Standardize(tuple(np.ravel(mean).tolist()), tuple(np.ravel(std).tolist()))
