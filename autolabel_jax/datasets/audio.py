"""Reads sound files as waveforms of one channel, one sample rate and one length.

SciPy reads .wav files, and ``soundfile``, of the extra [audio], other formats. Samples of whole
numbers are scaled to [-1, 1). A clip that is shorter than the fixed length is padded with zeros at
its end, and a longer one is cut there.

The description, ``Dataset.encoding``, has ``reads`` = 'audio'; ``resample``, whether files of
another sample rate are resampled; ``peak``, whether each clip is scaled to a largest absolute value
of 1; and the fields of ``audio_ops.LogMel``.
"""

import functools
import io
import math
import os
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from autolabel_jax import audio_ops, processes, progress

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
WAV = (b"RIFF", b"RIFX", b"RF64")  # how a .wav file begins
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
    return path[:4] in WAV if isinstance(path, bytes) else path.lower().endswith(ENDINGS)


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
    waves, refused = _each(clips, lambda clip: _at_rate(*clip, common))
    lengths = {i: len(wave) for i, wave in waves.items()}
    longest = max((n for i, n in lengths.items() if train[i]), default=max(lengths.values()))
    samples = round(settings["seconds"] * rate) or longest
    encoding = {"reads": audio_ops.READS, **common, **_front_end(where, settings, rate, samples)}
    fitted, silent = _each(waves, lambda wave: fit(wave, encoding))
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
            return decode(encoded)
        except (ValueError, OSError) as error:
            return reason(error)

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


def clip(encoded: str | bytes, encoding: Mapping[str, Any]) -> np.ndarray:
    """Reads one file as a waveform float32 [samples].

    Args:
      encoded: path or content of the file.
      encoding: description from ``read``.

    Raises:
      ValueError: it cannot be used.
      OSError: it cannot be opened.
    """
    return fit(_at_rate(*decode(encoded), encoding), encoding)


def waveforms(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    """Makes inputs float32 [n, samples] of clips, int16 or float [n, any length].

    Raises:
      ValueError: a clip is silent.
    """
    found = np.zeros((len(values), encoding["samples"]), np.float32)
    for i, wave in enumerate(_to_float(values)):
        try:
            found[i] = fit(wave, encoding)
        except ValueError as error:
            raise ValueError(f"inputs: input {i} {error}") from error
    return found


def decode(encoded: str | bytes) -> tuple[np.ndarray, int]:
    """Reads samples float32 [n] and the sample rate of a file.

    Raises:
      ValueError: it cannot be decoded, is empty, or has several channels; the message says it.
      OSError: it cannot be opened.
    """
    content = encoded
    if isinstance(encoded, str):
        with open(encoded, "rb") as file:
            content = file.read()
    assert isinstance(content, bytes)
    if not content:
        raise ValueError("is empty")
    rate, values = _wav(content) if content[:4] in WAV else _other(content)
    if values.ndim > 1 and values.shape[1] > 1:
        raise ValueError(f"has {values.shape[1]} channels, expected one; mix them first")
    values = values.reshape(-1)
    if not len(values) or rate < 1:
        raise ValueError("holds no samples" if rate else "has a sample rate of 0")
    return values, rate


def fit(wave: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    """Pads a clip float32 [n] with zeros, or cuts it, to [samples], and scales it with ``peak``.

    Raises:
      ValueError: it is silent, or not finite.
    """
    wave = wave[: encoding["samples"]]
    if not np.isfinite(wave).all():
        raise ValueError("holds samples that are not finite")
    largest = np.abs(wave).max(initial=0)
    if not largest:
        raise ValueError(f"is silent in its first {len(wave)} samples")
    wave = wave / largest if encoding["peak"] else wave
    return np.pad(wave, (0, encoding["samples"] - len(wave)))


def reason(error: Exception) -> str:
    """Says in one line why a file cannot be used."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def _at_rate(values: np.ndarray, rate: int, encoding: Mapping[str, Any]) -> np.ndarray:
    wanted = encoding["sample_rate"]
    if rate == wanted:
        return values
    if not encoding["resample"]:
        raise ValueError(
            f"has {rate} samples per second, expected {wanted}; resample it, or train with "
            f"data.sample_rate={wanted}"
        )
    from scipy import signal  # slow to import

    divisor = math.gcd(rate, wanted)
    return signal.resample_poly(values, wanted // divisor, rate // divisor).astype(np.float32)


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


def _wav(content: bytes) -> tuple[int, np.ndarray]:
    from scipy.io import wavfile  # slow to import

    size = 8 + int.from_bytes(content[4:8], "big" if content[:4] == b"RIFX" else "little")
    if len(content) < size < 2**32:  # larger: not known when the file was begun
        raise ValueError(f"is cut off: it has {len(content)} of {size} bytes")
    # Of chunks that hold no samples. No context: it would be shared by threads.
    warnings.simplefilter("ignore", wavfile.WavFileWarning)
    try:
        rate, values = wavfile.read(io.BytesIO(content))
    except Exception as error:  # SciPy raises many types for damaged files
        raise ValueError(f"cannot be decoded ({' '.join(str(error).split())})") from error
    return int(rate), _to_float(values)


def _other(content: bytes) -> tuple[int, np.ndarray]:
    try:
        import soundfile  # ty: ignore[import-not-found]  # of the extra [audio]
    except ImportError as error:
        raise ValueError(
            "is no .wav file; other formats need `pip install 'autolabel-jax[audio]'`"
        ) from error
    try:
        values, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    except Exception as error:  # of libsndfile, whose text names no file
        text = " ".join(str(getattr(error, "error_string", error)).split())
        raise ValueError(f"cannot be decoded ({text})") from error
    return int(rate), values


def _to_float(values: np.ndarray) -> np.ndarray:
    """Returns float32; whole numbers are scaled to [-1, 1), and unsigned ones moved first."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    info = np.iinfo(values.dtype)
    middle = (int(info.max) + 1 + int(info.min)) // 2
    return ((values.astype(np.float64) - middle) / (int(info.max) + 1 - middle)).astype(np.float32)
