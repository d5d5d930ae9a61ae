"""Fitted calibrators → the logits that each set of metrics is taken of."""

import dataclasses

import numpy as np

from autolabel_jax.calibrators import temperature


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Calibrators fitted on the calibration set, to apply to the logits of any other set.

    Attributes:
      temperature: T of softmax(logits / T).
      vector: (w, b) of softmax(logits · w + b), each float64 [K]; None: not fitted.
    """

    temperature: float
    vector: tuple[np.ndarray, np.ndarray] | None = None

    def scaled_logits(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Suffix of a metric's name → the logits that it is taken of, float32 [n, K].

        '' is before scaling, '_ts' after temperature scaling, '_vs' after vector scaling where
        it was fitted.
        """
        logits = np.asarray(logits, np.float32)
        by_suffix = {"": logits, "_ts": logits / np.float32(self.temperature)}
        if self.vector is not None:
            scale, bias = (part.astype(np.float32) for part in self.vector)
            by_suffix["_vs"] = logits * scale + bias
        return by_suffix


def fit(logits: np.ndarray, label: np.ndarray, *, vector: bool = False) -> Scaling:
    """Fits the temperature, and with ``vector`` scales and biases too.

    Args:
      logits: float [n, K] of the calibration set.
      label: int [n].
      vector: fit vector scaling as well.

    Raises:
      ValueError: as ``temperature.fit_temperature``.
    """
    return Scaling(
        temperature.fit_temperature(logits, label),
        temperature.fit_vector(logits, label) if vector else None,
    )
