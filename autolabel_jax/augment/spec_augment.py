"""Implements SpecAugment: hides frames and mel bands of a spectrogram.

Park et al. (2019), "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
Recognition", without its time warp, which the authors found to matter least. Hidden cells become
the mean of their band over the training split, which is the zero of the authors' normalised input.

The distance is the share of hidden cells / ``max_cells``, and the share is drawn: the authors draw
the widths of the masks. How much of it is in bands and how much in frames is random, both are
rounded to whole ones, and ``apply`` returns the distance of what was hidden.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.audio_ops import LogMel, front_end
from autolabel_jax.augment import base
from autolabel_jax.datasets import Dataset
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class SpecAugment(base.Augmentation):
    """Takes waveforms or spectrograms, and returns spectrograms [B, time, frequency, 1]."""

    title: ClassVar[str] = "spec_augment"
    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    in_sweep: ClassVar[bool] = False
    rounds: ClassVar[bool] = True

    max_cells: float = setting(
        0.5, "largest share of cells that are hidden", low=0.01, high=0.9, search="0.1..0.8"
    )
    num_masks: int = setting(1, "number of masks along each axis", low=1, high=100)
    # What the method reads of a data set; no settings.
    mean: tuple[float, ...] = dataclasses.field(default_factory=lambda: (0.0,))
    front: LogMel | None = dataclasses.field(default_factory=lambda: None)

    def for_data(self, dataset: Dataset) -> "SpecAugment":
        """Returns the method with the spectrograms of a data set, and their mean by band."""
        mean, front = tuple(dataset.mean.tolist()), front_end(dataset.encoding)
        return dataclasses.replace(self, mean=mean, front=front)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws the share of hidden cells / max_cells ~ U[0, 1]."""
        return base.one_group(jax.random.uniform(key, (num,)))

    def unmoved(self, inputs: jax.Array) -> jax.Array:
        """Returns spectrograms of clean inputs."""
        return inputs if self.front is None else self.front(image_ops.to_float(inputs))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Hides bands and frames that together have the share of the distance, after rounding."""
        del input_gradient
        clean = self.unmoved(batch.input)
        num, frames, bands, _ = clean.shape
        axis_key, band_key, frame_key = jax.random.split(key, 3)
        kept = 1 - self.max_cells * jnp.asarray(distance.value)
        in_bands = 1 - kept ** jax.random.uniform(axis_key, (num,))
        of_bands = jnp.floor(bands * in_bands + 1e-5)
        kept_bands = 1 - of_bands / bands
        of_frames = jnp.maximum(jnp.round(frames * (1 - kept / kept_bands)), 0)
        above = 1 - kept_bands * (1 - of_frames / frames) > self.max_cells + 1e-6
        of_frames = jnp.maximum(of_frames - above, 0)
        band_mask = _mask(band_key, of_bands, bands, self.num_masks)
        frame_mask = _mask(frame_key, of_frames, frames, self.num_masks)
        mask = frame_mask[:, :, None] | band_mask[:, None, :]
        moved = jnp.where(mask[..., None], np.array(self.mean, np.float32)[:, None], clean)
        value = jnp.minimum(mask.mean((1, 2), dtype=jnp.float32) / self.max_cells, 1)
        return base.unmixed(moved, batch.label, distance.replace(value=value))


def _mask(key: jax.Array, hidden: jax.Array, size: int, num_masks: int) -> jax.Array:
    """Hides ``hidden`` [B] of ``size`` places in masks that do not overlap; bool [B, size]."""
    width_key, gap_key = jax.random.split(key)
    num = hidden.shape[0]
    cuts = jax.random.uniform(width_key, (num, num_masks - 1)) * (hidden[:, None] + 1)
    ends = jnp.concatenate([jnp.sort(jnp.floor(cuts)), hidden[:, None]], axis=1)
    gaps = jax.random.uniform(gap_key, (num, num_masks)) * (size - hidden[:, None] + 1)
    gaps = jnp.sort(jnp.floor(gaps))
    begins = jnp.pad(ends[:, :-1], ((0, 0), (1, 0)))  # of the masks, without the gaps
    place = jnp.arange(size)[:, None]
    inside = (place >= (gaps + begins)[:, None]) & (place < (gaps + ends)[:, None])
    return inside.any(-1)
