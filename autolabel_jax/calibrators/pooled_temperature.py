"""Scales logits by one temperature, fitted on clean and moved held-out examples together.

Tomani et al. (2021), "Post-hoc Uncertainty Calibration for Domain Drift Scenarios", perturb the
validation set in the same spirit.
"""

import dataclasses

import numpy as np

from autolabel_jax.calibrators import temperature
from autolabel_jax.calibrators.base import HeldOut, Params


@dataclasses.dataclass(frozen=True)
class PooledTemperature(temperature.Temperature):
    """Computes logits / T, with T of all held-out examples by their weights."""

    def fit(self, held_out: HeldOut) -> Params:
        """Fits {'temperature': float32 []}; see ``base.Method``."""
        found = temperature.fit_temperature(held_out.logits, held_out.label, held_out.weight)
        return {"temperature": np.float32(found)}
