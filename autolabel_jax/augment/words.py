"""Masks, drops and swaps words of texts, tokens [L].

The distance is the share of the words of a text that truly change, divided by the largest share
``max_changed``. It is counted after rounding to whole words, so ``apply`` returns another distance
than it is given. A masked word becomes an unknown one, so words that are unknown already cannot be
masked. A swap of equal words changes none.

Swaps are those of Wei & Zou (2019), "EDA: Easy Data Augmentation Techniques".
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import texts
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

# (key, tokens [B, L], number of words that shall change [B], largest number [B]) → moved tokens
# [B, L] and the number of words that changed [B]; all float32.
Operation = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def mask(
    key: jax.Array, tokens: jax.Array, wanted: jax.Array, most: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Makes words unknown."""
    known = tokens > texts.UNKNOWN
    num = jnp.minimum(jnp.round(wanted), most)
    chosen = (_rank(key, known) < num[:, None]) & known
    return jnp.where(chosen, texts.UNKNOWN, tokens), chosen.sum(1)


def drop(
    key: jax.Array, tokens: jax.Array, wanted: jax.Array, most: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Removes words, but the last one of a text, and moves the others together."""
    real = tokens > texts.PADDING
    num = jnp.maximum(jnp.minimum(jnp.minimum(jnp.round(wanted), most), real.sum(1) - 1), 0)
    kept = (_rank(key, real) >= num[:, None]) & real
    order = jnp.argsort(~kept, axis=1, stable=True)
    kept_tokens = jnp.where(kept, tokens, texts.PADDING)
    return jnp.take_along_axis(kept_tokens, order, axis=1), num


def swap(
    key: jax.Array, tokens: jax.Array, wanted: jax.Array, most: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Exchanges the words of random pairs; equal words of a pair do not count as changed."""
    pairs = jnp.minimum(jnp.round(wanted / 2), jnp.floor(most / 2))
    rank = _rank(key, tokens > texts.PADDING)
    partner = jnp.take_along_axis(jnp.argsort(rank, axis=1), rank ^ 1, axis=1)
    place = jnp.where(rank < 2 * pairs[:, None], partner, jnp.arange(tokens.shape[1]))
    moved = jnp.take_along_axis(tokens, place, axis=1)
    return moved, (moved != tokens).sum(1)


def _rank(key: jax.Array, first: jax.Array) -> jax.Array:
    """Returns places in a random order, int32 [B, L], where those with ``first`` come first."""
    order = jnp.argsort(jax.random.uniform(key, first.shape) + ~first, axis=1)
    return jnp.argsort(order, axis=1)


@dataclasses.dataclass(frozen=True)
class Words(base.Augmentation):
    """Masks, drops or swaps words; the operation, drawn for each text, is the group."""

    title: ClassVar[str] = "words"
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    group_name: ClassVar[str] = "operation"
    in_sweep: ClassVar[bool] = False
    rounds: ClassVar[bool] = True
    operations: ClassVar[tuple[Operation, ...]] = (mask, drop, swap)

    max_changed: float = setting(
        0.5, "largest share of the words of a text that change", low=0.01, high=1, search="0.1..0.9"
    )

    @property
    def num_groups(self) -> int:
        """One for each operation."""
        return len(self.operations)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws the operation, and a distance U[0, 1] before rounding."""
        group_key, key = jax.random.split(key)
        group = jax.random.randint(group_key, (num,), 0, self.num_groups)
        return Distance(group=group, value=jax.random.uniform(key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Changes as many words as the distance says, rounded to whole words."""
        del input_gradient
        tokens = image_ops.to_float(batch.input)
        length = (tokens > texts.PADDING).sum(1)
        largest = self.max_changed * jnp.maximum(length, 1)
        most = jnp.floor(largest + 1e-4)  # 0.1 · 10 can be below 1
        value = jnp.asarray(distance.value)
        found = [operation(key, tokens, value * largest, most) for operation in self.operations]
        moved, changed = (jnp.stack(x) for x in zip(*found, strict=True))
        group, row = jnp.asarray(distance.group), jnp.arange(len(tokens))
        value = jnp.minimum(changed[group, row] / largest, 1).astype(jnp.float32)
        return base.unmixed(moved[group, row], batch.label, distance.replace(value=value))


@dataclasses.dataclass(frozen=True)
class WordMasking(Words):
    """Makes words of each text unknown."""

    title: ClassVar[str] = "word_masking"
    operations: ClassVar[tuple[Operation, ...]] = (mask,)


@dataclasses.dataclass(frozen=True)
class WordDropout(Words):
    """Removes words of each text."""

    title: ClassVar[str] = "word_dropout"
    operations: ClassVar[tuple[Operation, ...]] = (drop,)


@dataclasses.dataclass(frozen=True)
class WordSwap(Words):
    """Exchanges words of each text; no change to models that do not read the order of words."""

    title: ClassVar[str] = "word_swap"
    operations: ClassVar[tuple[Operation, ...]] = (swap,)
