"""Defines the convolution and batch norm of all image models."""

from typing import Any

from flax import linen as nn

# He et al. (2015), "Delving Deep into Rectifiers", in its backward form (fan out).
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(channels: int, size: int, stride: int, dtype: Any) -> nn.Conv:
    """Makes a convolution without bias, padded by half its size on both sides.

    The papers' code pads like this; 'SAME' would pad a strided convolution of an
    image with even sides on one side only.
    """
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=KERNEL_INIT,
        dtype=dtype,
    )


def batch_norm(train: bool, dtype: Any, scale: float = 1.0) -> nn.BatchNorm:
    """Makes batch norm over all but the last axis; flax computes its statistics in float32.

    Args:
      train: whether to use the statistics of the batch and update the running ones.
      dtype: type of activations.
      scale: initial scale.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        scale_init=nn.initializers.constant(scale),
    )
