"""A fixed polynomial in the distance.

Liu et al. (2023), "Soft Augmentation for Image Classification", eq. 4 and 5:
p = 1 - (1 - 1/K) · s^k.
"""

import jax

from autolabel_jax.labels import autolabel, one_hot
from autolabel_jax.types import Distance, LabelState

init = autolabel.init
update = one_hot.update


def soft_labels(
    state: LabelState,
    label: jax.Array,
    bucket: jax.Array,
    *,
    power: float,
    num_classes: int,
    distance: Distance,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """Labels whose true class has 1 - (1 - 1/K)·s^power; float32 [B, K].

    Args:
      state: not read.
      label: int32 [B].
      bucket: not read.
      power: k; 1 falls linearly, larger ones late.
      num_classes: K.
      distance: value [B] is s.
      second_label: int32 [B] or None.
      second_weight: float [B] or None.
    """
    del state, bucket
    confidence = 1 - (1 - 1 / num_classes) * distance.value**power
    return autolabel.spread(
        confidence,
        label,
        num_classes=num_classes,
        second_label=second_label,
        second_weight=second_weight,
    )
