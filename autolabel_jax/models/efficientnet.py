"""Defines EfficientNet-Lite0 for photographs.

Tan & Le (2019), "EfficientNet", without squeeze-and-excitation and with ReLU6, as published for
devices without special operations, in the layout of timm's ``tf_efficientnet_lite0``: convolutions
pad as TensorFlow does. Its dropout before the head is left out.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models import depthwise
from autolabel_jax.models.layers import KERNEL_INIT, PENULTIMATE, STAGE, batch_norm, record

# Number of blocks, kernel, stride of the first block, expansion, channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3  # of batch norm


class InvertedResidual(nn.Module):
    """Expands channels, convolves each of them, and projects to few channels without activation."""

    size: int
    stride: int
    expansion: int
    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes features [B, height / stride, width / stride, channels]."""
        wide = self.expansion * x.shape[-1]
        y = x
        if self.expansion > 1:
            y = nn.relu6(_conv_norm(y, train, wide, 1, 1, self.dtype))
        y = nn.relu6(_conv_norm(y, train, wide, self.size, self.stride, self.dtype, groups=wide))
        y = _conv_norm(y, train, self.channels, 1, 1, self.dtype)
        return x + y if self.stride == 1 and x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """Has a stem of 32 channels, 16 inverted residual blocks, and 1,280 features.

    Attributes:
      num_classes: number of classes K.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "audio")
    normalization: ClassVar[str] = "half"

    num_classes: int
    dtype: Any = jnp.float32

    @staticmethod
    def torch_names() -> dict[str, str]:
        """Maps layers to their names in timm."""
        names = {"Conv_0": "conv_stem", "BatchNorm_0": "bn1"}
        names |= {"Conv_1": "conv_head", "BatchNorm_1": "bn2", "Dense_0": "classifier"}
        blocks = [(i, k, s[3] > 1) for i, s in enumerate(STAGES) for k in range(s[0])]
        for number, (stage, place, expands) in enumerate(blocks):
            convolutions = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("conv_dw", "conv_pw")
            for i, theirs in enumerate(convolutions):
                own = f"InvertedResidual_{number}"
                names[f"{own}/Conv_{i}"] = f"blocks.{stage}.{place}.{theirs}"
                names[f"{own}/BatchNorm_{i}"] = f"blocks.{stage}.{place}.bn{i + 1}"
        return names

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        x = nn.relu6(_conv_norm(x, train, 32, 3, 2, self.dtype))
        for blocks, size, first_stride, expansion, channels in STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                x = InvertedResidual(size, stride, expansion, channels, self.dtype)(x, train)
            record(self, STAGE, x)
        x = nn.relu6(_conv_norm(x, train, 1280, 1, 1, self.dtype))
        x = record(self, PENULTIMATE, x.mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


def _conv_norm(
    x: jax.Array, train: bool, channels: int, size: int, stride: int, dtype: Any, groups: int = 1
) -> jax.Array:
    """Applies a convolution and batch norm, which the calling module has."""
    conv = nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding="SAME",
        feature_group_count=groups,
        use_bias=False,
        kernel_init=KERNEL_INIT,
        dtype=dtype,
        conv_general_dilated=depthwise.conv_general_dilated if groups > 1 else None,
    )
    return batch_norm(train, dtype, epsilon=EPSILON)(conv(x))
