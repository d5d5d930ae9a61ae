"""Confidence-calibrated adversarial training.

Stutz, Hein, Schiele (2020), "Confidence-Calibrated Adversarial Training:
Generalizing to Unseen Attacks", eq. 4 and 5: a mixture of the one-hot label,
with weight (1 - min(1, ‖δ‖/ε))^ρ, and the uniform distribution.
"""

import jax
import jax.numpy as jnp

from autolabel_jax.labels import autolabel, one_hot
from autolabel_jax.types import Distance, LabelState

init = autolabel.init
update = one_hot.update


def soft_labels(
    state: LabelState,
    label: jax.Array,
    bucket: jax.Array,
    *,
    rho: float,
    num_classes: int,
    distance: Distance,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """w·one_hot(label) + (1 - w)/K with w = (1 - min(1, s))^rho; float32 [B, K].

    Args:
      state: not read.
      label: int32 [B].
      bucket: not read.
      rho: ρ, 10 in the paper.
      num_classes: K.
      distance: value [B] is s, the share of the largest ε.
      second_label: not read; adversarial examples hold one class.
      second_weight: not read.
    """
    del state, bucket, second_label, second_weight
    weight = (1 - jnp.minimum(distance.value, 1)) ** rho
    return autolabel.spread(weight + (1 - weight) / num_classes, label, num_classes=num_classes)
