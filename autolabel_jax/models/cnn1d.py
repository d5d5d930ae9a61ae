"""Defines a convolutional network for time series."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import KERNEL_INIT, PENULTIMATE, STAGE, batch_norm, record
from autolabel_jax.registry import setting

KERNEL = 5  # time steps


class CNN1D(nn.Module):
    """Has three convolutions over time with batch norm and ReLU, mean pooling and a dense layer.

    The second and third have stride 2, so an input needs no least length.

    Attributes:
      num_classes: number of classes K.
      width: number of channels of the first convolution; the others have twice as many.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("series",)

    num_classes: int
    width: int = setting(32, "channels of the first convolution", low=1, high=4096)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised series [B, time, channels]."""
        for i, stride in enumerate((1, 2, 2)):
            x = nn.Conv(
                self.width if i == 0 else 2 * self.width,
                (KERNEL,),
                strides=stride,
                padding=KERNEL // 2,
                use_bias=False,
                kernel_init=KERNEL_INIT,
                dtype=self.dtype,
            )(x)
            x = record(self, STAGE, nn.relu(batch_norm(train, self.dtype)(x)))
        x = record(self, PENULTIMATE, x.mean(1))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
