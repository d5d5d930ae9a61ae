"""Reads how much several views of an image disagree, see ``evaluation.views``.

disagreement        log T = a + u·j
drift_disagreement  log T = a + u·j + softplus(c - 2 + v₁g₁ + v₂g₂)

with j the logarithm of the Jensen-Shannon divergence of the views' predictions.
"""

from autolabel_jax.calibrators.input_temperature import InputTemperature

CALIBRATOR = InputTemperature("disagreement", linear=("disagreement",))
WITH_DRIFT = InputTemperature(
    "drift_disagreement", linear=("disagreement",), rising=("mean_drift", "variance_drift")
)
