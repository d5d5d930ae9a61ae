"""Adds no augmentation to crop and flip: every distance is 0."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Identity(base.Augmentation):
    """Does not change inputs, except that uint8 is scaled to [0, 1]."""

    title: ClassVar[str] = "none"
    num_buckets: ClassVar[int | None] = 1
    moves_inputs: ClassVar[bool] = False

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Returns distance 0 for each of ``num`` examples."""
        del key
        return base.one_group(jnp.zeros(num, jnp.float32))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Returns the inputs as floats."""
        del key, input_gradient
        return base.unmixed(image_ops.to_float(batch.input), batch.label, distance)
