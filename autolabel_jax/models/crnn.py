"""Defines a small convolutional-recurrent network for spectrograms."""

from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, batch_norm, conv, record
from autolabel_jax.registry import setting


class CRNN(nn.Module):
    """Has two convolutions, a gated recurrent unit over time, its mean, and a dense layer.

    Both convolutions are 3 × 3 with stride 2, batch norm and ReLU. The recurrent unit (Cho et al.,
    2014) reads all bands of a time step at once.

    Attributes:
      num_classes: number of classes K.
      width: number of channels of the first convolution; the second has twice as many, and the
        recurrent unit four times.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio",)

    num_classes: int
    width: int = setting(16, "channels of the first convolution", low=1, high=4096)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised spectrograms [B, time, frequency, 1]."""
        for channels in (self.width, 2 * self.width):
            x = conv(channels, 3, 2, self.dtype)(x)
            x = record(self, STAGE, nn.relu(batch_norm(train, self.dtype)(x)))
        x = x.reshape(*x.shape[:2], -1)
        unit = nn.GRUCell(4 * self.width, dtype=self.dtype)
        x = cast("jax.Array", nn.RNN(unit)(x))
        x = record(self, PENULTIMATE, x.mean(1))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
