"""What a label rule is: a state per bucket, soft labels from it, and its update."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax.calibration import NUM_BINS
from autolabel_jax.types import Array, BucketStats, Distance


class LabelState(struct.PyTreeNode):
    """What most rules keep; a rule that learns more has a class of its own beside it."""

    confidence: jax.Array  # float32 [N] in [0, 1], probability of the true class by bucket


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """A label rule; the dataclass fields of a subclass are its settings.

    A subclass defines ``soft_labels``, and whatever else differs from here. ``soft_labels`` and
    ``loss_scale`` read the state, only ``update`` makes a new one. All are pure; all but ``init``
    are jittable.

    Attributes:
      title: name in tables; "": the name in the config.
      learns: whether ``update`` reads the calibration statistics.
      augmentations: names of the augmentations that it is made for; (): any.
      in_name: settings that ``row_name`` tells.
      reads_distance: whether labels follow each example's distance, not its bucket.
      sweep: settings of its rows in sweeps over label rules; (): it is in none of them.
    """

    title: ClassVar[str] = ""
    learns: ClassVar[bool] = False
    augmentations: ClassVar[tuple[str, ...]] = ()
    in_name: ClassVar[tuple[str, ...]] = ()
    reads_distance: ClassVar[bool] = False
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.title or type(self).__name__

    @classmethod
    def row_name(cls, settings: Mapping[str, Any]) -> str:
        """Name of a row of a table, with the settings of ``in_name``.

        Args:
          settings: values by the names of the settings; some may be missing.
        """
        del settings
        return cls.title or cls.__name__

    def init(self, own_confidence: jax.Array, *, num_bins: int = NUM_BINS) -> Any:
        """The state before training: the labels that the augmentation itself would use.

        Args:
          own_confidence: float [N]; 1 everywhere but for mixup, where it is 1 - γ at the middle
            of the bucket.
          num_bins: R, confidence bins of the statistics that ``update`` will read.

        Returns:
          A pytree, saved with the run.
        """
        del num_bins
        return LabelState(confidence=jnp.asarray(own_confidence, jnp.float32))

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
        """Soft labels of a batch.

        Args:
          state: from ``init`` or ``update``.
          label: int32 [B], the dominant class.
          bucket: int32 [B] in [0, N).
          num_classes: K, at least 2.
          distance: of each example [B].
          second_label: int32 [B], class of the image mixed in (mixup), or None.
          second_weight: float [B] in [0, 1/2], its share γ, or None.

        Returns:
          float32 [B, K], rows sum to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no soft_labels")

    def update(self, state: Any, stats: BucketStats, *, num_groups: int = 1) -> Any:
        """The state after a calibration pass; here it stays as it is.

        Args:
          state: before.
          stats: sums [N, R] over held-out augmented examples.
          num_groups: G; buckets of one group stand together.
        """
        del stats, num_groups
        return state

    def loss_scale(self, state: Any, bucket: jax.Array) -> tuple[jax.Array, jax.Array] | None:
        """What logits are multiplied by and the loss is divided by, float32 [B] each; None: 1."""
        del state, bucket
        return None

    def metrics(self, state: Any) -> dict[str, jax.Array]:
        """What the log shows of the state: float32 [N] by name; 'confidence' is always there."""
        return {"confidence": state.confidence}


def spread(
    confidence: Array,
    label: jax.Array,
    *,
    num_classes: int,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
) -> jax.Array:
    """Distributions with a given probability of the true class.

    Unmixed, the rest is spread evenly over the other K - 1 classes. In a
    mixture with a share γ of class y_i, that class gets min(p·γ/(1-γ), 1-p),
    which keeps the ratio γ : 1-γ of the two, and the rest goes evenly over
    the other K - 2; where both images are of one class, it gets both parts.
    With two classes, the other one gets all the rest.

    Args:
      confidence: float [B], p.
      label: int32 [B].
      num_classes: K, at least 2.
      second_label: int32 [B] or None.
      second_weight: float [B], γ in [0, 1/2], or None.

    Returns:
      float32 [B, K].
    """
    true = jax.nn.one_hot(label, num_classes)
    mine = jnp.asarray(confidence)[:, None] * true
    if second_label is None:
        named, second = true, jnp.zeros_like(true)
    else:
        assert second_weight is not None
        gamma = second_weight
        share = jnp.minimum(confidence * gamma / (1 - gamma), 1 - confidence)
        mixed = jax.nn.one_hot(second_label, num_classes) * (gamma > 0)[:, None]
        second = share[:, None] * mixed
        named = jnp.maximum(true, mixed)
    given = mine + second
    rest = jnp.maximum(1 - given.sum(-1, keepdims=True), 0)
    others = num_classes - named.sum(-1, keepdims=True)
    # With no other class left (K = 2), the class mixed in takes the rest.
    evenly = jnp.where(others > 0, (1 - named) / jnp.maximum(others, 1), named - true)
    return given + rest * evenly
