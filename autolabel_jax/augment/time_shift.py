"""Shifts waveforms in time, later or earlier; zeros take the place of what is missing.

The shift is a whole number of samples, |shift| ~ U[0, max_shift · samples], and the distance is
|shift| over its largest value. Clips are padded at their end, so an earlier start loses speech that
a later one keeps: each direction is a group.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import InputSpec
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class TimeShift(base.Augmentation):
    """Shifts each clip; group 0 is later, and group 1 earlier."""

    title: ClassVar[str] = "time_shift"
    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    group_name: ClassVar[str] = "direction"
    in_sweep: ClassVar[bool] = False
    rounds: ClassVar[bool] = True

    max_shift: float = setting(
        0.3, "largest shift as a share of the clip", low=0.001, high=1, search="0.05..0.8"
    )

    @property
    def num_groups(self) -> int:
        """Two: later and earlier."""
        return 2

    def check_input(self, spec: InputSpec) -> None:
        """Checks that inputs are waveforms."""
        super().check_input(spec)
        base.check_waveforms(self.name, spec)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws distances ~ U[0, 1] and directions."""
        group_key, key = jax.random.split(key)
        group = jax.random.randint(group_key, (num,), 0, 2)
        return Distance(group=group, value=jax.random.uniform(key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Shifts by the distance, rounded to whole samples."""
        del key, input_gradient
        clean = image_ops.to_float(batch.input)
        samples = clean.shape[1]
        most = max(1, int(self.max_shift * samples))
        shift = jnp.round(jnp.asarray(distance.value) * most).astype(jnp.int32)
        sign = jnp.where(jnp.asarray(distance.group) == 0, 1, -1)
        source = jnp.arange(samples) - (sign * shift)[:, None]
        inside = (source >= 0) & (source < samples)
        moved = jnp.take_along_axis(clean, jnp.clip(source, 0, samples - 1), axis=1)
        value = (shift / most).astype(jnp.float32)
        moved = jnp.where(inside, moved, 0)
        return base.unmixed(moved, batch.label, distance.replace(value=value))
