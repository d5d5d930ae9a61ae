"""Defines the base class of label rules: state per bucket, soft labels, and update."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax.calibration import NUM_BINS
from autolabel_jax.datasets import Dataset
from autolabel_jax.types import Array, BucketStats, CarriedStats, Distance


class LabelState(struct.PyTreeNode):
    """Holds the state of most rules; a rule with more state defines a subclass."""

    confidence: jax.Array  # float32 [N] in [0, 1], probability of the true class per bucket


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """Makes soft labels; the dataclass fields of a subclass are its settings.

    A subclass defines ``soft_labels``, and overrides what differs from this class. ``soft_labels``
    and ``loss_scale`` read the state; ``update`` and ``store`` return a new one. All methods are
    pure, and all except ``init`` are jittable.

    Attributes:
      title: name in tables ("" = name of the class).
      learns: whether ``update`` uses the calibration statistics.
      augmentations: names of the supported augmentations (() = all).
      in_name: settings that are part of ``row_name``.
      reads_distance: whether labels depend on each example's distance instead of its bucket.
      reads_confusion: whether ``update`` gets ConfusionStats, and ``init`` the keyword argument
        ``num_classes``.
      reads_teacher: whether ``soft_labels`` gets the keyword argument ``teacher_logits``: float
        [B, K], of the moving average of the parameters on the inputs before they are moved.
      reads_examples: whether each training example has a label of its own: ``init`` gets the
        keyword arguments ``num_classes`` and ``num_examples``, ``soft_labels`` gets ``index``:
        int32 [B], rows of the training split, and each step calls ``follow`` and ``store``; see
        ``examples.PerExample``.
      reads_classes: whether the rule reads how the model does on each class: ``init`` gets the
        keyword argument ``num_classes``, and each update calls ``update_classes``.
      sweep: settings of each run of the rule in sweeps over label rules (() = no run).
    """

    title: ClassVar[str] = ""
    learns: ClassVar[bool] = False
    augmentations: ClassVar[tuple[str, ...]] = ()
    in_name: ClassVar[tuple[str, ...]] = ()
    reads_distance: ClassVar[bool] = False
    reads_confusion: ClassVar[bool] = False
    reads_teacher: ClassVar[bool] = False
    reads_examples: ClassVar[bool] = False
    reads_classes: ClassVar[bool] = False
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.title or type(self).__name__

    @classmethod
    def row_name(cls, settings: Mapping[str, Any]) -> str:
        """Returns the name of a row in a table, with the settings of ``in_name``.

        Args:
          settings: values by name of the setting; some can be missing.
        """
        del settings
        return cls.title or cls.__name__

    def init(self, own_confidence: jax.Array, *, num_bins: int = NUM_BINS) -> Any:
        """Makes the state before training, which gives the augmentation's own labels.

        Args:
          own_confidence: float [N]; 1 except for mixup and CutMix, where it is 1 - γ at the middle
            of the bucket.
          num_bins: number of confidence bins R in the statistics for ``update``.

        Returns:
          A pytree, which is saved with the run.
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
        """Returns the soft labels of a batch.

        Args:
          state: state from ``init`` or ``update``.
          label: int32 [B], dominant class.
          bucket: int32 [B] in [0, N).
          num_classes: number of classes K, at least 2.
          distance: Distance [B] of each example.
          second_label: int32 [B], class of the input mixed in (mixup), or None.
          second_weight: float [B] in [0, 1/2], its share γ, or None.

        Returns:
          float32 [B, K], whose rows sum to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no soft_labels")

    def update(self, state: Any, stats: BucketStats, *, num_groups: int = 1) -> Any:
        """Returns the state after a calibration pass; by default the same state.

        Args:
          state: state before the pass.
          stats: sums [N, R] over held-out augmented examples.
          num_groups: number of groups G; the buckets of a group are consecutive.
        """
        del stats, num_groups
        return state

    def update_carried(
        self, state: Any, carried: CarriedStats, *, num_examples: float, num_groups: int = 1
    ) -> Any:
        """Returns the state after some visits; by default as after a pass with the recent sums.

        Args:
          state: state before the visits.
          carried: carried sums [N, R] of visits.
          num_examples: number of examples in a bucket in a full pass.
          num_groups: as in ``update``.
        """
        del num_examples
        return self.update(state, carried.recent, num_groups=num_groups)

    def update_classes(self, state: Any, stats: BucketStats) -> Any:
        """Returns the state after an update, by class; by default the same state.

        Args:
          state: state after ``update`` or ``update_carried``.
          stats: sums [K, 1] over all unmoved held-out examples, by their class.
        """
        del stats
        return state

    def distance(self, state: Any, label: jax.Array, drawn: Distance) -> Distance:
        """Returns by what distance training examples are moved; by default as the method draws.

        Args:
          state: state from ``init`` or ``update``.
          label: int32 [B].
          drawn: Distance [B], drawn by the augmentation.
        """
        del state, label
        return drawn

    def loss_scale(self, state: Any, bucket: jax.Array) -> tuple[jax.Array, jax.Array] | None:
        """Returns the factor of logits and the divisor of the loss, float32 [B] each; None = 1."""
        del state, bucket
        return None

    def first_targets(self, dataset: Dataset) -> np.ndarray | None:
        """Returns what a new run puts into the field ``target`` of the state; None: nothing.

        Args:
          dataset: data of the run.
        """
        del dataset
        return None

    def follow(
        self, soft_label: jax.Array, logits: jax.Array, *, epoch: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the labels of a step, and weights of its examples, by the model's own logits.

        No gradient passes through them. It is called only with ``reads_examples``.

        Args:
          soft_label: float32 [B, K], from ``soft_labels``.
          logits: float [B, K], of the model in training mode on the augmented inputs.
          epoch: int32 [], index of the epoch.

        Returns:
          Labels float32 [B, K], and weights float32 [B], which are divided by their mean over the
          whole batch.
        """
        del logits, epoch
        return soft_label, jnp.ones(len(soft_label))

    def store(self, state: Any, index: jax.Array, target: jax.Array) -> Any:
        """Returns the state after a step; by default the same state.

        Args:
          state: state before the step.
          index: int32 [B], rows of the examples in the training split, each at most once.
          target: labels [B, K] from ``follow``.
        """
        del index, target
        return state

    def metrics(self, state: Any) -> dict[str, jax.Array]:
        """Returns the metrics of the state for the log, a vector each; 'confidence' [N] always."""
        return {"confidence": state.confidence}


def spread(
    confidence: Array,
    label: jax.Array,
    *,
    num_classes: int,
    second_label: jax.Array | None = None,
    second_weight: jax.Array | None = None,
    rest_weight: jax.Array | None = None,
) -> jax.Array:
    """Makes distributions with a given probability of the true class.

    Without a mixture, the rest is spread evenly over the other K - 1 classes. In
    a mixture with a share γ of class y_i, that class gets min(p·γ/(1-γ), 1-p),
    which keeps the ratio γ : 1-γ of the two classes, and the rest is spread
    evenly over the other K - 2. If both inputs have the same class, it gets both
    parts. If K is 2, the other class gets all the rest. With ``rest_weight`` the
    rest is spread in proportion to it instead of evenly.

    Args:
      confidence: float [B], probability p.
      label: int32 [B].
      num_classes: number of classes K, at least 2.
      second_label: int32 [B] or None.
      second_weight: float [B], share γ in [0, 1/2], or None.
      rest_weight: float [B, K], positive for all classes but ``label``, or None.

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
    spread_over = (1 - named) / jnp.maximum(others, 1)
    if rest_weight is not None:
        weight = (1 - named) * rest_weight
        spread_over = weight / jnp.maximum(weight.sum(-1, keepdims=True), 1e-30)
    # If no other class is left (K = 2), the class mixed in gets the rest.
    return given + rest * jnp.where(others > 0, spread_over, named - true)
