"""Implements the focal loss, also with the exponent γ chosen by the probability (FLSD-53).

Lin et al. (2017), "Focal Loss for Dense Object Detection"; Mukhoti et al. (2020), "Calibrating
Deep Neural Networks using Focal Loss".
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.losses import base
from autolabel_jax.registry import setting

# FLSD-53: γ is 5 for a probability below .2, and else 3.
THRESHOLD, GAMMA_BELOW, GAMMA_ABOVE = 0.2, 5.0, 3.0


@dataclasses.dataclass(frozen=True)
class Focal(base.Loss):
    """Gives -Σ_k ỹ_k (1 - f_k)^γ log f_k with f = softmax(logits).

    With a one-hot label it is the published loss. With a soft label each class has the factor, and
    with ``flsd53`` the exponent, of its own probability f_k; the loss is then not smallest at
    f = ỹ, as it is not smallest at the true probabilities with one-hot labels either.

    Attributes:
      gamma: exponent γ of the schedule 'fixed'; 0 gives the cross-entropy.
      schedule: 'fixed', or 'flsd53': γ = 5 for f_k < .2, and else 3.
    """

    title: ClassVar[str] = "focal"

    gamma: float = setting(3.0, "exponent γ, with schedule=fixed", low=0, search="0..5")
    schedule: str = setting(
        "fixed", "'fixed', or 'flsd53': γ by the probability", choices=("fixed", "flsd53")
    )

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the focal loss of each example."""
        log_probability = jax.nn.log_softmax(logits.astype(jnp.float32))
        probability = jnp.exp(log_probability)
        # Bounded, because the derivative of x^γ at 0 is infinite for γ < 1.
        others = jnp.maximum(1 - probability, jnp.finfo(jnp.float32).eps)
        if self.schedule == "fixed":
            factor = others**self.gamma
        else:
            below = probability < THRESHOLD
            factor = jnp.where(below, others**GAMMA_BELOW, others**GAMMA_ABOVE)
        return -jnp.sum(soft_label.astype(jnp.float32) * factor * log_probability, -1)
