"""Reads the weights of classes in the loss."""

import math

import numpy as np
from ml_collections import ConfigDict


def given_weights(config: ConfigDict) -> list[float] | None:
    """Reads the weights of ``class_weights``; None for 'none' and 'balanced'.

    Raises:
      ValueError: it is none of these, and no positive numbers either.
    """
    text = config.class_weights
    if text in ("none", "balanced"):
        return None
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = [math.nan]
    if not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"class_weights: got {text!r}, expected 'none', 'balanced', or a positive number for "
            "each class, such as '1,2.5,1'"
        )
    return weights


def class_weights(config: ConfigDict, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the weight of each class in the loss, float32 [K].

    'balanced' gives n / (K·n_k), as ``compute_class_weight`` of scikit-learn, where K counts the
    classes that have examples; their mean over the examples is 1. A class without examples gets 1.

    Args:
      config: config with ``class_weights`` other than 'none'.
      label: labels of the training examples, int [n].
      num_classes: number of classes K.

    Raises:
      ValueError: the number of weights differs from that of classes.
    """
    weights = given_weights(config)
    if weights is None:
        counts = np.bincount(label, minlength=num_classes)
        balanced = len(label) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.where(counts > 0, balanced, 1).astype(np.float32)
    if len(weights) != num_classes:
        raise ValueError(
            f"class_weights: got {len(weights)} numbers for {num_classes} classes; give one for "
            "each class, in the order of class_names in dataset.json"
        )
    return np.array(weights, np.float32)
