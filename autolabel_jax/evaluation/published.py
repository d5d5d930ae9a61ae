"""Reads, checks and evaluates published corrupted sets."""

from collections.abc import Callable

import numpy as np

from autolabel_jax import input_pipeline
from autolabel_jax.corruptions.published import Published
from autolabel_jax.datasets import Split, StreamedSplit
from autolabel_jax.evaluation import corrupted
from autolabel_jax.evaluation.predict import Predictor


def start(
    predictor: Predictor, test: Split | StreamedSplit, sets: Published, name: str, severity: int
) -> Callable[[], corrupted.Finished]:
    """Starts one set on the device; the returned function waits for its metrics.

    Args:
      predictor: the trained model.
      test: the clean test split; its number and shape of images are read.
      sets: the folder's reader.
      name: name of the corruption.
      severity: 1 … 5.

    Raises:
      ValueError: the images or labels of the set do not match the model.
    """
    fetches, labels = [], []
    for split in sets.read(name, severity, len(test), test.input.shape[1]):
        _check(f"{name}/{severity}", split, test.input.shape[1:], predictor.num_classes)
        fetches.append(predictor.dispatch(input_pipeline.put_split(split, predictor.mesh)))
        labels.append(split.label)
    label = np.concatenate(labels)
    return lambda: corrupted.finish(predictor, np.concatenate([f() for f in fetches]), label)


def _check(unit: str, split: Split, shape: tuple[int, ...], num_classes: int) -> None:
    if split.input.shape[1:] != shape or split.label.max() >= num_classes:
        raise ValueError(
            f"--corrupted_data: {unit} has images {split.input.shape[1:]} and labels up to "
            f"{split.label.max()}; expected {shape} with {num_classes} classes"
        )
