"""The label that the augmentation itself gives: one-hot, for mixup the mixed pair."""

import jax

from autolabel_jax.labels import autolabel
from autolabel_jax.types import BucketStats, Distance, LabelState

init = autolabel.init


def soft_labels(
    state: LabelState,
    label: jax.Array,
    bucket: jax.Array,
    *,
    num_classes: int,
    distance: Distance | None = None,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """one_hot(label), mixed with one_hot(second_label) by its weight; float32 [B, K]."""
    del state, bucket, distance
    own = jax.nn.one_hot(label, num_classes)
    if second_label is None:
        return own
    gamma = second_weight[:, None]
    return (1 - gamma) * own + gamma * jax.nn.one_hot(second_label, num_classes)


def update(state: LabelState, stats: BucketStats) -> LabelState:
    """The state as it is: nothing is learned."""
    del stats
    return state
