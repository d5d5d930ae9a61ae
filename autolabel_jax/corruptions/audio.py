"""Corrupts waveforms [samples]: noise, reverberation and band limits."""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import audio_ops
from autolabel_jax.corruptions.own import Own
from autolabel_jax.corruptions.settings import Prepared
from autolabel_jax.datasets import Dataset


def noise(key: jax.Array, x: jax.Array, snr: jax.Array) -> jax.Array:
    """Adds white noise at a signal-to-noise ratio in dB."""
    return audio_ops.with_noise(key, x, snr)


def reverberation(key: jax.Array, x: jax.Array, decay: jax.Array) -> jax.Array:
    """Adds the echoes of a room, with as much energy as the sound itself.

    The echoes are normal noise whose level falls by 60 dB in ``decay`` samples. The sum has the
    power of the clip.
    """
    place = jnp.arange(1, x.shape[0] + 1)
    echo = jax.random.normal(key, x.shape) * 10 ** (-3 * place / decay)
    echo = echo / jnp.linalg.norm(echo)
    size = 2 * x.shape[0]
    tail = jnp.fft.irfft(jnp.fft.rfft(x, size) * jnp.fft.rfft(echo, size), size)[: x.shape[0] - 1]
    mixed = x.at[1:].add(tail)
    return mixed * jnp.linalg.norm(x) / jnp.linalg.norm(mixed)


def band_limit(key: jax.Array, x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Removes frequencies outside [low, high], in shares of half the sample rate."""
    del key
    spectrum = jnp.fft.rfft(x)
    place = jnp.arange(spectrum.shape[0]) / (spectrum.shape[0] - 1)
    return jnp.fft.irfft(jnp.where((place >= low) & (place <= high), spectrum, 0), x.shape[0])


def prepare(dataset: Dataset, *setting: float) -> Prepared:
    """Prepares a setting.

    Raises:
      ValueError: the inputs are spectrograms.
    """
    if audio_ops.front_end(dataset.encoding) is None:
        raise ValueError(
            f"--corruptions: {dataset.name!r} holds spectrograms; only waveforms have them"
        )
    return Prepared(tuple(map(np.float32, setting)))


def prepare_seconds(dataset: Dataset, seconds: float) -> Prepared:
    """Prepares a time in samples."""
    front = audio_ops.front_end(dataset.encoding)
    return prepare(dataset, seconds * (front.sample_rate if front else 1))


BANDS = ((0.02, 0.8), (0.04, 0.6), (0.06, 0.45), (0.08, 0.35), (0.1, 0.25))
AUDIO = {
    "noise": Own(noise, prepare, ((20,), (15,), (10,), (5,), (0,))),
    "reverberation": Own(reverberation, prepare_seconds, ((0.1,), (0.2,), (0.4,), (0.8,), (1.6,))),
    "band_limit": Own(band_limit, prepare, BANDS),
}
