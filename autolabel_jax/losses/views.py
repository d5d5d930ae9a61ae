"""Combines the predictions and the losses of several views of each example, in float32.

``losses.Loss`` says which views there are, and cites the methods.
"""

import jax
import jax.numpy as jnp


def jensen_shannon(logits: jax.Array) -> jax.Array:
    """Returns the Jensen-Shannon divergence of the predictions on V views, in nats.

    It is the mean over views of KL(f_v ‖ mean of f), with f = softmax(logits). The authors of
    AugMix bound the mean by 1e-7 from below; with logarithms no bound is needed.

    Args:
      logits: float [B, V, K].

    Returns:
      float32 [B], in [0, log V].
    """
    log_f = jax.nn.log_softmax(logits.astype(jnp.float32))
    log_mean = jax.nn.logsumexp(log_f, axis=1, keepdims=True) - jnp.log(log_f.shape[1])
    return jnp.sum(jnp.exp(log_f) * (log_f - log_mean), -1).mean(-1)


def weights(loss: jax.Array, temperature: float) -> jax.Array:
    """Returns softmax(loss / temperature) over the copies of an example; no gradient passes.

    Args:
      loss: float32 [B, n].
      temperature: temperature; 0 gives the copy with the largest loss all the weight.

    Returns:
      float32 [B, n], whose rows sum to 1.
    """
    loss = jax.lax.stop_gradient(loss)
    if temperature == 0:
        return jax.nn.one_hot(loss.argmax(-1), loss.shape[-1])
    return jax.nn.softmax((loss - loss.max(-1, keepdims=True)) / temperature)


def reweighted(loss: jax.Array, temperature: float) -> jax.Array:
    """Returns the sum of the losses of the copies by their ``weights``, float32 [B]."""
    return jnp.sum(weights(loss, temperature) * loss, -1)


def labels_from_first(logits: jax.Array, soft_label: jax.Array) -> jax.Array:
    """Replaces the labels of all views except the first by the prediction on the first.

    Args:
      logits: float [B, V, K]; no gradient passes.
      soft_label: float [B, V, K].

    Returns:
      float32 [B, V, K].
    """
    first = jax.lax.stop_gradient(logits[:, :1]).astype(jnp.float32)
    predicted = jnp.broadcast_to(jax.nn.softmax(first), soft_label.shape)
    return jnp.concatenate([soft_label[:, :1], predicted[:, 1:]], axis=1)
