"""Defines the base class of training losses, and the cross-entropy."""

import dataclasses
from typing import ClassVar

import jax

from autolabel_jax.losses import cross_entropies, views
from autolabel_jax.registry import setting


@dataclasses.dataclass(frozen=True)
class Loss:
    """Computes the training loss of each example; dataclass fields of a subclass are its settings.

    A subclass defines ``of``. Evaluation and attacks use the cross-entropy, whatever the loss is.

    With ``jsd``, or with several ``copies``, a step sees several views of each example, in one call
    of the model: the clean input if ``has_clean``, and then ``num_copies`` augmented ones, whose
    distances are drawn independently. Their losses become one loss of the example:

    - ``jsd`` λ: the loss of the clean view + λ · the Jensen-Shannon divergence of the predictions
      on the clean view and two copies (AugMix, Hendrycks et al. 2020, with λ = 12). With
      ``jsd_labels='all'``, the mean loss of the three views replaces that of the clean one.
    - ``copies`` n: Σ_i w_i ℓ_i with w = softmax(ℓ / T), through which no gradient passes (Yi et al.
      2021, "Reweighting Augmented Samples by Minimizing the Maximal Expected Loss"). With
      ``copies_labels='hard'``, each copy has its own label. With 'soft', the label of the copies is
      the prediction on the clean view, and the loss of that view is added.

    Attributes:
      title: name in tables ("" = name of the class).
      jsd: weight λ.
      jsd_labels: views whose labels are used.
      copies: number of copies n.
      copies_labels: labels of the copies.
      copies_temperature: temperature T; towards ∞ the mean of the copies, at 0 the largest loss.
      copies_weight: factor of Σ_i w_i ℓ_i beside the loss of the clean view.
    """

    title: ClassVar[str] = ""

    jsd: float = setting(0.0, "weight of AugMix's Jensen-Shannon divergence (0 = off)", low=0)
    jsd_labels: str = setting(
        "clean", "jsd: the label counts on the 'clean' view or on 'all'", choices=("clean", "all")
    )
    copies: int = setting(1, "number of augmented copies of an example in a step", low=1, high=100)
    copies_labels: str = setting(
        "hard",
        "labels of copies: 'hard', from the rule, or 'soft', predicted on the clean input",
        choices=("hard", "soft"),
    )
    copies_temperature: float = setting(
        1.0, "copies are weighted by softmax(loss / temperature)", low=0
    )
    copies_weight: float = setting(1.0, "soft: factor of the loss of the copies", low=0)

    @property
    def num_copies(self) -> int:
        """Number of augmented views of each example."""
        return 2 if self.jsd else self.copies

    @property
    def has_clean(self) -> bool:
        """Whether the clean input is a view too, the first."""
        return self.jsd > 0 or self.copies_labels == "soft"

    @property
    def num_views(self) -> int:
        """Number of views V of each example."""
        return self.num_copies + self.has_clean

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

    def of_views(
        self,
        logits: jax.Array,
        soft_label: jax.Array,
        scale: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Returns the loss of each example, float32 [B], from its V views; see the class.

        Args:
          logits: float [B·V, K]; the views of an example are consecutive.
          soft_label: float [B·V, K].
          scale: as in ``__call__``, float32 [B·V] each.
        """
        num, num_classes = self.num_views, logits.shape[-1]
        if num == 1:
            return self(logits, soft_label, scale)
        grouped = logits.reshape(-1, num, num_classes)
        if self.copies_labels == "soft":
            soft_label = views.labels_from_first(grouped, soft_label.reshape(grouped.shape))
            soft_label = soft_label.reshape(logits.shape)
        loss = self(logits, soft_label, scale).reshape(-1, num)
        if self.jsd:
            labelled = loss[:, 0] if self.jsd_labels == "clean" else loss.mean(-1)
            return labelled + self.jsd * views.jensen_shannon(grouped)
        if self.has_clean:
            copies = views.reweighted(loss[:, 1:], self.copies_temperature)
            return loss[:, 0] + self.copies_weight * copies
        return views.reweighted(loss, self.copies_temperature)


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Loss):
    """Gives -Σ_k ỹ_k log f_k with f = softmax(logits)."""

    title: ClassVar[str] = "cross_entropy"

    def of(self, logits: jax.Array, soft_label: jax.Array) -> jax.Array:
        """Returns the cross-entropy of each example."""
        return cross_entropies.cross_entropy(logits, soft_label)
