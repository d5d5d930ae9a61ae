"""Reads the weights of classes in the loss, and checks the setting of those of examples."""

import math

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax.datasets import Dataset

EXAMPLE_WEIGHTS = ("none", "reweight")


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


def check_example_weights(config: ConfigDict) -> None:
    """Checks ``example_weights``; ``check_held_out`` checks the data.

    Raises:
      ValueError: it is unknown, or needs held-out examples and none are held out.
    """
    given = config.example_weights
    if given not in EXAMPLE_WEIGHTS:
        known = ", ".join(EXAMPLE_WEIGHTS)
        raise ValueError(f"example_weights: got {given!r}, expected one of: {known}")
    if given == "reweight" and config.calibration.source == "train":
        raise ValueError(
            "example_weights: got 'reweight' with calibration.source='train'; the weights follow "
            "from examples that are held out, use calibration.source='heldout'"
        )


def check_held_out(config: ConfigDict, dataset: Dataset) -> None:
    """Checks that examples from which weights follow have not the labels that these judge.

    Raises:
      ValueError: their labels were replaced too.
    """
    differ = 0 if dataset.relabelled is None else dataset.relabelled.calibration
    if config.example_weights == "reweight" and differ:
        raise ValueError(
            f"example_weights: got 'reweight', which needs clean labels of held-out examples, but "
            f"{differ} of {len(dataset.calibration)} differ by data.train_labels; use "
            "data.clean_calibration=True, or data with a calibration split of their own"
        )
