"""Implements margin-based label smoothing, a penalty on distances of logits beyond a margin.

Liu, Ben Ayed, Galdran, Dolz (2022), "The Devil is in the Margin: Margin-based Label Smoothing for
Network Calibration". The penalty is a mean over the classes, as in the authors' code.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.losses import base
from autolabel_jax.registry import setting


@dataclasses.dataclass(frozen=True)
class MbLS(base.CrossEntropy):
    """Gives the cross-entropy + λ · mean over k of max(0, max_j z_j - z_k - m).

    The penalty does not read the label, so that soft labels enter the cross-entropy alone.

    Attributes:
      margin: margin m.
      weight: weight λ.
    """

    title: ClassVar[str] = "mbls"

    margin: float = setting(10.0, "distance of logits that is free", low=0, search="1..20")
    weight: float = setting(0.1, "weight of the penalty", low=0, search="log:0.01..1")

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the cross-entropy and the penalty of each example."""
        logits = logits.astype(jnp.float32)
        distance = logits.max(-1, keepdims=True) - logits
        penalty = jnp.maximum(distance - self.margin, 0).mean(-1)
        return super().of(logits, soft_label) + self.weight * penalty
