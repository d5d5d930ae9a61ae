"""Label smoothing, the same at every distance (Szegedy et al. 2016, sec. 7)."""

import jax

from autolabel_jax.labels import one_hot
from autolabel_jax.types import LabelState

init = one_hot.init
update = one_hot.update


def soft_labels(
    state: LabelState, label: jax.Array, bucket: jax.Array, *, smoothing: float, **example
) -> jax.Array:
    """(1 - smoothing) · own label + smoothing / K; float32 [B, K].

    Args:
      state: not read.
      label: int32 [B].
      bucket: not read.
      smoothing: share of the uniform distribution, in [0, 1].
      **example: as ``one_hot.soft_labels`` takes them.
    """
    own = one_hot.soft_labels(state, label, bucket, **example)
    return (1 - smoothing) * own + smoothing / own.shape[-1]
