"""The bucket's held-out accuracy as the label: where AutoLabel's clip would end."""

import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import autolabel
from autolabel_jax.types import BucketStats, LabelState

init = autolabel.init
soft_labels = autolabel.soft_labels


def update(state: LabelState, stats: BucketStats) -> LabelState:
    """confidence[n] ← Acc_n; an empty bucket stays."""
    measured = calibration.count(stats) > 0
    return state.replace(
        confidence=jnp.where(measured, calibration.accuracy(stats), state.confidence)
    )
