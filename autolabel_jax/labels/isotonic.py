"""Implements isotonic regression to non-increasing values."""

import jax
import jax.numpy as jnp


def non_increasing(values: jax.Array, num: int) -> jax.Array:
    """Returns the nearest values in least squares that never increase within each group.

    The min-max formula is x_i ← min_{a ≤ i} max_{b ≥ i} mean(x_a … x_b); Robertson, Wright and
    Dykstra (1988), "Order Restricted Statistical Inference", theorem 1.4.4.

    Args:
      values: float [G · num], one group after another.
      num: number of values per group.

    Returns:
      float [G · num].
    """
    return jax.vmap(_of_group)(values.reshape(-1, num)).reshape(values.shape)


def _of_group(values: jax.Array) -> jax.Array:
    place = jnp.arange(len(values))
    span = place - place[:, None] + 1  # length of a … b, [a, b]; below 1 if b < a
    sums = jnp.cumsum(jnp.where(span > 0, values, 0), axis=1)
    means = jnp.where(span > 0, sums / jnp.maximum(span, 1), -jnp.inf)
    highest = jax.lax.cummax(means, axis=1, reverse=True)  # maximum over a … b with b ≥ i, [a, i]
    return jnp.min(jnp.where(span > 0, highest, jnp.inf), axis=0)
