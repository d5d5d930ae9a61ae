"""Convolves each channel by itself; on CPUs as a sum of shifted images.

XLA's CPU backend convolves groups of channels in scalar loops. The sum over the k² places of the
kernel is fused and vectorised instead, and is 10 to 100 times faster there. Other devices use their
own grouped convolution. Benchmark: ``benchmarks.depthwise``.
"""

import contextlib
import functools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")

_grouped_alone = False


@contextlib.contextmanager
def grouped_alone() -> Generator[None]:
    """Uses the grouped convolution on CPUs too, for programs that other software converts.

    It holds for functions that are traced for the first time meanwhile.
    """
    global _grouped_alone
    before, _grouped_alone = _grouped_alone, True
    try:
        yield
    finally:
        _grouped_alone = before


def conv_general_dilated(
    inputs: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: str, **settings: Any
) -> jax.Array:
    """Convolves as ``jax.lax.conv_general_dilated`` does, for ``nn.Conv(conv_general_dilated=…)``.

    Args:
      inputs: [B, height, width, C].
      kernel: [k, k, 1, C].
      strides: the same number twice.
      padding: 'SAME'.
      settings: the other arguments that ``nn.Conv`` hands over; there is a group for each channel,
        and no dilation.
    """
    assert padding == "SAME"
    assert strides[0] == strides[1]
    assert settings["feature_group_count"] == inputs.shape[-1] == kernel.shape[-1]
    if _grouped_alone:
        return _grouped(inputs, kernel, strides[0])
    return depthwise(inputs, kernel, strides[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves inputs [B, height, width, C] with kernel [k, k, 1, C], padded as 'SAME'."""
    own = functools.partial(_shifted, stride=stride)
    grouped = functools.partial(_grouped, stride=stride)
    return lax.platform_dependent(inputs, kernel, cpu=own, default=grouped)


def _forward(inputs: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple]:
    return depthwise(inputs, kernel, stride), (inputs, kernel)


def _backward(stride: int, kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    def grouped(inputs: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple:
        return jax.vjp(functools.partial(_grouped, stride=stride), inputs, kernel)[1](gradient)

    own = functools.partial(_shifted_gradients, stride=stride)
    return lax.platform_dependent(*kept, gradient, cpu=own, default=grouped)


depthwise.defvjp(_forward, _backward)


def _grouped(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        inputs,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=NHWC,
        feature_group_count=inputs.shape[-1],
    )


def _shifted(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    size = len(kernel)
    pads = [_pad(side, size, stride) for side in inputs.shape[1:3]]
    return _correlate(jnp.pad(inputs, ((0, 0), *pads, (0, 0))), kernel, stride)


def _shifted_gradients(
    inputs: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
    size = len(kernel)
    pads = [_pad(side, size, stride) for side in inputs.shape[1:3]]
    padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    sums = [(part * gradient).sum((0, 1, 2)) for part in _parts(padded, size, stride)]
    # The gradient of the inputs: zeros between the outputs, and the kernel reversed.
    around = []
    for (before, _), side, outputs in zip(
        pads, inputs.shape[1:3], gradient.shape[1:3], strict=True
    ):
        first = size - 1 - before
        last = (outputs - 1) * stride + 1 + first
        around.append((first, side + size - 1 - last, stride - 1))
    zero = jnp.zeros((), gradient.dtype)
    spread = lax.pad(gradient, zero, ((0, 0, 0), *around, (0, 0, 0)))
    reversed_kernel = kernel[::-1, ::-1]
    return _correlate(spread, reversed_kernel, 1), jnp.stack(sums).reshape(kernel.shape)


def _pad(side: int, size: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after an axis in 'SAME' padding."""
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    return total // 2, total - total // 2


def _parts(padded: jax.Array, size: int, stride: int) -> Iterator[jax.Array]:
    """Yields, for each place of the kernel, the inputs that it is multiplied with."""
    height, width = (side - size + 1 for side in padded.shape[1:3])
    for i in range(size):
        for j in range(size):
            yield padded[:, i : i + height : stride, j : j + width : stride]


def _correlate(padded: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    weights = kernel.reshape(-1, kernel.shape[-1])
    parts = _parts(padded, len(kernel), stride)
    return sum(part * weight for part, weight in zip(parts, weights, strict=True))
