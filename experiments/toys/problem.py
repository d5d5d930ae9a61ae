"""Defines a toy problem whose right answer is known.

There are K Gaussian classes with unit covariance and pairwise distance ``separation``. The
augmentation adds Gaussian noise of size σ = max_noise · s, where s in [0, 1] is the distance. The
posterior of a class given (x̃, s) and the accuracy of the Bayes rule at every s have closed forms,
to which labels, calibration and probabilities of a trained network can be compared.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Toy:
    """Settings of one problem and of the training on it."""

    num_classes: int = 3
    dim: int = 40
    separation: float = 5.0  # distance of any two class means; classes have unit variance
    max_noise: float = 4.0  # σ at distance 1
    num_train: int = 60
    num_calibration: int = 40
    num_test: int = 4000
    num_buckets: int = 5
    model: str = "mlp"  # 'mlp' on (x̃, s), or 'right_form', the family of the Bayes rule
    fresh: bool = True  # fresh augmentation in each step; False: one fixed copy of each example
    epochs: int = 100
    steps_per_epoch: int = 20
    batch_size: int = 60
    learning_rate: float = 3e-3


class Sample(NamedTuple):
    """Clean examples: x float32 [n, D], label int32 [n]."""

    x: Any
    label: Any


class Moves(NamedTuple):
    """Which examples are moved, how far, and in which direction."""

    rows: Any  # int32 [...]
    distance: Any  # float32 [...] in [0, 1]
    noise: Any  # float32 [..., D] ~ N(0, 1)


def means(toy: Toy) -> np.ndarray:
    """Returns class means, the corners of a regular simplex, float32 [K, D]."""
    return (toy.separation / np.sqrt(2) * np.eye(toy.num_classes, toy.dim)).astype(np.float32)


def sample(toy: Toy, rng: np.random.Generator, num: int) -> Sample:
    """Draws clean examples, with all classes equally likely."""
    label = rng.integers(toy.num_classes, size=num).astype(np.int32)
    noise = rng.standard_normal((num, toy.dim), np.float32)
    return Sample(means(toy)[label] + noise, label)


def draw(toy: Toy, rng: np.random.Generator, rows: np.ndarray) -> Moves:
    """Draws moves of the given rows, with distances ~ U[0, 1]."""
    distance = rng.random(rows.shape, np.float32)
    return Moves(rows, distance, rng.standard_normal((*rows.shape, toy.dim), np.float32))


def move(toy: Toy, x: jax.Array, moves: Moves) -> jax.Array:
    """Applies the augmentation x̃ = x + max_noise · s · noise."""
    return x[moves.rows] + toy.max_noise * moves.distance[..., None] * moves.noise


def variance(toy: Toy, distance: Any) -> Any:
    """Returns 1 + σ(s)², the variance of an augmented class in each direction."""
    return 1 + (toy.max_noise * distance) ** 2


def posterior(toy: Toy, x: jax.Array, distance: jax.Array) -> jax.Array:
    """Returns the Bayes posterior p(k | x̃, s), float32 [B, K]."""
    square = ((x[:, None] - means(toy)) ** 2).sum(-1)
    return jax.nn.softmax(-square / (2 * variance(toy, distance)[:, None]), axis=-1)


def bayes_accuracy(toy: Toy, distance: Any) -> np.ndarray:
    """Returns the accuracy of the Bayes rule at each distance, which is also its mean confidence.

    It is ∫ φ(z) Φ(z + m/τ)^(K-1) dz, with m the coordinate of a mean on its own axis and τ² the
    variance there, by Gauss-Hermite quadrature.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    shift = toy.separation / np.sqrt(2 * variance(toy, np.asarray(distance, np.float64)))
    inside = special.ndtr(z + shift[..., None]) ** (toy.num_classes - 1)
    return inside @ weight / np.sqrt(2 * np.pi)


def bayes_by_bucket(toy: Toy) -> np.ndarray:
    """Returns the accuracy of the Bayes rule in each equal-width bucket, [N]."""
    distance = (np.arange(1000 * toy.num_buckets) + 0.5) / (1000 * toy.num_buckets)
    return bayes_accuracy(toy, distance).reshape(toy.num_buckets, -1).mean(-1)


def kl_divergence(right: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns KL(p ‖ f) of each row in nats; p are the right probabilities, f = softmax(logits)."""
    return jnp.sum(jax.scipy.special.xlogy(right, right) - right * jax.nn.log_softmax(logits), -1)
