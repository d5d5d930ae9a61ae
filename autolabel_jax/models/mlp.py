"""Defines a multilayer perceptron for inputs of any shape."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, record
from autolabel_jax.registry import setting


class MLP(nn.Module):
    """Applies two hidden layers with ReLU to the flattened input.

    Attributes:
      num_classes: number of classes K.
      width: number of units in each hidden layer.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio", "series", "features")

    num_classes: int
    width: int = setting(128, "units of each hidden layer", low=1, high=65536)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised inputs [B, ...]."""
        del train
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = record(self, STAGE, nn.relu(nn.Dense(self.width, dtype=self.dtype)(x)))
        record(self, PENULTIMATE, x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
