"""Preprocesses inputs inside the model, depending on their kind."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from autolabel_jax.audio_ops import LogMel, front_end
from autolabel_jax.datasets import PHOTOGRAPH_MEAN, PHOTOGRAPH_STD, InputSpec

# Mean and standard deviation of the inputs of pretrained networks, per channel.
STATISTICS = {
    "imagenet": (PHOTOGRAPH_MEAN, PHOTOGRAPH_STD),  # of torchvision's and most of timm's
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # of timm's vision transformers
}


class Preprocessing(Protocol):
    """Maps inputs to the network's inputs; hashable, as it is a field of a Flax module."""

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Maps inputs [B, ...] in the range of the data to inputs of the network in ``dtype``."""
        ...


@dataclasses.dataclass(frozen=True)
class Standardize:
    """Computes (inputs - mean) / std, with one number or one per entry of the last axis."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Standardizes float inputs [B, ...]."""
        return ((inputs - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)).astype(
            dtype
        )


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """Returns inputs unchanged, for tokens of text."""

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Returns integers [B, L] unchanged."""
        del dtype
        return inputs


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """Makes log-mel spectrograms of waveforms, and standardises them for each band."""

    front_end: LogMel
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Maps waveforms [B, samples], or spectrograms, to [B, time, frequency, 1]."""
        spectrograms = self.front_end(inputs) if inputs.ndim == 2 else inputs
        standardize = Standardize(self.mean, self.std)
        return standardize(spectrograms[..., 0], dtype)[..., None]


def statistics(
    choice: str, spec: InputSpec, mean: ArrayLike, std: ArrayLike
) -> tuple[ArrayLike, ArrayLike]:
    """Returns the mean and standard deviation that ``model.normalization`` asks for.

    Args:
      choice: 'data', or a key of STATISTICS.
      spec: description of one input.
      mean: mean of the training inputs, for 'data'.
      std: standard deviation of the training inputs, for 'data'.

    Raises:
      ValueError: inputs are not RGB images in [0, 1], where the statistics are those of such ones.
    """
    if choice == "data":
        return mean, std
    in_range = spec.dtype == "uint8" or (spec.low >= 0 and spec.high <= 1)
    if spec.kind != "image" or spec.shape[-1:] != (3,) or not in_range:
        raise ValueError(
            f"model.normalization: {choice!r} is for images of three channels in [0, 1]; got "
            f"inputs of kind {spec.kind!r}, of shape {list(spec.shape)}, between {spec.low} and "
            f"{spec.high}; use 'data'"
        )
    return STATISTICS[choice]


def create(
    spec: InputSpec,
    mean: ArrayLike,
    std: ArrayLike,
    encoding: Mapping[str, Any] | None = None,
) -> Preprocessing:
    """Creates the preprocessing for a kind of input.

    Args:
      spec: description of one input.
      mean: mean of the training inputs; one number, or one per channel.
      std: standard deviation of the training inputs, likewise.
      encoding: how stored values become inputs, see ``datasets.Dataset``.

    Raises:
      ValueError: a std is not positive.
    """
    if spec.kind == "text":
        return Unchanged()
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"std: got {std}, must be positive; use 1 for a constant channel")
    moments = tuple(np.ravel(mean).tolist()), tuple(np.ravel(std).tolist())
    front = front_end(encoding)
    return Standardize(*moments) if front is None else Spectrogram(front, *moments)
