"""Spectrograms and noise, against SciPy and NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from autolabel_jax import audio_ops
from autolabel_jax.audio_ops import LogMel

FRONT = LogMel(sample_rate=8000, samples=2000, window=256, hop=80, bands=24)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mel(frequency):
    return 2595 * np.log10(1 + frequency / 700)


def hertz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


@pytest.mark.parametrize(("window", "hop"), [(256, 80), (201, 201), (128, 100)])
def test_spectrograms_are_those_of_scipy(window, hop):
    front = dataclasses.replace(FRONT, window=window, hop=hop)
    wave = 0.1 * noise(3, front.samples) + np.sin(0.3 * np.arange(front.samples))
    wave = wave.astype(np.float32)
    overlap = window - hop
    _, _, spectrum = signal.stft(
        wave, 8000, "hann", window, overlap, boundary=None, padded=False, axis=-1
    )
    # SciPy divides by the sum of the window, and here the power is over that of its squares.
    hann = signal.get_window("hann", window)
    power = np.abs(spectrum.swapaxes(1, 2) * hann.sum()) ** 2 / np.sum(hann**2)
    expected = np.log(power @ audio_ops.filters(8000, window, 24) + 1e-6)
    found = jax.jit(front)(wave)
    assert found.shape == (3, *front.shape) == (3, 1 + (2000 - window) // hop, 24, 1)
    np.testing.assert_allclose(found[..., 0], expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(audio_ops.of_all(front, wave), found)


@pytest.mark.parametrize(("rate", "window", "bands"), [(8000, 256, 32), (16000, 400, 40)])
def test_mel_bands_are_triangles_on_the_scale_of_htk(rate, window, bands):
    found = audio_ops.filters(rate, window, bands)
    corner = hertz(np.linspace(0, mel(rate / 2), bands + 2))
    frequency = np.fft.rfftfreq(window, 1 / rate)
    for k in range(bands):
        expected = np.interp(frequency, corner[k : k + 3], [0, 1, 0], left=0, right=0)
        np.testing.assert_allclose(found[:, k], expected, atol=1e-12)
    # Between the first and the last peak, the weights of a frequency have the sum 1.
    inside = (frequency >= corner[1]) & (frequency <= corner[-2])
    np.testing.assert_allclose(found[inside].sum(1), 1)


def test_a_tone_is_in_the_band_of_its_frequency():
    corner = hertz(np.linspace(0, mel(4000), 26))
    for band in (5, 12, 20):
        tone = np.sin(2 * np.pi * corner[band + 1] / 8000 * np.arange(2000), dtype=np.float32)
        found = np.asarray(FRONT(jnp.asarray(tone[None])))[0, :, :, 0]
        assert (found.argmax(1) == band).all()


def test_white_noise_has_power_one_whatever_the_window():
    for window in (128, 256, 512):
        front = LogMel(8000, 80_000, window, window, 10)
        bands = np.exp(np.asarray(jax.jit(front)(noise(1, 80_000))))[..., 0]
        width = audio_ops.filters(8000, window, 10).sum(0)
        np.testing.assert_allclose((bands / width).mean((0, 1)), 1, atol=0.08)


def test_silence_is_the_floor():
    found = np.asarray(FRONT(jnp.zeros((1, 2000))))
    np.testing.assert_allclose(found, np.log(1e-6), rtol=1e-6)


def test_the_front_end_is_described_in_the_encoding():
    encoding = {"reads": "audio", "resample": False, **dataclasses.asdict(FRONT)}
    assert audio_ops.front_end(encoding) == FRONT
    assert audio_ops.front_end(None) is None
    assert audio_ops.front_end({"reads": "columns", "columns": []}) is None


def test_power_is_that_of_the_clip_without_its_padding():
    wave = noise(4, 100)
    wave[1, 60:], wave[2, 1:], wave[3] = 0, 0, 0
    wave[0, :10] = 0  # at the start, zeros count
    found = np.asarray(audio_ops.power(jnp.asarray(wave)))[:, 0]
    expected = [np.mean(wave[0] ** 2), np.mean(wave[1, :60] ** 2), wave[2, 0] ** 2, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_noise_has_the_ratio_that_is_asked_for():
    wave = noise(5, 4000)
    wave[:, 3000:] = 0
    ratio = np.array([[-10.0], [0], [7.5], [20], [40]], np.float32)
    with_noise = jax.jit(audio_ops.with_noise)
    noisy = np.asarray(with_noise(jax.random.key(0), wave, ratio))
    added = noisy.astype(np.float64) - wave
    power = np.mean(wave[:, :3000].astype(np.float64) ** 2, axis=1)
    found = 10 * np.log10(power / np.mean(added**2, axis=1))
    np.testing.assert_allclose(found, ratio[:, 0], atol=1e-3)
    # The noise is white: as much power in each quarter of the spectrum.
    quarters = np.array_split(np.abs(np.fft.rfft(added[0])) ** 2, 4)
    np.testing.assert_allclose([q.mean() / quarters[0].mean() for q in quarters], 1, atol=0.2)
    silent = jnp.zeros((1, 4000))
    np.testing.assert_array_equal(with_noise(jax.random.key(0), silent, 0.0), silent)
