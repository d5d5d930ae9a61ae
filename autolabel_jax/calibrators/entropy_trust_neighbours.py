"""Reads entropy, trust and distances to neighbours: log T = a + u₁h + u₂t + v₁δ₁ + v₂δ₂."""

from autolabel_jax.calibrators.input_temperature import InputTemperature

CALIBRATOR = InputTemperature(
    "entropy_trust_neighbours",
    linear=("entropy", "trust", "neighbours_1", "neighbours_2"),
)
