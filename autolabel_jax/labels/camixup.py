"""Mixes only the examples of classes on which the model is over-confident.

Wen et al. (2021), "Combining Ensembles and Data Augmentation can Harm your Calibration",
section 4: CAMixup, confidence-adjusted mixup.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base, one_hot
from autolabel_jax.types import BucketStats, Distance

FIRST_GAP = -1.0  # the lowest one


class CAMixupState(base.LabelState):
    """Holds the gap of each class; the confidence is always that of the augmentation's labels."""

    class_gap: jax.Array  # float32 [K] in [-1, 1], confidence - accuracy


@dataclasses.dataclass(frozen=True)
class CAMixup(one_hot.OneHot):
    """Gives the augmentation's own labels, at distance 0 where the gap of the class is below 0.

    The gap is Conf_k - Acc_k of the unmoved held-out examples of class k after the last update.
    It starts at -1, so that no example is mixed before the first update, as in the authors' code.
    An example is mixed, or not, by its own class, which dominates the mixture.
    """

    title: ClassVar[str] = "camixup"
    learns: ClassVar[bool] = True
    augmentations: ClassVar[tuple[str, ...]] = ("mixup", "cutmix", "mixup_cutmix")
    reads_classes: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    def init(  # ty: ignore[incompatible-method-override]  # the state's shape needs the classes
        self,
        own_confidence: jax.Array,
        *,
        num_classes: int,
        num_bins: int = calibration.NUM_BINS,
    ) -> CAMixupState:
        """Makes the state before the first update, which mixes no example."""
        del num_bins
        return CAMixupState(
            confidence=jnp.asarray(own_confidence, jnp.float32),
            class_gap=jnp.full(num_classes, FIRST_GAP, jnp.float32),
        )

    def distance(self, state: CAMixupState, label: jax.Array, drawn: Distance) -> Distance:
        """Returns the drawn distance where the model is over-confident on the class, and else 0."""
        mixes = state.class_gap[label] >= 0
        return drawn.replace(value=jnp.where(mixes, drawn.value, 0))

    def update_classes(self, state: CAMixupState, stats: BucketStats) -> CAMixupState:
        """Replaces the gap of every class that has held-out examples."""
        measured = calibration.count(stats) > 0
        gap = jnp.where(measured, calibration.gap(stats), state.class_gap)
        return state.replace(class_gap=gap)

    def metrics(self, state: CAMixupState) -> dict[str, jax.Array]:
        """Returns the labels, and the gap of each class, float32 [K]."""
        return {**super().metrics(state), "class_gap": state.class_gap}
