"""Defines the base class of training losses, and the cross-entropy."""

import dataclasses
from typing import ClassVar

import jax

from autolabel_jax.losses import cross_entropies


@dataclasses.dataclass(frozen=True)
class Loss:
    """Computes the training loss of each example; dataclass fields of a subclass are its settings.

    A subclass defines ``of``. Evaluation and attacks use the cross-entropy, whatever the loss is.

    Attributes:
      title: name in tables ("" = name of the class).
    """

    title: ClassVar[str] = ""

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the loss of each example, float32 [B].

        Args:
          logits: float [B, K].
          soft_label: float [B, K], whose rows sum to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def __call__(
        self,
        logits: jax.Array,
        soft_label: jax.Array,
        scale: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Returns the loss of each example, float32 [B], with the scale of a label rule.

        Args:
          logits: float [B, K].
          soft_label: float [B, K], whose rows sum to 1.
          scale: factor of the logits, float32 [B], and divisor of the loss, float32 [B].
        """
        if scale is None:
            return self.of(logits, soft_label)
        factor, divisor = scale
        return self.of(factor[:, None] * logits, soft_label) / divisor


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Loss):
    """Gives -Σ_k ỹ_k log f_k with f = softmax(logits)."""

    title: ClassVar[str] = "cross_entropy"

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the cross-entropy of each example."""
        return cross_entropies.cross_entropy(logits, soft_label)
