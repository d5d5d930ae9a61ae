"""Convolution and batch norm as all the image models here use them."""

from typing import Any

from flax import linen as nn

# He et al. (2015), "Delving Deep into Rectifiers", in its backward form (fan out).
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(channels: int, size: int, stride: int, dtype: Any) -> nn.Conv:
    """A convolution without bias, padded by half its size on both sides.

    That is how the papers' code pads; 'SAME' would pad a strided convolution
    of an image with even sides on one side only.
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
    """Batch norm over all but the last axis; flax takes its statistics in float32.

    Args:
      train: by the batch's own statistics, which then move the running ones.
      dtype: of activations.
      scale: that training starts from.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        scale_init=nn.initializers.constant(scale),
    )
