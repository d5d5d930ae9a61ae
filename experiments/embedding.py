"""Computes embeddings: the input of a network's last layer, for each example of a data set."""

from typing import Any

import numpy as np
import pyarrow

from autolabel_jax import datasets, input_pipeline
from autolabel_jax.evaluation import predict
from autolabel_jax.evaluation.predict import Predictor


def table(predictor: Predictor, dataset: datasets.Dataset) -> pyarrow.Table:
    """Computes the embedding of each example, in the order of the data.

    Raises:
      ValueError: the network does not say what the input of its last layer is.
    """
    names = np.array(dataset.class_names or list(map(str, range(dataset.num_classes))))
    columns: dict[str, list[Any]] = {"input": [], "label": [], "split": []}
    parts = {"train": [dataset.train, dataset.calibration], "test": [dataset.test]}
    if dataset.calibration is dataset.train:
        parts["train"] = [dataset.train]
    for split_name, splits in parts.items():
        found = [_embed(predictor, datasets.in_memory(split)) for split in splits]
        order = np.argsort(np.concatenate([split.index for split in splits]), kind="stable")
        label = np.concatenate([datasets.in_memory(split).label for split in splits])[order]
        columns["input"] += list(np.concatenate(found)[order])
        columns["label"] += names[label].tolist()
        columns["split"] += [split_name] * len(label)
    return pyarrow.table(columns)


def _embed(predictor: Predictor, split: datasets.Split) -> np.ndarray:
    whole = input_pipeline.put_split(split, predictor.mesh)
    _, features = predictor.dispatch(whole, program=predict.logits_and_features)()
    if features.penultimate is None:
        raise ValueError("model.name: the network records no input of its last layer")
    return features.penultimate
