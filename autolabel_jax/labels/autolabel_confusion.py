"""Spreads the rest of AutoLabel's labels as the model confuses the classes in each bucket."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax import calibration
from autolabel_jax.labels import autolabel, base
from autolabel_jax.registry import setting
from autolabel_jax.types import BucketStats, CarriedStats, ConfusionStats, Distance

MOST_NUMBERS = 2**24  # in the state: 64 MiB, which each checkpoint holds too


class ConfusionState(struct.PyTreeNode):
    """Holds the state of AutoLabel, and how the rest of each label is spread."""

    autolabel: base.LabelState
    rest: jax.Array  # float32 [N, K, K], distribution over wrong classes [bucket, class, other]

    @property
    def confidence(self) -> jax.Array:
        """Probability of the true class per bucket, float32 [N]."""
        return self.autolabel.confidence


@dataclasses.dataclass(frozen=True)
class AutoLabelConfusion(autolabel.AutoLabel):
    """Is AutoLabel, but the rest 1 - p of a label follows the held-out confusion of its bucket.

    The weight of a wrong class is its mean held-out probability on examples of the true class in
    the bucket, shrunk to that in all buckets, and this to equal weights; see ``rest_of``.

    Attributes:
      pseudo_count: weight of what the confusion is shrunk to, in examples that are wrong.
    """

    title: ClassVar[str] = "autolabel_confusion"
    reads_confusion: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    pseudo_count: float = setting(
        100.0,
        "shrinks the confusion, in wrong examples",
        valid=lambda count: count > 0,
        needs="above 0",
    )

    def init(  # ty: ignore[incompatible-method-override]  # the state's shape needs the classes
        self,
        own_confidence: jax.Array,
        *,
        num_classes: int,
        num_bins: int = calibration.NUM_BINS,
    ) -> Any:
        """Starts from AutoLabel's first labels, whose rest is spread evenly.

        Raises:
          ValueError: there are too many buckets and classes to store their confusion.
        """
        num = len(own_confidence)
        if num * num_classes**2 > MOST_NUMBERS:
            raise ValueError(
                f"labels.rule: {self.title!r} stores {num} buckets × {num_classes}² classes = "
                f"{num * num_classes**2:,} numbers, must be at most {MOST_NUMBERS:,}; reduce "
                "buckets.num, or use labels.rule='autolabel'"
            )
        return ConfusionState(
            autolabel=super().init(own_confidence, num_bins=num_bins),
            rest=rest_of(jnp.zeros((num, num_classes, num_classes)), self.pseudo_count),
        )

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
        """Gives the true class the confidence of its bucket; see ``base.spread``."""
        del distance
        return base.spread(
            state.confidence[bucket],
            label,
            num_classes=num_classes,
            second_label=second_label,
            second_weight=second_weight,
            rest_weight=state.rest[bucket, label],
        )

    def update(self, state: Any, stats: BucketStats, *, num_groups: int = 1) -> Any:
        """Returns the labels after a calibration pass; an empty bucket does not change."""
        moved = super().update(state.autolabel, _plain(stats), num_groups=num_groups)
        return self._spread(state, moved, stats)

    def update_carried(
        self, state: Any, carried: CarriedStats, *, num_examples: float, num_groups: int = 1
    ) -> Any:
        """Returns the labels after some visits; the confusion is that of the lasting sums."""
        plain = carried.replace(recent=_plain(carried.recent), lasting=_plain(carried.lasting))
        moved = super().update_carried(
            state.autolabel, plain, num_examples=num_examples, num_groups=num_groups
        )
        return self._spread(state, moved, carried.lasting)

    def _spread(
        self, state: ConfusionState, moved: base.LabelState, stats: BucketStats
    ) -> ConfusionState:
        assert isinstance(stats, ConfusionStats)
        measured = (calibration.count(stats) > 0)[:, None, None]
        rest = rest_of(jnp.asarray(stats.confusion), self.pseudo_count)
        return ConfusionState(autolabel=moved, rest=jnp.where(measured, rest, state.rest))

    def metrics(self, state: Any) -> dict[str, jax.Array]:
        """Returns the metrics of AutoLabel."""
        return super().metrics(state.autolabel)


def _plain(stats: BucketStats) -> BucketStats:
    """Returns the statistics without the confusion."""
    return BucketStats(stats.count, stats.correct, stats.confidence)


def rest_of(confusion: jax.Array, pseudo_count: float) -> jax.Array:
    """Returns the distribution over wrong classes in each bucket.

    With sums C_n of a class, m_n = Σ_k C_n[k] and pseudo-count c:

      pooled[k] = (Σ_n C_n[k] + c / (K - 1)) / (Σ_n m_n + c)
      rest_n[k] = (C_n[k] + c · pooled[k]) / (m_n + c)

    Args:
      confusion: float [N, K, K], see ``calibration.confusion``.
      pseudo_count: c, above 0.

    Returns:
      float32 [N, K, K], whose rows sum to 1, with zeros on the diagonals.
    """
    num_classes = confusion.shape[-1]
    evenly = (1 - jnp.eye(num_classes)) / (num_classes - 1)

    def shrink(sums: jax.Array, towards: jax.Array) -> jax.Array:
        return (sums + pseudo_count * towards) / (sums.sum(-1, keepdims=True) + pseudo_count)

    return shrink(confusion, shrink(confusion.sum(0), evenly))
