"""The handwritten digits that come with scikit-learn: real images with no download.

Alpaydin, Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI.
"""

import numpy as np
from PIL import Image

from autolabel_jax.datasets.split import Source, Split

SIDE = 32  # of an image, from 8
SPLIT_SEED = 0  # of the test third; never the seed of a run


def read() -> Source:
    """1,198 training and 599 test images, uint8 [n, 32, 32, 3], ten classes.

    The test third is the same in every run and holds a third of each class.
    """
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    label = digits.target.astype(np.int32)
    everything = Split(
        input=_enlarge(np.rint(digits.images * (255 / 16)).astype(np.uint8)),
        label=label,
        distance=None,
        index=np.arange(len(label)),
    )
    train, test = _rows(label)
    return Source(
        train=everything.take(train),
        test=everything.take(test),
        num_classes=10,
        class_names=tuple(str(name) for name in digits.target_names),
    )


def _rows(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training split, shuffled, and of the test split.

    scikit-learn's rows are ordered by writer; shuffled, the first so many are a fair sample.
    """
    # RandomState, unlike Generator, promises the same stream in every version of NumPy.
    random = np.random.RandomState(SPLIT_SEED)
    test = []
    for k in range(10):
        of_class = random.permutation(np.flatnonzero(label == k))
        test.append(of_class[: round(len(of_class) / 3)])
    test = np.sort(np.concatenate(test))
    return random.permutation(np.setdiff1d(np.arange(len(label)), test)), test


def _enlarge(grey: np.ndarray) -> np.ndarray:
    """uint8 [n, 8, 8] → [n, 32, 32, 3], bilinear."""
    size = (SIDE, SIDE)
    large = [np.asarray(Image.fromarray(g).resize(size, Image.Resampling.BILINEAR)) for g in grey]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1)
