"""Reads drift, entropy and trust: log T = a + u₁h + u₂t + softplus(c - 2 + v₁g₁ + v₂g₂)."""

from autolabel_jax.calibrators.input_temperature import InputTemperature

CALIBRATOR = InputTemperature(
    "drift_entropy_trust",
    linear=("entropy", "trust"),
    rising=("mean_drift", "variance_drift"),
)
