"""Corrupts feature vectors [D] and time series [T, C]; amplitudes are in standard deviations.

The standard deviation is that of the training inputs, for each feature or channel. A number that is
lost is replaced by the mean.
"""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions.own import Own
from autolabel_jax.corruptions.settings import Prepared
from autolabel_jax.datasets import Dataset


def noise(key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, size: float) -> jax.Array:
    """Adds independent normal noise of ``size`` standard deviations to each number."""
    del mean
    return x + size * std * jax.random.normal(key, x.shape)


def lost_values(
    key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, share: float
) -> jax.Array:
    """Replaces each number by the mean with probability ``share``."""
    del std
    return jnp.where(jax.random.bernoulli(key, share, x.shape), mean, x)


def offset(key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, size: float) -> jax.Array:
    """Moves each feature or channel up or down by ``size`` standard deviations."""
    del mean
    return x + size * std * jax.random.rademacher(key, x.shape[-1:], x.dtype)


def gain(key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, most: float) -> jax.Array:
    """Multiplies the distance of a whole input from the mean by ``most``, or divides by it."""
    del std
    factor = most ** jax.random.rademacher(key, (), x.dtype)
    return mean + factor * (x - mean)


def gap(key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, share: float) -> jax.Array:
    """Replaces ``share`` of the time steps, one after another, by the mean."""
    del std
    steps = x.shape[0]
    length = jnp.round(share * steps)
    first = jax.random.randint(key, (), 0, steps - length.astype(jnp.int32) + 1)
    place = jnp.arange(steps) - first
    return jnp.where(((place >= 0) & (place < length))[:, None], mean, x)


def smoothing(
    key: jax.Array, x: jax.Array, mean: jax.Array, std: jax.Array, width: float
) -> jax.Array:
    """Averages each channel over ``width`` time steps before and after each."""
    del key, mean, std
    place = jnp.arange(x.shape[0])
    near = (jnp.abs(place[:, None] - place) <= width).astype(x.dtype)
    return near @ x / near.sum(1, keepdims=True)


def prepare(dataset: Dataset, setting: float) -> Prepared:
    """Prepares mean and standard deviation of the training inputs, and the setting."""
    return Prepared((dataset.mean, dataset.std, np.float32(setting)))


def _own(corrupt, *severities: float) -> Own:
    return Own(corrupt, prepare, tuple((value,) for value in severities))


FEATURES = {
    "noise": _own(noise, 0.25, 0.5, 0.75, 1.0, 1.5),
    "lost_values": _own(lost_values, 0.1, 0.2, 0.3, 0.4, 0.5),
    "offset": _own(offset, 0.25, 0.5, 0.75, 1.0, 1.5),
    "gain": _own(gain, 1.25, 1.5, 2.0, 3.0, 4.0),
}

SERIES = {
    **FEATURES,
    "gap": _own(gap, 0.1, 0.2, 0.3, 0.4, 0.5),
    "smoothing": _own(smoothing, 1, 2, 3, 5, 8),
}
