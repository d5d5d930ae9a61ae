"""Reads the sound files of a data set as waveforms of one channel, one sample rate and one length.

The description, ``Dataset.encoding``, has ``reads`` = 'audio'; ``resample``, whether files of
another sample rate are resampled; ``peak``, whether each clip is scaled to a largest absolute value
of 1; and the fields of ``audio_ops.LogMel``.
"""

import functools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from autolabel_jax import audio_ops, processes, progress
from autolabel_jax.datasets import waveforms

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
FIELDS = (
    "sample_rate",
    "seconds",
    "peak",
    "mel_bands",
    "window_ms",
    "hop_ms",
)  # of ``config.data``
SILENT_SECONDS = 5  # before progress is shown


def is_sound(path: str | bytes) -> bool:
    """Whether a path, or the content of a file, is that of a sound file."""
    return path[:4] in waveforms.WAV if isinstance(path, bytes) else path.lower().endswith(ENDINGS)


def read(
    where: str, files: Sequence[str | bytes], train: np.ndarray, settings: Mapping[str, Any]
) -> tuple[np.ndarray, dict[int, str], dict[str, Any]]:
    """Reads files.

    Args:
      where: what lists them, for messages.
      files: paths or contents.
      train: bool [n], whether a file is a training example, whose length counts.
      settings: FIELDS of ``config.data``.

    Returns:
      Waveforms float32 [n, samples], why files cannot be used by their number, and the description.

    Raises:
      ValueError: no file can be read, or the settings allow no spectrogram.
    """
    clips, bad = _decode_all(where, files)
    rate = settings["sample_rate"] or statistics.mode(rate for _, rate in clips.values())
    resample = settings["sample_rate"] > 0
    common = {"sample_rate": rate, "resample": resample, "peak": settings["peak"]}
    waves, refused = _each(clips, lambda clip: waveforms.at_rate(*clip, common))
    lengths = {i: len(wave) for i, wave in waves.items()}
    longest = max((n for i, n in lengths.items() if train[i]), default=max(lengths.values()))
    samples = round(settings["seconds"] * rate) or longest
    encoding = {"reads": audio_ops.READS, **common, **_front_end(where, settings, rate, samples)}
    fitted, silent = _each(waves, lambda wave: waveforms.fit(wave, encoding))
    inputs = np.zeros((len(files), samples), np.float32)
    for i, wave in fitted.items():
        inputs[i] = wave
    _say_lengths(where, np.array([*lengths.values()]), samples, rate)
    return inputs, bad | refused | silent, encoding


def _decode_all(
    where: str, files: Sequence[str | bytes]
) -> tuple[dict[int, tuple[np.ndarray, int]], dict[int, str]]:
    """Returns samples and rate of each file by number, and why others are not among them."""

    def decoded(encoded: str | bytes) -> tuple[np.ndarray, int] | str:
        try:
            return waveforms.decode(encoded)
        except (ValueError, OSError) as error:
            return waveforms.reason(error)

    with ThreadPool(os.cpu_count() or 1) as pool:
        found = pool.imap(decoded, files, chunksize=16)
        shown = {"delay": SILENT_SECONDS, "shown": processes.is_first()}
        every = list(progress.each(found, "reading sounds", len(files), "file", **shown))
    bad = {i: clip for i, clip in enumerate(every) if isinstance(clip, str)}
    if len(bad) == len(files):
        raise ValueError(f"data_dir: {where}: no sound file can be used; the first one {bad[0]}")
    return {i: clip for i, clip in enumerate(every) if not isinstance(clip, str)}, bad


def _each(
    values: Mapping[int, Any], of: Callable[[Any], np.ndarray]
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Computes ``of`` each value; also returns why it refused others, by number."""
    done, refused = {}, {}
    for i, value in values.items():
        try:
            done[i] = of(value)
        except ValueError as error:
            refused[i] = str(error)
    return done, refused


def _say_lengths(where: str, lengths: np.ndarray, samples: int, rate: int) -> None:
    if (lengths != samples).any():
        _say_once(
            f"data_dir: {where}: clips of {lengths.min() / rate:.3g} to "
            f"{lengths.max() / rate:.3g} s have {samples / rate:.3g} s now: "
            f"{(lengths < samples).sum()} of {len(lengths)} are padded with zeros, "
            f"{(lengths > samples).sum()} are cut; data.seconds changes it"
        )


@functools.cache  # the data of a run are read several times
def _say_once(text: str) -> None:
    processes.say(text)


def _front_end(where: str, settings: Mapping[str, Any], rate: int, samples: int) -> dict[str, int]:
    """Returns the fields of ``LogMel`` but for the sample rate, checked."""
    window, hop = (max(1, round(settings[key] * rate / 1000)) for key in ("window_ms", "hop_ms"))
    bands = settings["mel_bands"]
    if samples < window:
        raise ValueError(
            f"data.window_ms: got {settings['window_ms']}, longer than the clips of {where}, "
            f"{1000 * samples / rate:g} ms; use a shorter window, or a larger data.seconds"
        )
    empty = int((audio_ops.filters(rate, window, bands).max(0) <= 0).sum())
    if empty:
        raise ValueError(
            f"data.mel_bands: got {bands}, of which {empty} hold no frequency of a window of "
            f"{window} samples; use fewer bands, or a larger data.window_ms"
        )
    return {"samples": samples, "window": window, "hop": hop, "bands": bands}
