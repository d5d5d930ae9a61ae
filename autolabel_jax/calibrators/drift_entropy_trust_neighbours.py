"""Reads all: log T = a + u₁h + u₂t + softplus(c - 2 + v₁δ₁ + v₂δ₂ + v₃δ₃ + v₄g₁ + v₅g₂)."""

from autolabel_jax.calibrators.input_temperature import InputTemperature

CALIBRATOR = InputTemperature(
    "drift_entropy_trust_neighbours",
    linear=("entropy", "trust"),
    rising=(
        "neighbours_1",
        "neighbours_2",
        "neighbours_penultimate",
        "mean_drift",
        "variance_drift",
    ),
)
