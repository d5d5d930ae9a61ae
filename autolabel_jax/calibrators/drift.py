"""Reads batch-norm drift alone: log T = a + softplus(c - 2 + v₁g₁ + v₂g₂).

It needs neither training images nor their neighbours at inference.
"""

from autolabel_jax.calibrators.input_temperature import InputTemperature

CALIBRATOR = InputTemperature("drift", rising=("mean_drift", "variance_drift"))
