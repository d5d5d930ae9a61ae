"""Defines the convolution and batch norm of all image models, and the features that they record."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

# Names under which layers sow features into FEATURES, which ``features.forward`` collects.
FEATURES = "intermediates"
STAGE, PENULTIMATE = "stage", "penultimate"
MEAN_DRIFT, VARIANCE_DRIFT = "mean_drift", "variance_drift"
DISAGREEMENT = "disagreement"  # recorded by ``evaluation.views``, not by a layer

# Keeps log(s² / v) finite where a channel is constant in an image, such as a black one.
LOWEST_VARIANCE_RATIO = 1e-6

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


def photograph_stem(x: jax.Array, train: bool, dtype: Any) -> jax.Array:
    """Applies a 7 × 7 convolution of stride 2, batch norm, ReLU and 3 × 3 max-pooling of stride 2.

    The calling module has the layers, with the names ``Conv_0`` and ``BatchNorm_0`` if they are
    its first.
    """
    x = nn.relu(batch_norm(train, dtype)(conv(64, 7, 2, dtype)(x)))
    # Padded apart, as jax2onnx ignores the padding of max_pool, and takes the window by name.
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = jnp.pad(x, edges, constant_values=-jnp.inf)
    return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))


def torch_names(
    blocks: Sequence[int], block: str, convolutions: int, *, widens: bool
) -> dict[str, str]:
    """Maps the layers of a residual network to their names in torchvision and timm.

    Args:
      blocks: number of blocks per stage.
      block: name of the class of the blocks.
      convolutions: number of convolutions of a block, without the shortcut.
      widens: whether the first block has a convolution in its shortcut, as that of each later
        stage has.
    """
    names = {"Conv_0": "conv1", "BatchNorm_0": "bn1", "Dense_0": "fc"}
    places = [(stage, place) for stage, num in enumerate(blocks) for place in range(num)]
    for number, (stage, place) in enumerate(places):
        own, theirs = f"{block}_{number}", f"layer{stage + 1}.{place}"
        for i in range(convolutions):
            names[f"{own}/Conv_{i}"] = f"{theirs}.conv{i + 1}"
            names[f"{own}/BatchNorm_{i}"] = f"{theirs}.bn{i + 1}"
        if place == 0 and (stage > 0 or widens):
            names[f"{own}/Conv_{convolutions}"] = f"{theirs}.downsample.0"
            names[f"{own}/BatchNorm_{convolutions}"] = f"{theirs}.downsample.1"
    return names


class BatchNorm(nn.BatchNorm):
    """Applies batch norm, and records the drift of each image where features are collected.

    Of the input of the layer, the drift compares mean μ and variance s² of each channel over the
    positions of one image with the running mean m and variance v:

      mean_drift = log(mean over channels of (μ - m)² / (v + ε) + 1e-4)
      variance_drift = mean over channels of log(s² / (v + ε))

    both float32 [B]. Inputs without positions [B, C] have no drift.
    """

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Normalises activations [B, ..., C]; the arguments are those of ``nn.BatchNorm``."""
        y = super().__call__(x, use_running_average, mask=mask)
        if self.is_mutable_collection(FEATURES) and x.ndim > 2:
            mean = self.get_variable("batch_stats", "mean")
            variance = self.get_variable("batch_stats", "var") + self.epsilon
            for name, value in _drift(x, mean, variance).items():
                self.sow(FEATURES, name, value)
        return y


def _drift(x: jax.Array, mean: jax.Array, variance: jax.Array) -> dict[str, jax.Array]:
    positions = tuple(range(1, x.ndim - 1))
    # Moments about the running mean: one pass over x, without cancellation in float32.
    moved = x.astype(jnp.float32) - mean
    first, second = moved.mean(positions), (moved**2).mean(positions)
    ratio = jnp.maximum((second - first**2) / variance, LOWEST_VARIANCE_RATIO)
    return {
        MEAN_DRIFT: jnp.log((first**2 / variance).mean(-1) + 1e-4),
        VARIANCE_DRIFT: jnp.log(ratio).mean(-1),
    }


def record(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Records the mean of activations [B, ..., C] over positions, float32 [B, C], and returns them.

    Nothing is computed unless features are collected.

    Args:
      module: module that records.
      name: STAGE after each stage of a network, PENULTIMATE before its last layer.
      x: activations.
    """
    if module.is_mutable_collection(FEATURES):
        mean = x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))
        module.sow(FEATURES, name, mean)
    return x


def batch_norm(train: bool, dtype: Any, scale: float = 1.0, epsilon: float = 1e-5) -> BatchNorm:
    """Makes batch norm over all but the last axis; flax computes its statistics in float32.

    Args:
      train: whether to use the statistics of the batch and update the running ones.
      dtype: type of activations.
      scale: initial scale.
      epsilon: added to the variance.
    """
    return BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.initializers.constant(scale),
    )
