"""Defines a convolutional network for CPUs: tests, tiny variants, small studies."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, batch_norm, conv, record
from autolabel_jax.registry import setting


class SmallCNN(nn.Module):
    """Has four 3 × 3 convolutions with batch norm and ReLU, mean pooling and a dense layer.

    Attributes:
      num_classes: number of classes K.
      width: number of channels of the first convolution; the others have twice as many.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")

    num_classes: int
    width: int = setting(16, "channels of the first convolution", low=1, high=4096)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        # Both strides come first, because on a CPU large early images take most of the time.
        for i, stride in enumerate((2, 2, 1, 1)):
            x = conv(self.width if i == 0 else 2 * self.width, 3, stride, self.dtype)(x)
            x = record(self, STAGE, nn.relu(batch_norm(train, self.dtype)(x)))
        x = record(self, PENULTIMATE, x.mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
