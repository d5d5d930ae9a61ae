"""Collects features of the inputs in the same forward pass as their logits.

Networks record them with ``layers.record`` and ``layers.BatchNorm``. A network from outside the
project that records nothing has no features.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct, traverse_util

from autolabel_jax.models import layers


class Features(struct.PyTreeNode):
    """Holds what a network records of each input besides its logits; None or () if it does not.

    Residual networks record a stage after each of their residual stages, ``small_cnn`` after each
    convolution and ``mlp`` after each hidden layer, in this order.
    """

    stages: tuple[jax.Array, ...]  # float32 [B, C_i], mean over positions
    penultimate: jax.Array | None  # float32 [B, D], input of the last layer
    drift: jax.Array | None  # float32 [B, 2], batch-norm drift, mean over layers, see ``layers``
    disagreement: jax.Array | None = None  # float32 [B], of several views, see ``evaluation.views``


def forward(
    model: nn.Module, variables: dict[str, Any], inputs: jax.Array
) -> tuple[jax.Array, Features]:
    """Computes logits and features in inference mode.

    Args:
      model: model from ``models.create``.
      variables: its variables.
      inputs: float32 [B, ...] in the range of the data.

    Returns:
      (logits float32 [B, K], those of the plain pass up to rounding, and Features).
    """
    logits, recorded = model.apply(variables, inputs, train=False, mutable=[layers.FEATURES])
    by_name: dict[str, list[jax.Array]] = {}  # in the order of the network
    for path, values in traverse_util.flatten_dict(recorded.get(layers.FEATURES, {})).items():
        by_name.setdefault(path[-1], []).extend(values)
    drift = [by_name.get(name, []) for name in (layers.MEAN_DRIFT, layers.VARIANCE_DRIFT)]
    by_layer = jnp.array(drift)  # [2, layers, B]
    return logits, Features(
        stages=tuple(by_name.get(layers.STAGE, ())),
        penultimate=next(iter(by_name.get(layers.PENULTIMATE, ())), None),
        drift=by_layer.mean(1).T if by_layer.size else None,
        disagreement=next(iter(by_name.get(layers.DISAGREEMENT, ())), None),
    )
