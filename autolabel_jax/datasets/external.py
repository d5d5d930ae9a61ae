"""Reads external data sets: ``dataset=module:Class``, a class with ``read(data_dir)``."""

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.datasets.split import Source, Split


def read(config: ConfigDict) -> Source:
    """Reads a data set with the named class, whose settings are the fields of ``config.data``.

    Args:
      config: config with the fields dataset, data_dir and data.

    Raises:
      ValueError: the class does not exist or has no ``read``, or its arrays do not fit ``Split``.
    """
    name = config.dataset
    method = registry.load("dataset", name)
    if not callable(getattr(method, "read", None)):
        raise ValueError(f"dataset: got {name!r}, a class without the method read(data_dir)")
    source = registry.bind("data", method, config.get("data", {})).read(config.data_dir)
    if not isinstance(source, Source):
        raise ValueError(
            f"dataset: {name!r}.read returned {type(source).__name__}, expected datasets.Source"
        )
    for split in ("train", "test"):
        _check(f"dataset: {name!r}, {split} split", getattr(source, split))
    return source


def _check(where: str, split: Split) -> None:
    inputs, label = split.input, split.label
    if inputs.dtype not in (np.uint8, np.float32):
        raise ValueError(f"{where}: inputs are {inputs.dtype}, must be uint8 or float32")
    if label.dtype != np.int32 or label.shape != (len(inputs),) or inputs.ndim < 2:
        raise ValueError(
            f"{where}: got inputs {list(inputs.shape)} with labels {label.dtype} "
            f"{list(label.shape)}, expected [n, ...] and int32 [n]"
        )
