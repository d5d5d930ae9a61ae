"""Computes the cross-entropy of each example from logits and labels, in float32."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, soft_label: jax.Array) -> jax.Array:
    """Returns -Σ_k ỹ_k log f_k with f = softmax(logits), in nats.

    Args:
      logits: float [B, K].
      soft_label: float [B, K], whose rows sum to 1.

    Returns:
      float32 [B].
    """
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
