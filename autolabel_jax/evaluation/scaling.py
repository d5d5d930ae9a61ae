"""Applies fitted calibrators to logits before metrics are computed."""

import dataclasses

import numpy as np

from autolabel_jax import processes
from autolabel_jax.calibrators import temperature as temperature_scaling
from autolabel_jax.calibrators import vector as vector_scaling


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Calibrators fitted on the calibration set, for the logits of any other set.

    Attributes:
      temperature: T of softmax(logits / T).
      vector: (w, b) of softmax(logits · w + b), each float64 [K]; None if not fitted.
      temperature_optimum: where the best temperature is, see ``temperature.Optimum.kind``.
      vector_optimum: the same of ``vector``, see ``vector.Optimum.kind``.
    """

    temperature: float
    vector: tuple[np.ndarray, np.ndarray] | None = None
    temperature_optimum: str = temperature_scaling.FINITE
    vector_optimum: str = temperature_scaling.FINITE

    @property
    def optima(self) -> dict[str, str]:
        """Kinds of the optima by name, for ``result.json``."""
        optima = {"temperature_optimum": self.temperature_optimum}
        return optima | ({} if self.vector is None else {"vector_optimum": self.vector_optimum})

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

    An optimum that is not finite is named on standard error.

    Args:
      logits: float [n, K] of the calibration set.
      label: int [n].
      vector: whether to fit vector scaling.

    Raises:
      ValueError: as ``temperature.find``.
    """
    found = temperature_scaling.find(logits, label)
    scaling, warnings = Scaling(found.temperature, temperature_optimum=found.kind), [found.warning]
    if vector:
        scale, bias, kind = by_class = vector_scaling.find(logits, label)
        scaling = dataclasses.replace(scaling, vector=(scale, bias), vector_optimum=kind)
        warnings.append(by_class.warning)
    for warning in filter(None, warnings):
        processes.say(warning)
    return scaling
