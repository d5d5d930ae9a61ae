"""Converts logits of classes to logits of superclasses."""

import numpy as np


def add_up(logits: np.ndarray, superclass: np.ndarray) -> np.ndarray:
    """Computes the log-sum-exp of the classes of each superclass, float [n, C].

    The softmax of the result is the sum of the softmax of the classes.

    Args:
      logits: float [n, K].
      superclass: int [K], in [0, C), each at least once.
    """
    from scipy import special  # slow to import

    members = [superclass == c for c in range(superclass.max() + 1)]
    return np.stack([special.logsumexp(logits[:, own], axis=1) for own in members], axis=1)
