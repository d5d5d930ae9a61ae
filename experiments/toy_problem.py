"""A toy problem whose right answer is known, and a plain training loop for it.

K Gaussian classes with unit covariance and pairwise distance ``separation``;
the augmentation adds Gaussian noise of size σ = max_noise · s, where s in
[0, 1] is the distance. The posterior of a class given (x̃, s), and the accuracy
of the Bayes rule at every s, are closed forms, so the labels, the
calibration and the probabilities of a trained network have something to be
held against. Buckets, labels, loss, model and statistics are the package's.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from scipy import special

from autolabel_jax import buckets, calibration, labels, losses
from autolabel_jax.models.mlp import MLP
from autolabel_jax.types import BucketStats, Distance, LabelState
from configs import base


@dataclasses.dataclass(frozen=True)
class Toy:
    """Settings of one problem and of the training on it."""

    num_classes: int = 3
    dim: int = 10
    separation: float = 6.0  # distance of any two class means, in standard deviations of a class
    max_noise: float = 4.0  # σ at distance 1
    num_train: int = 100
    num_calibration: int = 100  # drawn apart, like a part cut from the training split
    num_test: int = 2000
    num_buckets: int = 5
    model: str = "mlp"  # 'mlp' on (x̃, s), or 'right_form': the Bayes rule's own family
    width: int = 32
    fresh: bool = True  # augmented anew in each step; False: one fixed copy of each example
    epochs: int = 60
    steps_per_epoch: int = 20
    batch_size: int = 100
    learning_rate: float = 3e-3
    calibration_passes: int = 1


class Sample(NamedTuple):
    """Clean examples: x float32 [n, D], label int32 [n]."""

    x: jax.Array
    label: jax.Array


class Moves(NamedTuple):
    """Which examples are moved, how far and where to: all the randomness of a pass.

    rows int32 [...], distance float32 [...] in [0, 1], noise float32 [..., D] of size 1.
    """

    rows: jax.Array
    distance: jax.Array
    noise: jax.Array


class Measured(NamedTuple):
    """What a network does with examples in every bucket; each by bucket."""

    stats: BucketStats  # [N, R]
    total_variation: jax.Array  # [N], mean of ½ Σ_k |f_k - p_k|, p the Bayes posterior
    kl: jax.Array  # [N], mean of Σ_k p_k log(p_k / f_k), nats
    nll: jax.Array  # [N], mean of -log f_label, nats


def means(toy: Toy) -> jax.Array:
    """Class means, the corners of a regular simplex: float32 [K, D]."""
    return toy.separation / np.sqrt(2) * jnp.eye(toy.num_classes, toy.dim)


def sample(toy: Toy, rng: np.random.Generator, num: int) -> Sample:
    """Clean examples, all classes equally likely."""
    label = rng.integers(toy.num_classes, size=num).astype(np.int32)
    noise = rng.standard_normal((num, toy.dim), np.float32)
    return Sample(np.asarray(means(toy))[label] + noise, label)


def move(toy: Toy, x: jax.Array, moves: Moves) -> jax.Array:
    """The augmentation: x̃ = x + max_noise · s · noise."""
    return x[moves.rows] + toy.max_noise * moves.distance[..., None] * moves.noise


def variance(toy: Toy, distance: Any) -> Any:
    """Variance 1 + σ(s)² of a class in each direction, after the augmentation."""
    return 1 + (toy.max_noise * distance) ** 2


def posterior(toy: Toy, x: jax.Array, distance: jax.Array) -> jax.Array:
    """The Bayes rule's p(k | x̃, s): float32 [B, K]."""
    square = ((x[:, None] - means(toy)) ** 2).sum(-1)
    return jax.nn.softmax(-square / (2 * variance(toy, distance)[:, None]), axis=-1)


def bayes_accuracy(toy: Toy, distance: np.ndarray) -> np.ndarray:
    """Accuracy, and mean top probability, of the Bayes rule at each distance.

    ∫ φ(z) Φ(z + m/τ)^(K-1) dz, m/τ the height of a mean along its own axis in
    units of the noise there; by Gauss-Hermite quadrature.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    shift = toy.separation / np.sqrt(2 * variance(toy, np.asarray(distance, np.float64)))
    inside = special.ndtr(z + shift[..., None]) ** (toy.num_classes - 1)
    return inside @ weight / np.sqrt(2 * np.pi)


class RightForm(nn.Module):
    """Linear in (x̃, 1) / (1 + σ²), which holds the Bayes rule: float32 [B, K]."""

    toy: Toy

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        x, distance = inputs[:, :-1], inputs[:, -1:]
        ones = jnp.ones_like(distance)
        form = jnp.concatenate([x, ones], -1) / variance(self.toy, distance)
        return nn.Dense(self.toy.num_classes, use_bias=False)(form)


def edges(toy: Toy) -> jax.Array:
    """Bucket edges, equal width: float32 [N + 1]."""
    return jnp.asarray(buckets.make_edges("equal_width", toy.num_buckets, np.zeros(0)))


def draw_training(toy: Toy, rng: np.random.Generator) -> Moves:
    """The moves of one epoch: [steps, batch]."""
    shape = (toy.steps_per_epoch, toy.batch_size)
    rows = rng.integers(toy.num_train, size=shape).astype(np.int32)
    distance = rng.random(shape, np.float32)
    return Moves(rows, distance, rng.standard_normal((*shape, toy.dim), np.float32))


def draw_inside(toy: Toy, rng: np.random.Generator, num: int) -> Moves:
    """Each of ``num`` examples once in every bucket: [N · num]."""
    rows = np.tile(np.arange(num, dtype=np.int32), toy.num_buckets)
    bucket = np.repeat(np.arange(toy.num_buckets), num)
    distance = ((bucket + 1 - rng.random(bucket.shape)) / toy.num_buckets).astype(np.float32)
    return Moves(rows, distance, rng.standard_normal((len(rows), toy.dim), np.float32))


def _model(toy: Toy) -> nn.Module:
    if toy.model == "right_form":
        return RightForm(toy)
    return MLP(num_classes=toy.num_classes, width=toy.width)


def logits(toy: Toy, params: Any, x: jax.Array, distance: jax.Array) -> jax.Array:
    """The network sees x̃ and s: float32 [B, K]."""
    inputs = jnp.concatenate([x, distance[:, None]], -1)
    return _model(toy).apply({"params": params}, inputs)


def bucket_of(toy: Toy, distance: jax.Array) -> jax.Array:
    """Bucket index of each distance: int32 [B]."""
    group = jnp.zeros(distance.shape, jnp.int32)
    return buckets.bucket_index(Distance(group=group, value=distance), edges(toy))


def measure(toy: Toy, params: Any, data: Sample, moves: Moves) -> Measured:
    """Statistics of the network on moved examples, against truth and Bayes rule."""
    x, bucket = move(toy, data.x, moves), bucket_of(toy, moves.distance)
    output, right = logits(toy, params, x, moves.distance), posterior(toy, x, moves.distance)
    stats = calibration.bucket_stats(
        output, data.label[moves.rows], bucket, num_buckets=toy.num_buckets
    )
    variation = 0.5 * jnp.abs(jax.nn.softmax(output) - right).sum(-1)
    kl = (right * (jnp.log(right + 1e-30) - jax.nn.log_softmax(output))).sum(-1)

    def mean(values):
        return jax.ops.segment_sum(values, bucket, toy.num_buckets) / calibration.count(stats)

    nll = losses.integer_cross_entropy(output, data.label[moves.rows])
    return Measured(stats, mean(variation), mean(kl), mean(nll))


def train_epoch(toy: Toy, rule: labels.LabelRule, state, data: Sample, moves: Moves):
    """One epoch of plain training on the rule's labels."""
    params, opt_state, label_state = state
    optimizer = optax.adam(toy.learning_rate)

    def loss(params, moves):
        soft_label = rule.soft_labels(
            label_state,
            data.label[moves.rows],
            bucket_of(toy, moves.distance),
            num_classes=toy.num_classes,
            distance=Distance(jnp.zeros_like(moves.rows), moves.distance),
        )
        output = logits(toy, params, move(toy, data.x, moves), moves.distance)
        return losses.cross_entropy(output, soft_label).mean()

    def step(carry, moves):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params, moves), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    (params, opt_state), _ = jax.lax.scan(step, (params, opt_state), moves)
    return params, opt_state, label_state


@functools.cache
def _compiled(toy: Toy, settings: tuple):
    config = base.base()
    config.labels.update(dict(settings))
    rule = labels.create(config)

    def epoch(state, train, held, moves, held_moves):
        state = train_epoch(toy, rule, state, train, moves)
        m = measure(toy, state[0], held, held_moves)
        return (*state[:2], rule.update(state[2], m.stats)), m

    return jax.jit(jax.vmap(epoch))


def stack(trees):
    return jax.tree.map(lambda *v: np.stack(v), *trees)

@functools.cache
def _measure(toy):
    return jax.jit(jax.vmap(lambda p, d, m: measure(toy, p, d, m)))

def run(toy: Toy, seeds, initial: float = 1.0, **settings):
    rngs = [np.random.default_rng(seed) for seed in seeds]
    train, held, test = (stack([sample(toy, r, n) for r in rngs]) for n in (toy.num_train, toy.num_calibration, toy.num_test))
    init = jax.jit(lambda k: _model(toy).init(k, jnp.zeros((1, toy.dim + 1)))["params"])
    params = stack([init(jax.random.key(s)) for s in seeds])
    label_state = LabelState(confidence=jnp.full((len(seeds), toy.num_buckets), initial))
    state = (params, jax.vmap(optax.adam(toy.learning_rate).init)(params), label_state)
    epoch = _compiled(toy, tuple(sorted(settings.items())))
    hist, stats = [], []
    fixed = [draw_training(dataclasses.replace(toy, steps_per_epoch=1, batch_size=toy.num_train), r) for r in rngs]
    for t in range(toy.epochs):
        moves = [draw_training(toy, r) for r in rngs]
        held_moves = stack([draw_inside(toy, r, toy.num_calibration) for r in rngs])
        if not toy.fresh:
            moves = [Moves(m.rows, f.distance[0][m.rows], f.noise[0][m.rows]) for m, f in zip(moves, fixed)]
        state, s = epoch(state, train, held, stack(moves), held_moves)
        hist.append(state[2].confidence)
        stats.append(s)
    test_moves = stack([draw_inside(toy, r, toy.num_test) for r in rngs])
    return jnp.stack(hist), jax.tree.map(lambda *v: jnp.stack(v), *stats), _measure(toy)(state[0], test, test_moves), state, (train, held, test)
