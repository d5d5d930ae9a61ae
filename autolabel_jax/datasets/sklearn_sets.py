"""Reads the small tables that scikit-learn contains: ``dataset='sklearn/wine'`` and others.

``sklearn/digits`` has the 64 grey levels of the images that ``digits`` has enlarged.

A third of each class is the test split, the same in every run.
"""

import numpy as np

from autolabel_jax.datasets.digits import split_rows
from autolabel_jax.datasets.split import Source, Split

PREFIX = "sklearn/"
NAMES = ("wine", "breast_cancer", "iris", "digits")


def read(name: str) -> Source:
    """Reads feature vectors, float32 [n, D], and labels.

    Args:
      name: 'sklearn/' and one of NAMES.

    Raises:
      ValueError: the name is unknown.
    """
    from sklearn import datasets  # slow to import

    short = name.removeprefix(PREFIX)
    if short not in NAMES:
        known = ", ".join(PREFIX + known for known in NAMES)
        raise ValueError(f"dataset: got {name!r}, expected one of: {known}")
    found = getattr(datasets, f"load_{short}")()
    label = found.target.astype(np.int32)
    everything = Split(found.data.astype(np.float32), label, None, np.arange(len(label)))
    train, test = split_rows(label)
    names = tuple(map(str, found.target_names))
    return Source(everything.take(train), everything.take(test), len(names), names, "features")
