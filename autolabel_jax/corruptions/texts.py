"""Corrupts texts, tokens [L]: typos at a keyboard, and lost words.

Tokens hold no letters. So typos of each word of the vocabulary are made beforehand, and a misspelt
word becomes another word of the vocabulary, or nearly always an unknown one. Typos of words that
are unknown already cannot be seen.
"""

import functools
import random
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions.own import Own
from autolabel_jax.corruptions.settings import Prepared
from autolabel_jax.datasets import Dataset, texts

ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # keys, place of the first
VARIANTS = 16  # typos of each word
SHARES = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))  # of words, at severity 1 … 5


def masking(key: jax.Array, x: jax.Array, share: float) -> jax.Array:
    """Makes each word unknown with probability ``share``."""
    hit = jax.random.bernoulli(key, share, x.shape) & (x > texts.PADDING)
    return jnp.where(hit, texts.UNKNOWN, x).astype(x.dtype)


def typos(key: jax.Array, x: jax.Array, table: jax.Array, share: float) -> jax.Array:
    """Misspells each word with probability ``share``; ``table``: tokens of its typos."""
    hit_key, variant_key = jax.random.split(key)
    hit = jax.random.bernoulli(hit_key, share, x.shape)
    variant = jax.random.randint(variant_key, x.shape, 0, table.shape[1])
    return jnp.where(hit, table[x.astype(jnp.int32), variant], x).astype(x.dtype)


@functools.cache
def neighbours(letter: str) -> str:
    """Returns the letters next to one on a QWERTY keyboard; none for other signs."""
    at = {key: (y, left + i) for y, (row, left) in enumerate(ROWS) for i, key in enumerate(row)}
    if letter not in at:
        return ""
    y, x = at[letter]
    near = (key for key, (v, u) in at.items() if abs(v - y) <= 1 and abs(u - x) <= 1)
    return "".join(key for key in near if key != letter)


def misspell(word: str, rng: random.Random) -> str:
    """Makes one typo: a wrong key beside the right one, two letters exchanged, lost, or doubled.

    Words without two letters are returned unchanged.
    """
    letters = [i for i, letter in enumerate(word) if letter.isalpha()]
    if len(letters) < 2:
        return word
    while True:
        i = rng.choice(letters)
        before, letter, after = word[:i], word[i], word[i + 1 :]
        typed = (
            rng.choice(neighbours(letter) or letter) + after,
            after[:1] + letter + after[1:],
            after,
            2 * letter + after,
        )
        if (found := before + rng.choice(typed)) != word:
            return found


@functools.lru_cache(maxsize=1)
def typo_table(vocabulary: tuple[str, ...]) -> np.ndarray:
    """Returns tokens of typos of each token, int32 [tokens, VARIANTS]."""
    token = {word: texts.FIRST + i for i, word in enumerate(vocabulary)}
    rows = [[texts.PADDING] * VARIANTS, [texts.UNKNOWN] * VARIANTS]
    for word in vocabulary:
        rng = random.Random(zlib.crc32(word.encode()))
        rows.append([token.get(misspell(word, rng), texts.UNKNOWN) for _ in range(VARIANTS)])
    return np.array(rows, np.int32)


def prepare_masking(dataset: Dataset, share: float) -> Prepared:
    """Prepares the share of words."""
    del dataset
    return Prepared((np.float32(share),))


def prepare_typos(dataset: Dataset, share: float) -> Prepared:
    """Prepares the typos of all words, and the share of words.

    Raises:
      ValueError: the data set comes as tokens, without their words.
    """
    if dataset.encoding is None:
        raise ValueError(
            f"corruption: 'typos' needs the words of {dataset.name!r}, which holds tokens alone; "
            "read the texts with dataset='manifest'"
        )
    return Prepared((typo_table(tuple(dataset.encoding["vocabulary"])), np.float32(share)))


def _own(corrupt: Callable[..., jax.Array], prepare: Callable[..., Prepared]) -> Own:
    return Own(corrupt, prepare, SHARES)


TEXT = {"typos": _own(typos, prepare_typos), "masking": _own(masking, prepare_masking)}
