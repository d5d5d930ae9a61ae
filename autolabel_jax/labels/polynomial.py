"""Makes labels that are a fixed polynomial in the distance.

Liu et al. (2023), "Soft Augmentation for Image Classification", eq. 4 and 5:
p = 1 - (1 - 1/K) · s^k.
"""

import dataclasses
from typing import Any, ClassVar

import jax

from autolabel_jax.labels import base
from autolabel_jax.registry import setting
from autolabel_jax.types import Distance


@dataclasses.dataclass(frozen=True)
class Polynomial(base.LabelRule):
    """Gives the true class 1 - (1 - 1/K)·s^power at a distance of s."""

    title: ClassVar[str] = "polynomial"
    reads_distance: ClassVar[bool] = True

    power: float = setting(2.0, "exponent of the distance; 1 falls linearly", low=0)

    def soft_labels(
        self,
        state: Any,
        label: jax.Array,
        bucket: jax.Array,
        *,
        num_classes: int,
        distance: Distance | None = None,
        second_label: jax.Array | None = None,
        second_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Computes labels from each example's distance; the state is not read."""
        del state, bucket
        assert distance is not None
        confidence = 1 - (1 - 1 / num_classes) * distance.value**self.power
        return base.spread(
            confidence,
            label,
            num_classes=num_classes,
            second_label=second_label,
            second_weight=second_weight,
        )
