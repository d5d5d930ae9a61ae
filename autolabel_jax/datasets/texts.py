"""Makes inputs of texts: tokens int32 [L], which are lower-cased words and single other signs.

``fit`` makes the vocabulary from the training rows and describes it in JSON values, which are saved
with the run and its predictor. ``encode`` makes tokens by such a description, the same in training
and in prediction. Token PADDING fills a text up to the length L, UNKNOWN replaces each word
outside of the vocabulary, and the words of the vocabulary follow.

The description, ``Dataset.encoding``, has ``reads`` = 'text'; ``columns``, with the ``name`` of the
one column; ``vocabulary``, the words in the order of their tokens; and ``length``, L.
"""

import collections
import math
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

READS = "text"
PADDING, UNKNOWN, FIRST = 0, 1, 2  # tokens; FIRST is that of the first word of a vocabulary
MAX_WORDS, MAX_TOKENS = 20_000, 128  # defaults of a vocabulary and of the length of inputs
# Rarer words stay unknown, so that the token for unknown words is trained too.
LEAST = 2
# A word, with apostrophes inside, or any other sign.
TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")

Columns = Mapping[str, Sequence[Any]]


def split(text: str) -> list[str]:
    """Splits a text into lower-cased words, and signs that are no part of words."""
    return TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def is_text(values: Sequence[Any]) -> bool:
    """Whether a column probably holds texts: most of its values have several words."""
    several = sum(isinstance(value, str) and len(value.split()) > 1 for value in values)
    return 2 * several > len(values)


def size(encoding: Mapping[str, Any]) -> int:
    """Returns the number of tokens, with PADDING and UNKNOWN."""
    return FIRST + len(encoding["vocabulary"])


def fit(
    where: str, columns: Columns, train: np.ndarray, *, max_words: int, max_tokens: int
) -> dict[str, Any]:
    """Makes the vocabulary of the words that occur LEAST times or more in the training rows.

    Args:
      where: path of the table, for messages.
      columns: the column of texts by its name.
      train: bool [n], whether a row is a training example.
      max_words: largest number of words, the most frequent ones.
      max_tokens: largest length L, which is that of the longest training text up to this.

    Raises:
      ValueError: there are several columns, one holds other values or an empty text, or no word
        occurs twice.
    """
    if len(columns) != 1:
        raise ValueError(
            f"data_dir: {where}: has {len(columns)} columns for data.kind='text': "
            f"{', '.join(columns)}; name the one with the texts by data.columns"
        )
    ((name, values),) = columns.items()
    texts = _texts(f"data_dir: {where}", name, values)
    texts = [text for text, chosen in zip(texts, train, strict=True) if chosen]
    counts = collections.Counter(word for text in texts for word in text)
    frequent = [word for word, count in counts.items() if count >= LEAST]
    if not frequent:
        raise ValueError(
            f"data_dir: {where}: column {name!r} has no word that occurs twice in the training rows"
        )
    vocabulary = sorted(frequent, key=lambda word: (-counts[word], word))[:max_words]
    return {
        "reads": READS,
        "columns": [{"name": name}],
        "vocabulary": vocabulary,
        "length": min(max_tokens, max(map(len, texts))),
    }


def encode(where: str, columns: Columns, encoding: Mapping[str, Any]) -> np.ndarray:
    """Makes tokens, int32 [n, L]; other columns are not read.

    Warns of texts that are longer, whose ends are not read, and of texts without a known word.

    Args:
      where: what holds the column, for messages, such as 'data_dir: PATH'.
      columns: values by name, one for each row.
      encoding: from ``fit``.

    Raises:
      ValueError: the column is missing, or a value is no text or an empty one.
    """
    name, length = encoding["columns"][0]["name"], encoding["length"]
    if name not in columns:
        raise ValueError(f"{where}: lacks the column {name!r}; it has {', '.join(columns)}")
    token = {word: FIRST + i for i, word in enumerate(encoding["vocabulary"])}
    texts = _texts(where, name, columns[name])
    out = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(out, texts, strict=True):
        row[: len(text)] = [token.get(word, UNKNOWN) for word in text[:length]]
    long = np.array([len(text) > length for text in texts], bool)
    _warn(where, long, f"longer than {length} tokens, of which the rest is not read")
    _warn(where, np.all(out < FIRST, axis=1), "without a known word")
    return out


def _texts(where: str, name: str, values: Sequence[Any]) -> list[list[str]]:
    """Splits the texts of a column."""
    found = []
    for i, value in enumerate(values):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(f"{where}: column {name!r} has no text in row {i + 1}")
        if not isinstance(value, str):
            raise ValueError(
                f"{where}: column {name!r} must hold texts; got {value!r} in row {i + 1}"
            )
        found.append(split(value))
        if not found[-1]:
            raise ValueError(f"{where}: column {name!r} has no words in row {i + 1}: {value!r}")
    return found


def _warn(where: str, rows: Any, what: str) -> None:
    if rows.any():
        warnings.warn(
            f"{where}: {rows.sum()} of {len(rows)} texts are {what}; the first one is row "
            f"{rows.argmax() + 1}",
            stacklevel=4,
        )
