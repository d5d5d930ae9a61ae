"""Trains on the toy problem with a plain loop over parts of the library.

Buckets, label rules, loss, statistics and the perceptron come from the library, the optimiser from
optax. Several seeds train in parallel under vmap. A seed determines the data, the initial weights
and all draws, whatever the label rule, so that rules are compared on the same draws.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from autolabel_jax import buckets, labels, losses
from autolabel_jax.calibrators import temperature
from autolabel_jax.labels import LabelState
from configs import base
from experiments.toys.measure import Measured, as_distance, edges, logits, measure, model
from experiments.toys.problem import Moves, Sample, Toy, draw, sample


class Training(NamedTuple):
    """Results of training S seeds for T epochs."""

    labels: np.ndarray  # [T, S, N], after each epoch's update
    held: Measured  # [T, S, N], on the calibration set after each epoch
    test: Measured  # [S, N], on fresh data at the end
    test_scaled: Measured  # [S, N], the same after temperature scaling
    train_accuracy: np.ndarray  # [S], on the moved examples of the last epoch


Logits = Callable[[Any, Sample, Moves], jax.Array]
Measure = Callable[[jax.Array, Sample, Moves], Measured]


class Epoch(Protocol):
    """Trains every seed for one epoch, measures it, and updates its labels."""

    def __call__(
        self,
        params: Any,
        opt_state: optax.OptState,
        state: LabelState,
        train: Sample,
        moves: Moves,
        held: Sample,
        held_moves: Moves,
    ) -> tuple[Any, optax.OptState, LabelState, Measured]:
        """Returns parameters, optimiser state, labels, and the measurement before the update."""


def train_epoch(
    toy: Toy,
    rule: labels.LabelRule,
    params: Any,
    opt_state: optax.OptState,
    state: LabelState,
    train: Sample,
    moves: Moves,
) -> tuple[Any, optax.OptState]:
    """Takes Adam steps on the rule's soft labels, for moves [steps, batch]."""

    def loss(params: Any, moves: Moves) -> jax.Array:
        distance = as_distance(moves.distance)
        bucket = buckets.bucket_index(distance, edges(toy))
        soft_label = rule.soft_labels(
            state,
            train.label[moves.rows],
            bucket,
            num_classes=toy.num_classes,
            distance=distance,
        )
        scale = rule.loss_scale(state, bucket)
        return losses.CrossEntropy()(logits(toy, params, train, moves), soft_label, scale).mean()

    def step(carry: tuple[Any, optax.OptState], moves: Moves) -> tuple[Any, None]:
        params, opt_state = carry
        gradient = jax.grad(loss)(params, moves)
        updates, opt_state = optax.adam(toy.learning_rate).update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    return jax.lax.scan(step, (params, opt_state), moves)[0]


def _compiled_in(toy: Toy) -> Toy:
    """Clears the settings that only the Python loop reads, so that compiled programs are shared."""
    return dataclasses.replace(toy, epochs=0, fresh=True, num_train=0, num_calibration=0)


@functools.cache
def _start(toy: Toy) -> Callable[[jax.Array], Any]:
    return jax.jit(lambda key: model(toy).init(key, jnp.zeros((1, toy.dim + 1)))["params"])


@functools.cache
def _rule(toy: Toy, settings: tuple) -> labels.LabelRule:
    config = base.base()
    config.buckets.num = toy.num_buckets
    config.labels.update(dict(settings))
    return labels.create(config)


@functools.cache
def _epoch(toy: Toy, settings: tuple) -> Epoch:
    """Jits one epoch and the update of the labels after it, over all seeds."""
    rule = _rule(toy, settings)

    def epoch(params, opt_state, state, train, moves, held, held_moves):
        params, opt_state = train_epoch(toy, rule, params, opt_state, state, train, moves)
        measured = measure(toy, logits(toy, params, held, held_moves), held, held_moves)
        return params, opt_state, rule.update(state, measured.stats), measured

    return jax.jit(jax.vmap(epoch))


@functools.cache
def _inside(toy: Toy, num: int) -> Callable[[jax.Array], jax.Array]:
    """Returns keys [S] → distances [S, N · num], ``num`` of them inside each bucket."""
    bucket = jnp.repeat(jnp.arange(toy.num_buckets), num)
    return jax.jit(jax.vmap(lambda key: buckets.draw_inside(key, bucket, edges(toy)).value))


def draw_inside(toy: Toy, rngs: Sequence[np.random.Generator], num: int) -> Moves:
    """Moves each of ``num`` examples once into every bucket, [S, N · num]."""
    keys = jax.vmap(jax.random.key)(np.array([rng.integers(2**31) for rng in rngs]))
    distance = _inside(_compiled_in(toy), num)(keys)
    rows = np.tile(np.arange(num, dtype=np.int32), toy.num_buckets)
    noise = [rng.standard_normal((len(rows), toy.dim), np.float32) for rng in rngs]
    return Moves(np.stack([rows] * len(rngs)), distance, np.stack(noise))


def draw_training(toy: Toy, rng: np.random.Generator, fixed: Moves) -> Moves:
    """Returns the moves of one epoch, [steps, batch]: fresh, or fixed for each example."""
    rows = rng.integers(toy.num_train, size=(toy.steps_per_epoch, toy.batch_size), dtype=np.int32)
    if toy.fresh:
        return draw(toy, rng, rows)
    return Moves(rows, fixed.distance[rows], fixed.noise[rows])


def stack(trees: Sequence[Any]) -> Any:
    """Stacks trees of arrays along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def run(toy: Toy, seeds: Sequence[int], initial: float = 1.0, **settings: Any) -> Training:
    """Trains one network per seed on the labels of one rule, and measures it.

    Args:
      toy: problem and training settings.
      seeds: S seeds.
      initial: initial label confidence, the same in every bucket.
      **settings: fields of ``config.labels``.
    """
    rngs = [np.random.default_rng(seed) for seed in seeds]
    sizes = toy.num_train, toy.num_calibration, toy.num_test
    train, held, test = (stack([sample(toy, rng, n) for rng in rngs]) for n in sizes)
    fixed = [draw(toy, rng, np.arange(toy.num_train)) for rng in rngs]
    params = stack([_start(_compiled_in(toy))(jax.random.key(seed)) for seed in seeds])
    opt_state = jax.vmap(optax.adam(toy.learning_rate).init)(params)
    compiled = _compiled_in(toy), tuple(sorted(settings.items()))
    state = jax.vmap(_rule(*compiled).init)(jnp.full((len(seeds), toy.num_buckets), initial))
    epoch = _epoch(*compiled)
    history = []
    for _ in range(toy.epochs):
        moves = stack([draw_training(toy, *pair) for pair in zip(rngs, fixed, strict=True)])
        inside = draw_inside(toy, rngs, toy.num_calibration)
        params, opt_state, state, measured = epoch(
            params, opt_state, state, train, moves, held, inside
        )
        history.append((state.confidence, measured))
    confidence, measured = stack(history)
    outputs, _ = _jitted(_compiled_in(toy))
    last = jax.tree.map(lambda leaf: leaf.reshape(len(seeds), -1, *leaf.shape[3:]), moves)
    right = outputs(params, train, last).argmax(-1) == np.take_along_axis(train.label, last.rows, 1)
    plain, scaled = _finish(toy, params, held, test, rngs)
    return Training(confidence, measured, plain, scaled, np.asarray(right.mean(-1)))


@functools.cache
def _jitted(toy: Toy) -> tuple[Logits, Measure]:
    outputs = jax.jit(jax.vmap(functools.partial(logits, toy)))
    return outputs, jax.jit(jax.vmap(functools.partial(measure, toy)))


def _finish(
    toy: Toy, params: Any, held: Sample, test: Sample, rngs: Sequence[np.random.Generator]
) -> tuple[Measured, Measured]:
    """Measures on the test set, without and with a temperature fitted on the calibration set."""
    outputs, measures = _jitted(_compiled_in(toy))
    inside = draw_inside(toy, rngs, toy.num_calibration)
    held_logits = np.asarray(outputs(params, held, inside))
    label = np.take_along_axis(held.label, inside.rows, axis=1)
    pairs = zip(held_logits, label, strict=True)
    fitted = np.array([temperature.fit_temperature(*pair) for pair in pairs], np.float32)
    moves = draw_inside(toy, rngs, toy.num_test)
    test_logits = outputs(params, test, moves)
    plain = measures(test_logits, test, moves)
    scaled = measures(test_logits / fitted[:, None, None], test, moves)
    return jax.device_get((plain, scaled))
