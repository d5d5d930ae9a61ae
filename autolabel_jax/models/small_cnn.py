"""A convolutional network for two CPU cores: tests, tiny variants, small studies."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import batch_norm, conv
from autolabel_jax.registry import setting


class SmallCNN(nn.Module):
    """Four 3 × 3 convolutions with batch norm and ReLU, mean over places, one dense layer.

    Attributes:
      num_classes: K.
      width: channels of the first convolution; the others have twice as many.
      dtype: of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")

    num_classes: int
    width: int = setting(16, "channels of the first convolution", low=1)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, K] of normalised images [B, height, width, channels]."""
        # Both halvings come first: on a CPU the time is that of the large early images.
        for i, stride in enumerate((2, 2, 1, 1)):
            x = conv(self.width if i == 0 else 2 * self.width, 3, stride, self.dtype)(x)
            x = nn.relu(batch_norm(train, self.dtype)(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2)))
