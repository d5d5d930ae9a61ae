"""Implements noise that affects each value of an image independently.

Grey levels are whole numbers, so such noise is a table of the probability of each of 256 levels
given the level before. The table is computed once in double precision. Walker's alias method (1977)
then needs one random word and one look-up per value for any distribution, so Poisson noise is exact
and as fast as Gaussian noise.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from autolabel_jax.corruptions.settings import Prepared
from autolabel_jax.types import Array

LEVELS = 256


def gaussian_noise(key: jax.Array, image: jax.Array, deviation: float) -> jax.Array:
    """Returns x + N(0, deviation²), clipped to [0, 1]."""
    return redraw(key, image, _gaussian_table(deviation, 0.0))


def prepare_gaussian(size: int, deviation: float) -> Prepared:
    """Prepares x + N(0, deviation²), clipped to [0, 1]."""
    del size
    return Prepared((_gaussian_table(deviation, 0.0),))


def prepare_speckle(size: int, deviation: float) -> Prepared:
    """Prepares x + x · N(0, deviation²), clipped to [0, 1]."""
    del size
    return Prepared((_gaussian_table(0.0, deviation),))


def prepare_shot(size: int, photons: float) -> Prepared:
    """Prepares Poisson(photons · x) / photons, for a sensor that counts ``photons`` at white."""
    del size
    return Prepared((_poisson_table(photons),))


def prepare_impulse(size: int, share: float) -> Prepared:
    """Prepares noise that turns a ``share`` of values black or white, with equal odds."""
    del size
    return Prepared((_impulse_table(share),))


def redraw(key: jax.Array, image: jax.Array, table: Array) -> jax.Array:
    """Replaces each level by one drawn from its row of an alias table, uint32 [256, 256].

    The upper byte of a random word chooses a column, and the other three choose between the column
    and its alias.
    """
    level = jnp.round(image * 255).astype(jnp.int32)
    # Drawn flat, because vmap makes the generator four times slower in the shape of an image.
    word = jax.random.bits(key, (image.size,), jnp.uint32).reshape(image.shape)
    column, coin = word >> 24, word & 0xFFFFFF
    place = level * LEVELS + column.astype(jnp.int32)
    entry = jnp.take(jnp.asarray(table.reshape(-1)), place, mode="clip")
    drawn = jnp.where(coin < entry >> 8, column, entry & 0xFF)
    return drawn.astype(jnp.float32) / 255


def _alias_table(probability: np.ndarray) -> np.ndarray:
    """Converts probabilities [256, 256] to uint32 [256, 256]: 24 bits threshold, 8 bits alias."""
    return np.stack([_alias_row(row) for row in probability])


def _alias_row(probability: np.ndarray) -> np.ndarray:
    share = probability * (LEVELS / probability.sum())
    alias = np.arange(LEVELS)
    small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        share[rich] -= 1 - share[poor]
        if share[rich] < 1:
            small.append(large.pop())
    # The rest differs from 1 only by rounding; the alias of a full column is itself.
    share[small + large] = 1
    threshold = np.minimum(np.round(share * 2**24), 2**24 - 1).astype(np.uint32)
    return threshold << 8 | alias.astype(np.uint32)


@functools.cache
def _gaussian_table(deviation: float, relative: float) -> np.ndarray:
    level = np.arange(LEVELS)[:, None]
    # Level k after truncation is the interval [k, k + 1) / 255; both ends include all beyond.
    edge = np.concatenate([[-np.inf], np.arange(1, LEVELS), [np.inf]])
    scale = 255 * deviation + relative * level
    # Speckle has no deviation on black: a tiny offset above the level keeps it there.
    below = special.ndtr((edge - level - 1e-9) / np.maximum(scale, 1e-12))
    return _alias_table(np.diff(below))


@functools.cache
def _poisson_table(photons: float) -> np.ndarray:
    from scipy import stats  # slow to import

    count = np.arange(int(photons + 12 * np.sqrt(photons) + 30))
    probability = stats.poisson.pmf(count, photons * np.arange(LEVELS)[:, None] / 255)
    after = np.floor(np.minimum(count / photons, 1) * 255 + 1e-9).astype(int)
    summed = np.zeros((LEVELS, LEVELS))
    for level in range(LEVELS):
        summed[level] = np.bincount(after, probability[level], LEVELS)
    return _alias_table(summed)


@functools.cache
def _impulse_table(share: float) -> np.ndarray:
    probability = np.eye(LEVELS) * (1 - share)
    probability[:, [0, 255]] += share / 2
    return _alias_table(probability)
