"""Uses the held-out accuracy of a bucket as its label, which is AutoLabel's lower bound."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base
from autolabel_jax.labels.autolabel import AutoLabel
from autolabel_jax.types import BucketStats


@dataclasses.dataclass(frozen=True)
class BucketAccuracy(base.LabelRule):
    """Sets confidence[n] ← Acc_n; the label of an empty bucket does not change."""

    title: ClassVar[str] = "bucket_accuracy"
    learns: ClassVar[bool] = True

    soft_labels = AutoLabel.soft_labels

    def update(
        self, state: base.LabelState, stats: BucketStats, *, num_groups: int = 1
    ) -> base.LabelState:
        """Replaces the label of every bucket that was measured."""
        del num_groups
        measured = calibration.count(stats) > 0
        return state.replace(
            confidence=jnp.where(measured, calibration.accuracy(stats), state.confidence)
        )
