"""Implements the labels of confidence-calibrated adversarial training.

Stutz, Hein, Schiele (2020), "Confidence-Calibrated Adversarial Training:
Generalizing to Unseen Attacks", eq. 4 and 5: a mixture of the one-hot label,
with weight (1 - min(1, ‖δ‖/ε))^ρ, and the uniform distribution.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.labels import base
from autolabel_jax.registry import setting
from autolabel_jax.types import Distance


@dataclasses.dataclass(frozen=True)
class CCAT(base.LabelRule):
    """Gives w·one_hot(label) + (1 - w)/K with w = (1 - min(1, s))^rho; ρ is 10 in the paper."""

    title: ClassVar[str] = "ccat"
    augmentations: ClassVar[tuple[str, ...]] = ("adversarial", "given")
    reads_distance: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    rho: float = setting(10.0, "exponent", low=0)

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
        """Computes labels from each example's share of the largest ε; there is no second class."""
        del state, bucket, second_label, second_weight
        assert distance is not None
        weight = (1 - jnp.minimum(distance.value, 1)) ** self.rho
        confidence = weight + (1 - weight) / num_classes
        return base.spread(confidence, label, num_classes=num_classes)
