"""Implements Square, a random search with square-shaped changes in the ℓ∞ ball.

It is algorithms 1 and 2 of Andriushchenko et al. (2020), "Square Attack: a query-efficient
black-box adversarial attack via random search". It uses the logits alone, so it also breaks a model
whose gradients are uninformative.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax.attacks import search
from autolabel_jax.attacks.ball import Ball

# Queries after which the share of pixels that a square changes is halved (section 5 of the paper,
# for 10,000 queries; AutoAttack uses the same for its 5,000).
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class _State(struct.PyTreeNode):
    clean: jax.Array  # float32 [B, H, W, C]
    label: jax.Array  # int32 [B]
    keys: jax.Array  # typed [B]
    image: jax.Array  # float32 [B, H, W, C]
    margin: jax.Array  # float32 [B], logit of the label minus the highest other


def make_square(
    logits_fn: search.LogitsFn,
    ball: Ball,
    *,
    num_queries: int = 5000,
    first_share: float = 0.8,
    in_python: bool | None = None,
) -> search.Attack:
    """Makes an attack that descends the margin of the label over the highest other class.

    Args:
      logits_fn: images [B, H, W, C] in [0, 1] → logits.
      ball: the set of allowed points, ℓ∞.
      num_queries: number of proposals after the first image, which has vertical stripes.
      first_share: share of the pixels in the first square.
      in_python: see ``search.make_loop``.

    Raises:
      ValueError: the ball is not ℓ∞.
    """
    if ball.norm != "linf":
        raise ValueError(f"norm: got {ball.norm!r}, square supports only 'linf'")

    def margin(image, label):
        logits = logits_fn(image)
        others = search.other_class(logits, label, 0)
        return search.logit(logits, label) - search.logit(logits, others)

    @jax.jit
    def start(clean, label, keys):
        _, _, width, channels = clean.shape
        low, high = ball.bounds(clean)
        stripes = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (1, width, channels)))(
            jax.vmap(jax.random.fold_in, (0, None))(keys, num_queries)
        )
        image = jnp.where(stripes, high, low)
        return _State(clean, label, keys, image, margin(image, label))

    def step(i, state):
        # As a step of ±2ε, clipped, would: the pixels of a square lie on the ball's surface.
        low, high = ball.bounds(state.clean)
        side = jnp.asarray(square_sides(num_queries, first_share, state.clean.shape[1:3]))[i]
        keys = jax.vmap(jax.random.fold_in, (0, None))(state.keys, i)
        inside, upward = jax.vmap(lambda key: _square(key, side, state.clean.shape[1:]))(keys)
        image = jnp.where(inside, jnp.where(upward, high, low), state.image)
        new = margin(image, state.label)
        better = (new < state.margin) & (state.margin > 0)
        return state.replace(
            image=search.choose(better, image, state.image),
            margin=jnp.where(better, new, state.margin),
        )

    loop = search.make_loop(
        step, num_queries, done=lambda state: jnp.all(state.margin <= 0), in_python=in_python
    )

    def attack(image, label, keys):
        if image.ndim != 4:
            raise ValueError(f"square: got inputs {image.shape}, expected images [B, H, W, C]")
        return loop(start(image, label, keys)).image

    return attack


def square_sides(num_queries: int, first_share: float, shape: tuple[int, int]) -> np.ndarray:
    """Returns the side of each query's square for images of this height and width."""
    halvings = np.searchsorted(HALVED_AFTER, np.arange(num_queries), side="left")
    sides = np.rint(np.sqrt(first_share / 2.0**halvings * math.prod(shape)))
    return np.clip(sides, 1, min(shape)).astype(np.int32)


def _square(
    key: jax.Array, side: jax.Array, shape: tuple[int, int, int]
) -> tuple[jax.Array, jax.Array]:
    """Draws the square's pixels, bool [H, W, 1], and the sign per channel, bool [1, 1, C]."""
    height, width, channels = shape
    place, sign = jax.random.split(key)
    limit = jnp.stack([height - side, width - side]) + 1
    top, left = jax.random.randint(place, (2,), 0, limit)
    rows, columns = jnp.arange(height), jnp.arange(width)
    rows = (rows >= top) & (rows < top + side)
    columns = (columns >= left) & (columns < left + side)
    inside = rows[:, None, None] & columns[None, :, None]
    return inside, jax.random.bernoulli(sign, 0.5, (1, 1, channels))
