"""Defines ResNet-18 for small images and for photographs.

He et al. (2016), "Deep Residual Learning for Image Recognition". For small
images it has the usual form for CIFAR: a 3 × 3 stem of stride 1 and no
max-pooling, so that a 32 × 32 image has 4 × 4 positions at the end.
"""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models import layers
from autolabel_jax.models.layers import (
    PENULTIMATE,
    STAGE,
    batch_norm,
    conv,
    photograph_stem,
    record,
)
from autolabel_jax.registry import setting


class Block(nn.Module):
    """Computes relu(shortcut + bn(conv(relu(bn(conv(x))))))."""

    channels: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes features [B, height / stride, width / stride, channels]."""
        norm = partial(batch_norm, train, self.dtype)
        y = nn.relu(norm()(conv(self.channels, 3, self.stride, self.dtype)(x)))
        y = norm()(conv(self.channels, 3, 1, self.dtype)(y))
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = norm()(conv(self.channels, 1, self.stride, self.dtype)(x))
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """Has four stages of two blocks, with 64, 128, 256 and 512 channels.

    Attributes:
      num_classes: number of classes K.
      photograph_stem: whether the stem is that for ImageNet, a 7 × 7 convolution and max-pooling.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")

    num_classes: int
    photograph_stem: bool = setting(False, "7 × 7 stem and max-pooling, as for ImageNet")
    dtype: Any = jnp.float32

    @staticmethod
    def torch_names() -> dict[str, str]:
        """Maps layers to their names in torchvision and timm."""
        return layers.torch_names((2, 2, 2, 2), "Block", 2, widens=False)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        if self.photograph_stem:
            x = photograph_stem(x, train, self.dtype)
        else:
            x = nn.relu(batch_norm(train, self.dtype)(conv(64, 3, 1, self.dtype)(x)))
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(64 * 2**stage, stride, self.dtype)(x, train)
            record(self, STAGE, x)
        x = record(self, PENULTIMATE, x.mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
