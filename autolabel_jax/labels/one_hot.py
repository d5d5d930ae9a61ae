"""Uses the augmentation's own labels: one-hot, or mixtures of two classes for mixup."""

import dataclasses
from typing import Any, ClassVar

import jax

from autolabel_jax.labels import base
from autolabel_jax.types import Distance


@dataclasses.dataclass(frozen=True)
class OneHot(base.LabelRule):
    """Gives one_hot(label), mixed with one_hot(second_label) by its weight."""

    title: ClassVar[str] = "one_hot"

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
        """Returns the augmentation's own labels; the state is not read."""
        del state, bucket, distance
        own = jax.nn.one_hot(label, num_classes)
        if second_label is None:
            return own
        assert second_weight is not None
        gamma = second_weight[:, None]
        return (1 - gamma) * own + gamma * jax.nn.one_hot(second_label, num_classes)
