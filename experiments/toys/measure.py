"""Defines the network of the toy problem, and measures it on moved examples, by bucket.

Perceptron, buckets, loss and statistics come from the library; the Bayes rule comes from the
problem.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from autolabel_jax import buckets, calibration, losses
from autolabel_jax.models import mlp
from autolabel_jax.types import BucketStats, Distance
from experiments.toys.problem import Moves, Sample, Toy, kl_divergence, move, posterior, variance

WIDTH = 32


class Measured(NamedTuple):
    """Metrics of a network on moved examples, by bucket."""

    stats: BucketStats  # [N, R]
    nll: jax.Array  # [N], mean of -log f_label, nats
    kl: jax.Array  # [N], mean of Σ_k p_k log(p_k / f_k), p the Bayes posterior, nats
    total_variation: jax.Array  # [N], mean of ½ Σ_k |f_k - p_k|


class RightForm(nn.Module):
    """A model linear in (x̃, 1) / (1 + σ²), the family that contains the Bayes rule."""

    toy: Toy

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps inputs (x̃, s) [B, D + 1] to logits [B, K]."""
        x, distance = inputs[:, :-1], inputs[:, -1:]
        form = jnp.concatenate([x, jnp.ones_like(distance)], -1) / variance(self.toy, distance)
        return nn.Dense(self.toy.num_classes, use_bias=False)(form)


def model(toy: Toy) -> nn.Module:
    """Returns the network that ``toy.model`` names, for inputs (x̃, s) [B, D + 1]."""
    if toy.model == "right_form":
        return RightForm(toy)
    return mlp.MLP(num_classes=toy.num_classes, width=WIDTH)


def edges(toy: Toy) -> jax.Array:
    """Returns equal-width bucket edges, float32 [N + 1]."""
    return jnp.asarray(buckets.make_edges("equal_width", toy.num_buckets, np.zeros(0)))


def as_distance(value: jax.Array) -> Distance:
    """Wraps distance values of a single group."""
    return Distance(group=jnp.zeros(value.shape, jnp.int32), value=value)


def logits(toy: Toy, params: Any, data: Sample, moves: Moves) -> jax.Array:
    """Returns the logits of moved examples, [B, K]; the network sees x̃ and s."""
    inputs = [move(toy, data.x, moves), moves.distance[:, None]]
    return model(toy).apply({"params": params}, jnp.concatenate(inputs, -1))


def measure(toy: Toy, output: jax.Array, data: Sample, moves: Moves) -> Measured:
    """Compares logits with the labels and with the Bayes posterior, by bucket."""
    label = data.label[moves.rows]
    bucket = buckets.bucket_index(as_distance(moves.distance), edges(toy))
    stats = calibration.bucket_stats(output, label, bucket, num_buckets=toy.num_buckets)
    right = posterior(toy, move(toy, data.x, moves), moves.distance)

    def mean(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, bucket, toy.num_buckets) / calibration.count(stats)

    return Measured(
        stats,
        nll=mean(losses.integer_cross_entropy(output, label)),
        kl=mean(kl_divergence(right, output)),
        total_variation=mean(0.5 * jnp.abs(jax.nn.softmax(output) - right).sum(-1)),
    )


def gap(measured: Measured) -> np.ndarray:
    """Returns Conf - Acc of each bucket."""
    stats = measured.stats
    return np.asarray(calibration.confidence(stats) - calibration.accuracy(stats))
