"""Pytrees that more than one module uses, with their shapes.

Symbols: B examples in a batch, K classes, G groups (the discrete part of a
distance), N buckets in all, R confidence bins, ``...`` the shape of one input.
"""

from typing import Any, Protocol

import jax
import numpy as np
from flax import struct

# On the device or on the host: functions that only compute take both.
Array = jax.Array | np.ndarray


class InputGradient(Protocol):
    """Gradient of each example's cross-entropy in its own input, in inference mode."""

    def __call__(self, inputs: jax.Array, label: jax.Array) -> jax.Array:
        """Inputs float32 [B, ...] in the value range of the data, label int32 [B] → [B, ...]."""
        ...


class Batch(struct.PyTreeNode):
    """Clean examples on the device.

    ``mask`` is 0 for the rows that pad a last short batch; they count nowhere.
    """

    input: jax.Array  # uint8 or float32 [B, ...]
    label: jax.Array  # int32 [B]
    index: jax.Array  # int32 [B], place of the example in its split
    mask: jax.Array  # float32 [B], 1 or 0
    distance: jax.Array  # float32 [B] in [0, 1], given with the data or 0


class Distance(struct.PyTreeNode):
    """How far an augmentation moves each example from its clean self."""

    group: jax.Array  # int32 [B] in [0, G): chain depth, number of operations
    value: jax.Array  # float32 [B] in [0, 1]


class Augmented(struct.PyTreeNode):
    """Augmented examples, with what the label rules need to know of them.

    A mixed input holds ``second_weight`` of an input of class ``second_label``; elsewhere the
    weight is 0 and the class is the example's own.
    """

    input: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B], class that dominates the input
    distance: Distance
    second_label: jax.Array  # int32 [B]
    second_weight: jax.Array  # float32 [B] in [0, 1/2]


class BucketStats(struct.PyTreeNode):
    """Sums over examples, by distance bucket and confidence bin.

    They merge by addition, so any split of the data gives the same statistics.
    """

    count: jax.Array  # float32 [N, R]
    correct: jax.Array  # float32 [N, R]
    confidence: jax.Array  # float32 [N, R], sum of top probabilities


class StepMetrics(struct.PyTreeNode):
    """Sums over the examples of one training step (or of many, added up)."""

    loss: jax.Array  # float32 [], sum of cross-entropies with the soft labels
    correct: jax.Array  # float32 [], the top class is the dominant class
    count: jax.Array  # float32 []


class TrainState(struct.PyTreeNode):
    """All that a training run carries; saved and restored whole."""

    step: jax.Array  # int32 [], optimiser updates so far
    params: Any  # float32 tree
    batch_stats: Any  # float32 tree, running statistics of batch norm
    opt_state: Any
    ema_params: Any  # like params, or None where EMA is off
    labels: Any  # state of the label rule, see ``labels.LabelRule``
