"""Adds white noise to waveforms at a signal-to-noise ratio.

The ratio in dB falls linearly with the distance, from ``max_snr`` at 0 to ``min_snr`` at 1.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import audio_ops, image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import InputSpec
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class AudioNoise(base.Augmentation):
    """Adds noise whose mean square is exactly that of the ratio, see ``audio_ops.with_noise``."""

    title: ClassVar[str] = "audio_noise"
    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    in_sweep: ClassVar[bool] = False

    max_snr: float = setting(40.0, "signal-to-noise ratio at distance 0, dB", low=-100, high=200)
    min_snr: float = setting(
        0.0, "signal-to-noise ratio at distance 1, dB", low=-100, high=200, search="-10..20"
    )

    def check_input(self, spec: InputSpec) -> None:
        """Checks that inputs are waveforms, and that the ratio falls."""
        super().check_input(spec)
        base.check_waveforms(self.name, spec)
        if self.min_snr >= self.max_snr:
            raise ValueError(
                f"augment.min_snr: got {self.min_snr}, must be below augment.max_snr={self.max_snr}"
            )

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws distances ~ U[0, 1]."""
        return base.one_group(jax.random.uniform(key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Adds noise to each clip; to a silent one nothing."""
        del input_gradient
        snr = self.max_snr + (self.min_snr - self.max_snr) * jnp.asarray(distance.value)
        moved = audio_ops.with_noise(key, image_ops.to_float(batch.input), snr[:, None])
        return base.unmixed(moved, batch.label, distance)
