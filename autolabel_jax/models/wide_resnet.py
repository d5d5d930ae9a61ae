"""Defines wide residual networks (Zagoruyko & Komodakis 2016, "Wide Residual Networks").

These are WRN-d-k of the paper's table 1, with basic blocks of two 3 × 3
convolutions and without dropout. Convolutions have no biases, because batch
norm has its own.
"""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, batch_norm, conv, record
from autolabel_jax.registry import setting


class Block(nn.Module):
    """Computes a pre-activation block: shortcut + conv(relu(bn(conv(relu(bn(x))))))."""

    channels: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes features [B, height / stride, width / stride, channels]."""
        norm = partial(batch_norm, train, self.dtype)
        y = nn.relu(norm()(x))
        # A block that changes the shape projects the activated input, as in the paper's code.
        change = self.stride != 1 or x.shape[-1] != self.channels
        shortcut = conv(self.channels, 1, self.stride, self.dtype)(y) if change else x
        y = conv(self.channels, 3, self.stride, self.dtype)(y)
        y = nn.relu(norm()(y))
        return shortcut + conv(self.channels, 3, 1, self.dtype)(y)


class WideResNet(nn.Module):
    """Is WRN-depth-width.

    Attributes:
      num_classes: number of classes K.
      depth: number of layers 6n + 4; three stages of n blocks.
      width: widening factor k; the stages have 16k, 32k and 64k channels.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")

    num_classes: int
    depth: int = setting(
        28,
        "number of layers, 6n + 4",
        high=202,
        valid=lambda depth: depth >= 10 and depth % 6 == 4,
        needs="6n + 4 layers: 10, 16, 22, 28, 40",
    )
    width: int = setting(10, "widening factor", low=1, high=100)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        x = conv(16, 3, 1, self.dtype)(x)
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(16 * self.width * 2**stage, stride, self.dtype)(x, train)
            record(self, STAGE, x)
        x = batch_norm(train, self.dtype)(x)
        x = record(self, PENULTIMATE, nn.relu(x).mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
