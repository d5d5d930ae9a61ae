"""Logits of classes → logits of superclasses, whose probabilities are the sums of theirs."""

import numpy as np


def add_up(logits: np.ndarray, superclass: np.ndarray) -> np.ndarray:
    """Log of the summed exponentials of each superclass's classes, float [n, C].

    Softmax of them is the sum of the classes' softmax.

    Args:
      logits: float [n, K].
      superclass: int [K], in [0, C), each at least once.
    """
    from scipy import special  # slow to import

    members = [superclass == c for c in range(superclass.max() + 1)]
    return np.stack([special.logsumexp(logits[:, own], axis=1) for own in members], axis=1)
