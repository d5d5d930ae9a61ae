"""Applies fitted calibrators to logits before metrics are computed."""

import dataclasses

import numpy as np

from autolabel_jax.calibrators import temperature
from autolabel_jax.calibrators import vector as vector_scaling


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Calibrators fitted on the calibration set, for the logits of any other set.

    Attributes:
      temperature: T of softmax(logits / T).
      vector: (w, b) of softmax(logits · w + b), each float64 [K]; None if not fitted.
    """

    temperature: float
    vector: tuple[np.ndarray, np.ndarray] | None = None

    def scaled_logits(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Returns logits float32 [n, K] by the suffix of the metrics' names.

        '' is before scaling, '_ts' after temperature scaling, and '_vs' after vector scaling if it
        was fitted.
        """
        logits = np.asarray(logits, np.float32)
        by_suffix = {"": logits, "_ts": logits / np.float32(self.temperature)}
        if self.vector is not None:
            scale, bias = (part.astype(np.float32) for part in self.vector)
            by_suffix["_vs"] = logits * scale + bias
        return by_suffix


def fit(logits: np.ndarray, label: np.ndarray, *, vector: bool = False) -> Scaling:
    """Fits the temperature, and with ``vector`` also scales and biases.

    Args:
      logits: float [n, K] of the calibration set.
      label: int [n].
      vector: whether to fit vector scaling.

    Raises:
      ValueError: as ``temperature.fit_temperature``.
    """
    return Scaling(
        temperature.fit_temperature(logits, label),
        vector_scaling.fit_vector(logits, label) if vector else None,
    )
