"""Makes log-mel spectrograms of waveforms on the device, and measures the power of a clip.

A clip [samples] is cut into frames, which overlap and are weighted by a periodic Hann window. The
power spectrum of a frame is |rfft|² over the sum of the squared window, so that white noise of
variance 1 has power 1 in each bin, whatever the window. Mel bands are the triangles of HTK: their
peaks are 1, and lie evenly on mel = 2595·log10(1 + f / 700) from 0 to half the sample rate. The
result is log(power + FLOOR).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

READS = "audio"  # of ``Dataset.encoding``, where inputs are waveforms
FLOOR = 1e-6  # 60 dB below white noise of variance 1; quieter sounds hardly count
BATCH = 256  # clips at once


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Computes log-mel spectrograms of clips of one length.

    Attributes:
      sample_rate: samples per second.
      samples: samples of a clip.
      window: samples of a frame.
      hop: samples between the starts of frames; what is left after the last whole frame is dropped.
      bands: number of mel bands.
    """

    sample_rate: int
    samples: int
    window: int
    hop: int
    bands: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, bands and 1."""
        return 1 + (self.samples - self.window) // self.hop, self.bands, 1

    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Maps waveforms float32 [B, samples] to spectrograms float32 [B, frames, bands, 1]."""
        first = self.hop * np.arange(self.shape[0])[:, None]
        frames = waveform[:, first + np.arange(self.window)] * hann(self.window).astype(np.float32)
        spectrum = jnp.fft.rfft(frames)
        power = (spectrum.real**2 + spectrum.imag**2) / np.float32(np.sum(hann(self.window) ** 2))
        weights = filters(self.sample_rate, self.window, self.bands).astype(np.float32)
        bands = jnp.matmul(power, weights, precision=jax.lax.Precision.HIGHEST)
        return jnp.log(bands + FLOOR)[..., None]


def front_end(encoding: Mapping[str, Any] | None) -> LogMel | None:
    """Returns what ``Dataset.encoding`` says of spectrograms; None if inputs are no waveforms."""
    if encoding is None or encoding["reads"] != READS:
        return None
    return LogMel(**{field.name: encoding[field.name] for field in dataclasses.fields(LogMel)})


def hann(size: int) -> np.ndarray:
    """Returns the periodic Hann window, float64 [size]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def filters(sample_rate: int, window: int, bands: int) -> np.ndarray:
    """Returns the weight of each frequency in each mel band, float64 [window // 2 + 1, bands]."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corner = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequency = np.arange(window // 2 + 1)[:, None] * sample_rate / window
    low, peak, high = corner[:-2], corner[1:-1], corner[2:]
    rising, falling = (frequency - low) / (peak - low), (high - frequency) / (high - peak)
    return np.maximum(0, np.minimum(rising, falling))


def of_all(front: LogMel, waveform: np.ndarray) -> np.ndarray:
    """Computes the spectrograms of many clips float32 [n, samples], in host memory."""
    starts = range(0, len(waveform), BATCH)
    parts = [np.asarray(_jitted(front, waveform[i : i + BATCH])) for i in starts]
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames="front")
def _jitted(front: LogMel, waveform: jax.Array) -> jax.Array:
    return front(waveform)


def power(waveform: jax.Array) -> jax.Array:
    """Computes the mean square [..., 1] of clips [..., samples], without the zeros at their end."""
    last = jnp.argmax(jnp.flip(waveform != 0, -1), -1, keepdims=True)
    return jnp.sum(waveform**2, -1, keepdims=True) / (waveform.shape[-1] - last)


def with_noise(key: jax.Array, waveform: jax.Array, snr: jax.Array) -> jax.Array:
    """Adds white normal noise at an exact signal-to-noise ratio.

    Args:
      key: typed PRNG key.
      waveform: float32 [..., samples].
      snr: [..., 1], ratio of ``power`` of the clip to the mean square of the noise, dB.
    """
    noise = jax.random.normal(key, waveform.shape)
    noise = noise * jax.lax.rsqrt(jnp.mean(noise**2, -1, keepdims=True))
    return waveform + noise * jnp.sqrt(power(waveform) * 10 ** (-snr / 10))
