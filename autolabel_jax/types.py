"""Defines the pytrees that more than one module uses, with their shapes.

Symbols: B examples in a batch, K classes, G groups (the discrete part of a
distance), N buckets in total, R confidence bins, ``...`` the shape of one input.
"""

from typing import Any, Protocol

import jax
import numpy as np
from flax import struct

# An array on the device or on the host. Functions and pytrees that accept both use this type.
Array = jax.Array | np.ndarray


class InputGradient(Protocol):
    """Computes the gradient of each example's cross-entropy in its input, in inference mode."""

    def __call__(self, inputs: jax.Array, label: jax.Array) -> jax.Array:
        """Maps inputs float32 [B, ...], in the data's range, and label int32 [B] to [B, ...]."""
        ...


class Batch(struct.PyTreeNode):
    """Holds clean examples on the device.

    ``mask`` is 0 for the rows that pad a short last batch; no result depends on them.
    """

    input: jax.Array  # uint8 or float32 [B, ...]
    label: jax.Array  # int32 [B]
    index: jax.Array  # int32 [B], row of the example in its split
    mask: jax.Array  # float32 [B], 1 or 0
    distance: jax.Array  # float32 [B] in [0, 1], given with the data or 0
    group: jax.Array | None = None  # int32 [B], of a distance given with the data; None = 0


class Distance(struct.PyTreeNode):
    """Says how far an augmentation moves each example from its clean input."""

    group: Array  # int32 [B] in [0, G): chain depth, number of operations
    value: Array  # float32 [B] in [0, 1]


class Augmented(struct.PyTreeNode):
    """Holds augmented examples, with what the label rules need to know about them.

    A mixed input has a share ``second_weight`` of an input of class ``second_label``. In an input
    that is not mixed, the weight is 0 and ``second_label`` equals ``label``.
    """

    input: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B], class that dominates the input
    distance: Distance
    second_label: jax.Array  # int32 [B]
    second_weight: jax.Array  # float32 [B] in [0, 1/2]


class BucketStats(struct.PyTreeNode):
    """Holds sums over examples, by distance bucket and confidence bin.

    They merge by addition, so they do not depend on how the data are divided into batches.
    """

    count: Array  # float32 [N, R]
    correct: Array  # float32 [N, R]
    confidence: Array  # float32 [N, R], sum of top probabilities


# This is a separate class for the same reason as ``AveragedTrainState``.
class ConfusionStats(BucketStats):
    """Holds statistics for rules that read which wrong classes the model predicts."""

    confusion: Array  # float32 [N, K, K], sum of probabilities [bucket, class, other class]


class CarriedStats(struct.PyTreeNode):
    """Holds sums of earlier visits too, which count less the older they are."""

    recent: BucketStats  # of a few epochs
    lasting: BucketStats  # of about as many visits as a full pass makes
    recent_clean: BucketStats  # [N, 1], of the same examples unmoved; zeros if they are not known
    lasting_clean: BucketStats
    clean: BucketStats  # [1, 1], of all held-out examples unmoved, this epoch


class StepMetrics(struct.PyTreeNode):
    """Holds sums over the examples of one or more training steps."""

    loss: Array  # float32 [], sum of losses with the soft labels
    correct: Array  # float32 [], number of examples whose top class is the dominant class
    count: Array  # float32 [], number of examples


class TrainState(struct.PyTreeNode):
    """Holds everything that changes in training; it is saved and restored as a whole."""

    step: jax.Array  # int32 [], number of optimiser updates so far
    params: Any  # float32 tree
    batch_stats: Any  # float32 tree, running statistics of batch norm
    opt_state: Any
    ema_params: Any  # like params, or None if EMA is off
    labels: Any  # state of the label rule, see ``labels.LabelRule``


# This is a separate class because checkpoints store fields even if they are None, so that a state
# without EMA could not be restored from those that were saved before the field existed.
class AveragedTrainState(TrainState):
    """Holds the state of a run with EMA."""

    ema_batch_stats: Any  # like batch_stats, averaged with the same weights as ema_params
