"""Logits and soft labels → cross-entropy of each example, in float32."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, soft_label: jax.Array) -> jax.Array:
    """-Σ_k ỹ_k log f_k with f = softmax(logits); nats.

    Args:
      logits: float [B, K].
      soft_label: float [B, K], rows sum to 1.

    Returns:
      float32 [B].
    """
    return optax.losses.softmax_cross_entropy(
        logits.astype(jnp.float32), soft_label.astype(jnp.float32)
    )


def integer_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """-log f_label, the loss of one-hot labels; nats.

    Args:
      logits: float [B, K].
      label: int32 [B] in [0, K).

    Returns:
      float32 [B].
    """
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), label)


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the rows that count, float32 []; 0, and no gradient, where none does.

    Args:
      values: float [B], finite.
      mask: float or bool [B], 1 for rows that count and 0 for padding.
    """
    mask = mask.astype(jnp.float32)
    return jnp.sum(values * mask) / jnp.maximum(jnp.sum(mask), 1)
