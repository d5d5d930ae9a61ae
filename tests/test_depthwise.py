"""Depthwise convolutions as sums of shifted images: against SciPy, and XLA's grouped ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from autolabel_jax.models import depthwise

# height, width, channels, size of the kernel, stride
SHAPES = [(7, 9, 3, 3, 1), (8, 8, 2, 3, 2), (9, 6, 2, 5, 2), (2, 3, 2, 5, 1), (1, 1, 2, 3, 2)]


def arrays(height, width, channels, size, dtype="float32"):
    rng = np.random.default_rng(height)
    shapes = (2, height, width, channels), (size, size, 1, channels)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def by_scipy(inputs, kernel, stride):
    """Full correlation with zeros around, cut as TensorFlow's 'SAME' does."""
    size, (_, height, width, channels) = len(kernel), inputs.shape
    out = []
    for image in np.asarray(inputs, np.float64):
        maps = []
        for c in range(channels):
            full = signal.correlate2d(image[..., c], np.asarray(kernel, np.float64)[:, :, 0, c])
            cut = []
            for side in (height, width):
                num = -(-side // stride)
                before = max((num - 1) * stride + size - side, 0) // 2
                cut.append(size - 1 - before + stride * np.arange(num))
            maps.append(full[np.ix_(*cut)])
        out.append(np.stack(maps, -1))
    return np.stack(out)


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_are_those_of_scipy(shape):
    *shape, stride = shape
    inputs, kernel = arrays(*shape)
    found = jax.jit(depthwise.depthwise, static_argnums=2)(inputs, kernel, stride)
    np.testing.assert_allclose(found, by_scipy(inputs, kernel, stride), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_grouped_convolution(shape):
    *shape, stride = shape
    inputs, kernel = arrays(*shape)

    def loss(inputs, kernel):
        outputs = depthwise.conv_general_dilated(
            inputs, kernel, (stride, stride), "SAME", feature_group_count=inputs.shape[-1]
        )
        return jnp.sin(outputs).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)))
    own = gradients(inputs, kernel)
    with depthwise.grouped_alone():
        traced = jax.jit(jax.grad(loss, (0, 1))).lower(inputs, kernel)
    assert "feature_group_count" in traced.as_text()
    assert "feature_group_count" not in gradients.lower(inputs, kernel).as_text()
    for found, expected in zip(own, traced.compile()(inputs, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-5)


def test_bfloat16_and_an_empty_batch():
    inputs, kernel = arrays(7, 9, 3, 3, "bfloat16")
    convolve = functools.partial(depthwise.depthwise, stride=1)
    found = convolve(inputs, kernel)
    assert found.dtype == jnp.bfloat16
    # Nine products are rounded to 8 bits, and so are their sums.
    np.testing.assert_allclose(
        found.astype(jnp.float32), by_scipy(inputs, kernel, 1), atol=9 * 2**-8 * 8
    )
    assert convolve(inputs[:0], kernel).shape == (0, 7, 9, 3)
