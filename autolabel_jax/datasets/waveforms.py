"""Makes inputs of sound files: waveforms of one channel, one sample rate and one length.

SciPy reads .wav files, and ``soundfile``, of the extra [audio], other formats. Samples of whole
numbers are scaled to [-1, 1). A clip that is shorter than the fixed length is padded with zeros at
its end, and a longer one is cut there. The description of inputs is that of ``datasets.audio``.
"""

import io
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

WAV = (b"RIFF", b"RIFX", b"RF64")  # how a .wav file begins


def clip(encoded: str | bytes, encoding: Mapping[str, Any]) -> np.ndarray:
    """Reads one file as a waveform float32 [samples].

    Args:
      encoded: path or content of the file.
      encoding: description from ``datasets.audio.read``.

    Raises:
      ValueError: it cannot be used.
      OSError: it cannot be opened.
    """
    return fit(at_rate(*decode(encoded), encoding), encoding)


def many(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
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


def at_rate(values: np.ndarray, rate: int, encoding: Mapping[str, Any]) -> np.ndarray:
    """Returns samples at the sample rate of the inputs, resampled with ``resample``.

    Raises:
      ValueError: they have another rate, and are not to be resampled.
    """
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
