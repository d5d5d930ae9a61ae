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

    Labels in one run per class are always in order.
    """
    counts = np.unique(label, return_counts=True)[1]
    if not 1 < len(counts) < len(label):
        return False
    runs = 1 + np.count_nonzero(np.diff(label))
    mean, deviation = random_runs(counts)
    return bool(runs == len(counts) or runs < mean - DEVIATIONS * deviation)


def random_runs(counts: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of the number of runs of equal labels in random order.

    Barton and David (1957), "Multiple runs", Biometrika 44.

    Args:
      counts: number of examples of each class, int [K].
    """
    counts = counts.astype(np.float64)
    n, squares, cubes = counts.sum(), np.square(counts).sum(), (counts**3).sum()
    variance = squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3
    return n + 1 - squares / n, np.sqrt(variance / (n**2 * (n - 1)))


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
