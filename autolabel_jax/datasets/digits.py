"""Reads the handwritten digits of scikit-learn, which are real images without a download.

Alpaydin, Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI.
"""

import functools

import numpy as np
from PIL import Image

from autolabel_jax.datasets.split import Source, Split

SIDE = 32  # side of an image in pixels, enlarged from 8
SPLIT_SEED = 0  # draws the test third; independent of the seed of a run


def read() -> Source:
    """Reads 1,198 training and 599 test images, uint8 [n, 32, 32, 3], of ten classes.

    The test split is the same in every run and contains a third of each class.
    """
    everything = _everything()
    train, test = split_rows(everything.label)
    return Source(
        train=everything.take(train),
        test=everything.take(test),
        num_classes=10,
        class_names=tuple(map(str, range(10))),
    )


@functools.cache
def _everything() -> Split:
    """Reads all images, once in a process that trains several runs."""
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    return Split(
        input=_enlarge(np.rint(digits.images * (255 / 16)).astype(np.uint8)),
        label=digits.target.astype(np.int32),
        distance=None,
        index=np.arange(len(digits.target)),
    )


def split_rows(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the training split, shuffled, and of the test split.

    The test split has a third of each class.

    scikit-learn orders rows by writer; shuffling makes the first N examples a fair sample.
    """
    # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
    random = np.random.RandomState(SPLIT_SEED)
    test = []
    for k in np.unique(label):
        of_class = random.permutation(np.flatnonzero(label == k))
        test.append(of_class[: round(len(of_class) / 3)])
    test = np.sort(np.concatenate(test))
    return random.permutation(np.setdiff1d(np.arange(len(label)), test)), test


def _enlarge(grey: np.ndarray) -> np.ndarray:
    """Enlarges uint8 [n, 8, 8] to [n, 32, 32, 3], bilinearly."""
    size = (SIDE, SIDE)
    large = [np.asarray(Image.fromarray(g).resize(size, Image.Resampling.BILINEAR)) for g in grey]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1)
