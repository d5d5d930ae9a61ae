"""Computes the cross-entropy of each example from logits and labels, and weights of classes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict


def cross_entropy(
    logits: jax.Array, soft_label: jax.Array, scale: tuple[jax.Array, jax.Array] | None = None
) -> jax.Array:
    """Returns -Σ_k ỹ_k log f_k with f = softmax(logits), in nats.

    Args:
      logits: float [B, K].
      soft_label: float [B, K], whose rows sum to 1.
      scale: factor of the logits, float32 [B], and divisor of the loss, float32 [B].

    Returns:
      float32 [B].
    """
    if scale is not None:
        factor, divisor = scale
        return cross_entropy(factor[:, None] * logits, soft_label) / divisor
    return optax.losses.softmax_cross_entropy(
        logits.astype(jnp.float32), soft_label.astype(jnp.float32)
    )


def integer_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns -log f_label, the loss of one-hot labels, in nats.

    Args:
      logits: float [B, K].
      label: int32 [B] in [0, K).

    Returns:
      float32 [B].
    """
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), label)


def given_weights(config: ConfigDict) -> list[float] | None:
    """Reads the weights of ``class_weights``; None for 'none' and 'balanced'.

    Raises:
      ValueError: it is none of these, and no positive numbers either.
    """
    text = config.class_weights
    if text in ("none", "balanced"):
        return None
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = [math.nan]
    if not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"class_weights: got {text!r}, expected 'none', 'balanced', or a positive number for "
            "each class, such as '1,2.5,1'"
        )
    return weights


def class_weights(config: ConfigDict, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the weight of each class in the loss, float32 [K].

    'balanced' gives n / (K·n_k), as ``compute_class_weight`` of scikit-learn, where K counts the
    classes that have examples; their mean over the examples is 1. A class without examples gets 1.

    Args:
      config: config with ``class_weights`` other than 'none'.
      label: labels of the training examples, int [n].
      num_classes: number of classes K.

    Raises:
      ValueError: the number of weights differs from that of classes.
    """
    weights = given_weights(config)
    if weights is None:
        counts = np.bincount(label, minlength=num_classes)
        balanced = len(label) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.where(counts > 0, balanced, 1).astype(np.float32)
    if len(weights) != num_classes:
        raise ValueError(
            f"class_weights: got {len(weights)} numbers for {num_classes} classes; give one for "
            "each class, in the order of class_names in dataset.json"
        )
    return np.array(weights, np.float32)
