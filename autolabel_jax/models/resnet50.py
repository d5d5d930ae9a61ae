"""Defines ResNet-50 for photographs.

He et al. (2016), "Deep Residual Learning for Image Recognition", in the form
known as v1.5: a bottleneck halves the image in its 3 × 3 convolution, not in
the 1 × 1 convolution before it.
"""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, batch_norm, conv, record

BLOCKS = (3, 4, 6, 3)  # number of blocks per stage


class Bottleneck(nn.Module):
    """Computes relu(shortcut + bn(conv1(relu(bn(conv3(relu(bn(conv1(x)))))))))."""

    channels: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes features [B, height / stride, width / stride, 4 · channels]."""
        norm = partial(batch_norm, train, self.dtype)
        y = nn.relu(norm()(conv(self.channels, 1, 1, self.dtype)(x)))
        y = nn.relu(norm()(conv(self.channels, 3, self.stride, self.dtype)(y)))
        # A block is initially equal to its shortcut (Goyal et al. 2017, section 5.1).
        y = norm(scale=0.0)(conv(4 * self.channels, 1, 1, self.dtype)(y))
        if self.stride != 1 or x.shape[-1] != 4 * self.channels:
            x = norm()(conv(4 * self.channels, 1, self.stride, self.dtype)(x))
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """Has a 7 × 7 stem, max-pooling, and four stages with 64, 128, 256 and 512 (× 4) channels.

    Attributes:
      num_classes: number of classes K.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")

    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        x = conv(64, 7, 2, self.dtype)(x)
        x = batch_norm(train, self.dtype)(x)
        # Padded apart, as jax2onnx ignores the padding of max_pool, and takes the window by name.
        edges = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = jnp.pad(nn.relu(x), edges, constant_values=-jnp.inf)
        x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))
        for stage, blocks in enumerate(BLOCKS):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Bottleneck(64 * 2**stage, stride, self.dtype)(x, train)
            record(self, STAGE, x)
        x = record(self, PENULTIMATE, x.mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
