"""Calibrates logits of any framework, like an estimator of scikit-learn.

calibrator = Calibrator().fit(held_out_logits, held_out_labels)
probabilities = calibrator.predict_proba(test_logits)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from autolabel_jax.calibrators import base
from autolabel_jax.calibrators.base import HeldOut
from autolabel_jax.calibrators.table import TABLE


class Calibrator:
    """Fits a calibrator on held-out examples and applies it to others.

    Arrays can be anything that ``numpy.asarray`` accepts, such as PyTorch's tensors on the CPU.

    Args:
      name: a key of ``calibrators.TABLE``.

    Raises:
      ValueError: the name is unknown.
    """

    def __init__(self, name: str = "temperature"):
        """Chooses the calibrator."""
        if name not in TABLE:
            raise ValueError(f"calibrator: got {name!r}, expected one of: {', '.join(TABLE)}")
        self.name = name
        self.params_: Any = None

    def fit(
        self,
        logits: ArrayLike,
        labels: ArrayLike,
        *,
        features: Mapping[str, ArrayLike] | None = None,
        group: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> "Calibrator":
        """Fits on held-out examples, never on test, and returns the calibrator.

        Args:
          logits: float [n, K].
          labels: int [n].
          features: float [n] each, by the names in ``neighbours.scalars``.
          group: int [n], 0 for clean examples and others for moved ones; None = all are clean.
          weight: float [n]; None = equal.

        Raises:
          ValueError: the examples are not valid, or a feature is missing.
        """
        label, given = np.asarray(labels), features or {}
        num = len(label)
        held_out = HeldOut(
            logits=np.asarray(logits, np.float32),
            features={name: np.asarray(given[name], np.float32) for name in given},
            label=label,
            distance=np.zeros(num, np.float32),
            group=np.full(num, base.CLEAN) if group is None else np.asarray(group),
            weight=np.asarray(np.ones(num) if weight is None else weight, np.float32),
        )
        self.params_ = TABLE[self.name].fit(held_out)
        return self

    def transform(
        self, logits: ArrayLike, *, features: Mapping[str, ArrayLike] | None = None
    ) -> np.ndarray:
        """Returns calibrated logits float32 [B, K].

        Raises:
          ValueError: the calibrator is not fitted, or a feature is missing.
        """
        if self.params_ is None:
            raise ValueError(f"calibrator {self.name!r} is not fitted; call fit first")
        given = features or {}
        columns = {name: np.asarray(given[name], np.float32) for name in given}
        scaled = TABLE[self.name].apply(self.params_, np.asarray(logits, np.float32), columns)
        return np.asarray(scaled)

    def predict_proba(
        self, logits: ArrayLike, *, features: Mapping[str, ArrayLike] | None = None
    ) -> np.ndarray:
        """Returns calibrated probabilities float64 [B, K]; see ``transform``."""
        from scipy import special  # slow to import

        return special.softmax(self.transform(logits, features=features).astype(float), axis=-1)
