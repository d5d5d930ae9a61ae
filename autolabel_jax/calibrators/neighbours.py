"""Computes features of an input from its neighbours among training images, and its drift."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax.models import layers
from autolabel_jax.models.features import Features

NUM_NEIGHBOURS = 10  # training images whose distance is averaged
NUM_OF_CLASS = 5  # most similar training images of a class
EXACT = jax.lax.Precision.HIGHEST  # accelerators would round products of float32

# Features by name; those of neighbours need a ``Reference``.
DRIFT = ("mean_drift", "variance_drift")
DISTANCES = ("neighbours_1", "neighbours_2", "neighbours_penultimate")


class Layer(struct.PyTreeNode):
    """Holds one layer of the reference images, standardised by their own mean and deviation."""

    rows: jax.Array  # float32 [N, C]
    mean: jax.Array  # float32 [C]
    scale: jax.Array  # float32 [C]; 1 where all are equal


class Reference(struct.PyTreeNode):
    """Holds features of training images, to find the neighbours of others."""

    layers: tuple[Layer, ...]  # stages 1 and 2, and the penultimate layer
    direction: jax.Array  # float32 [N, D], penultimate features of length 1
    of_class: jax.Array  # int32 [K, M], rows of each class; N where there are fewer than M


def make_reference(features: Features, label: np.ndarray, num_classes: int) -> Reference | None:
    """Makes the reference from features of training images.

    Args:
      features: of N training images.
      label: int [N].
      num_classes: number of classes K.

    Returns:
      None if the network records too little for it.
    """
    if len(features.stages) < 2 or features.penultimate is None:
        return None
    penultimate = np.asarray(features.penultimate)
    layers = tuple(_layer(x) for x in (*features.stages[:2], penultimate))
    order = np.argsort(label, kind="stable")
    counts = np.bincount(label, minlength=num_classes)
    of_class = np.full((num_classes, max(counts.max(), 1)), len(label), np.int32)
    for k, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        of_class[k, : len(rows)] = rows
    return Reference(layers, _direction(jnp.asarray(penultimate)), jnp.asarray(of_class))


def scalars(
    logits: jax.Array, features: Features, reference: Reference | None
) -> dict[str, jax.Array]:
    """Computes the features that calibrators read.

    mean_drift, variance_drift: mean over the batch-norm layers of the drift in ``models.layers``.
    trust: log(d_other / d_predicted), where d_k = .01 + √(2 - 2 · mean of the 5 largest cosines to
    penultimate features of training images of class k), and d_other is the smallest of the others
    (compare Jiang et al. 2018, "To Trust Or Not To Trust A Classifier").
    disagreement: of several views, see ``evaluation.views``.
    neighbours_1, neighbours_2, neighbours_penultimate: ½ log of the mean, over dimensions and over
    the 10 nearest training images, of the squared distance between standardised features.

    Args:
      logits: float32 [B, K].
      features: Features of the same inputs.
      reference: features of training images; None leaves their features out.

    Returns:
      float32 [B] by name; without what the network does not record.
    """
    found = {}
    if features.drift is not None:
        found |= dict(zip(DRIFT, features.drift.T, strict=True))
    if features.disagreement is not None:
        found[layers.DISAGREEMENT] = features.disagreement
    if reference is not None and features.penultimate is not None:
        found["trust"] = _trust(logits, features.penultimate, reference)
        used = (*features.stages[:2], features.penultimate)
        for name, x, layer in zip(DISTANCES, used, reference.layers, strict=True):
            found[name] = _distance(x, layer)
    return found


def _layer(x: np.ndarray | jax.Array) -> Layer:
    x = np.asarray(x, np.float32)
    mean, deviation = x.mean(0), x.std(0)
    scale = np.where(deviation > 0, deviation, 1).astype(np.float32)
    return Layer(*map(jnp.asarray, ((x - mean) / scale, mean, scale)))


def _direction(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _trust(logits: jax.Array, penultimate: jax.Array, reference: Reference) -> jax.Array:
    cosine = jnp.matmul(_direction(penultimate), reference.direction.T, precision=EXACT)
    num_ref, most = reference.direction.shape[0], reference.of_class.shape[1]
    cosine = jnp.pad(cosine, ((0, 0), (0, 1)), constant_values=-jnp.inf)
    best = jax.lax.top_k(cosine[:, reference.of_class], min(NUM_OF_CLASS, most))[0]
    there = best > -jnp.inf
    # A class without a training image is as far as possible.
    mean = jnp.where(there, best, 0).sum(-1) / jnp.maximum(there.sum(-1), 1)
    mean = jnp.where(reference.of_class[:, 0] < num_ref, mean, -1)
    distance = 0.01 + jnp.sqrt(jnp.maximum(2 - 2 * mean, 0))
    own = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=bool)
    predicted = jnp.where(own, distance, 0).sum(-1)
    other = jnp.where(own, jnp.inf, distance).min(-1)
    return jnp.log(other / predicted)


def _distance(x: jax.Array, layer: Layer) -> jax.Array:
    x = (x - layer.mean) / layer.scale
    product = jnp.matmul(x, layer.rows.T, precision=EXACT)
    squared = (x**2).sum(-1)[:, None] + (layer.rows**2).sum(-1) - 2 * product
    num = min(NUM_NEIGHBOURS, layer.rows.shape[0])
    nearest = -jax.lax.top_k(-squared, num)[0]
    return 0.5 * jnp.log(jnp.maximum(nearest.mean(-1) / x.shape[-1], 1e-6))
