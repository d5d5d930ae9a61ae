"""Implements the cross-entropy of logits of a fixed norm.

Wei et al. (2022), "Mitigating Neural Network Overconfidence with Logit Normalization".
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.losses import base
from autolabel_jax.registry import setting

TINY = 1e-7  # added to the norm, as in the authors' code; squared, so that a gradient at 0 exists


@dataclasses.dataclass(frozen=True)
class LogitNorm(base.CrossEntropy):
    """Gives the cross-entropy of the soft label with softmax(z / (τ‖z‖)).

    The model predicts softmax(z), without the normalisation, as published.

    Attributes:
      temperature: temperature τ; in the loss, a probability is at most
        1 / (1 + (K - 1)·exp(-√(K / (K - 1)) / τ)).
    """

    title: ClassVar[str] = "logit_norm"

    temperature: float = setting(
        0.04, "temperature of the normalised logits", low=1e-3, high=100, search="log:0.01..1"
    )

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the cross-entropy of the normalised logits of each example."""
        logits = logits.astype(jnp.float32)
        norm = jnp.sqrt(jnp.sum(logits**2, -1, keepdims=True) + TINY**2)
        return super().of(logits / (self.temperature * norm), soft_label)
