"""Takes the first examples of a split, or a fair sample of one that is in order of class.

Most sets are stored in a random order, whose first N examples are a sample. Where neighbours often
have the same class, as in arrays sorted by class, the first N would hold a few classes only.
"""

import warnings

import numpy as np

from autolabel_jax.datasets.split import Split
from autolabel_jax.datasets.streamed import StreamedSplit

SEED = 0  # draws the sample; independent of the seed of a run
DEVIATIONS = 5.0  # runs of equal labels below their mean, beyond which a split is in order


def first(split: Split | StreamedSplit, num: int, field: str) -> Split | StreamedSplit:
    """Returns ``num`` examples, which are the same in every run (0 = all).

    These are the first ones. If the labels of a split in memory are in order, they are a random
    sample with at least one example of each class and otherwise the shares of the whole split, in
    an order whose first examples are such a sample too. A streamed split is always in random order.

    Args:
      split: the whole split.
      num: number of examples.
      field: name of the setting for the warning that a sample was drawn.
    """
    whole = not 0 < num < len(split)
    if isinstance(split, StreamedSplit) or whole or not is_ordered(split.label):
        return split.take(slice(num or None))
    warnings.warn(
        f"{field}: got {num} of {len(split)} examples that are in order of class; a random sample "
        "of all classes is used, the same in every run",
        stacklevel=4,
    )
    return split.take(_stratified(split.label)[:num])


def is_ordered(label: np.ndarray) -> bool:
    """Returns whether equal labels, int [n], are neighbours more often than in random order.

    The number of runs of equal labels has a known mean and variance in random order: Barton and
    David (1957), "Multiple runs", Biometrika 44. Labels in one run per class are always in order.
    """
    counts, n = np.unique(label, return_counts=True)[1].astype(np.float64), len(label)
    if not 1 < len(counts) < n:
        return False
    runs = 1 + np.count_nonzero(np.diff(label))
    squares = np.square(counts).sum()
    mean = n + 1 - squares / n
    variance = squares * (squares + n * (n + 1)) - 2 * n * (counts**3).sum() - float(n) ** 3
    variance /= float(n) ** 2 * (n - 1)
    return bool(runs == len(counts) or runs < mean - DEVIATIONS * np.sqrt(variance))


def _stratified(label: np.ndarray) -> np.ndarray:
    """Returns an order, int [n], whose first examples have the classes in their shares.

    It begins with one example of each class.
    """
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    order = np.random.RandomState(SEED).permutation(len(label))
    _, of_class, counts = np.unique(label[order], return_inverse=True, return_counts=True)
    place = np.zeros(len(label))  # place of each example among those of its class
    first = np.cumsum(counts) - counts
    place[np.argsort(of_class, kind="stable")] = np.arange(len(label)) - np.repeat(first, counts)
    share = np.where(place == 0, 0, (place + 0.5) / counts[of_class])
    return order[np.argsort(share, kind="stable")]
