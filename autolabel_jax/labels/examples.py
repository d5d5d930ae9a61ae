"""Defines the state of rules that give each training example a label of its own."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base

MOST_NUMBERS = 2**26  # in the state: 256 MiB, which each checkpoint holds too


class PerExampleState(base.LabelState):
    """Holds the targets; the confidence is always that of the augmentation's own labels."""

    target: jax.Array  # float32 [n, K], of each training example; 0 where there is none yet


@dataclasses.dataclass(frozen=True)
class PerExample(base.LabelRule):
    """Starts without targets; ``soft_labels`` of a subclass reads them by ``targets``."""

    reads_examples: ClassVar[bool] = True

    def init(  # ty: ignore[incompatible-method-override]  # the state's shape needs the examples
        self,
        own_confidence: jax.Array,
        *,
        num_classes: int,
        num_examples: int,
        num_bins: int = calibration.NUM_BINS,
    ) -> PerExampleState:
        """Makes the state with a row for each training example.

        Raises:
          ValueError: there are too many examples and classes to store the targets.
        """
        del num_bins
        if num_examples * num_classes > MOST_NUMBERS:
            raise ValueError(
                f"labels.rule: {self.name!r} stores {num_examples:,} examples × {num_classes} "
                f"classes = {num_examples * num_classes:,} numbers, must be at most "
                f"{MOST_NUMBERS:,}; reduce train_examples"
            )
        return PerExampleState(
            confidence=jnp.asarray(own_confidence, jnp.float32),
            target=jnp.zeros((num_examples, num_classes)),
        )

    def targets(self, state: PerExampleState, index: jax.Array, own: jax.Array) -> jax.Array:
        """Returns the targets of a batch, float32 [B, K].

        Args:
          state: state of the rule.
          index: int32 [B], rows of the examples in the training split.
          own: float32 [B, K], labels of examples that have no target yet.
        """
        target = state.target[index]
        return jnp.where(target.sum(-1, keepdims=True) == 0, own, target)
