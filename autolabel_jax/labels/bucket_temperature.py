"""Learns a temperature of the training loss per bucket from calibration, with one-hot labels.

The loss is computed from softmax(τ_n z), and the output of the model is softmax(z): the trained
logits divided by the temperature τ_n of their bucket, as in temperature scaling (Guo et al. 2017).
A comparison with AutoLabel separates the effect of soft labels from that of the feedback.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base, one_hot
from autolabel_jax.registry import setting
from autolabel_jax.types import BucketStats

# The gradient in the logits z is τ (softmax(τz) - ỹ), so τ also scales the learning rate of a
# bucket, unless the loss is divided by it; beyond a factor of ten no other setting would fit. If
# confidence does not react (memorised copies), τ would grow without bound.
LOW, HIGH = 0.1, 10.0


class TemperatureState(base.LabelState):
    """Holds the temperatures; the confidence is always that of the augmentation's own labels."""

    temperature: jax.Array  # float32 [N], temperature of the training loss


@dataclasses.dataclass(frozen=True)
class BucketTemperature(one_hot.OneHot):
    """Raises τ of an over-confident bucket, so that smaller logits give the same loss.

    τ_n ← clip(τ_n · exp(η (Conf_n - Acc_n)), 1/10, 10); an empty bucket does not change.

    Attributes:
      eta: step size η.
      divide_loss: whether to divide the loss by τ, so that its gradient in the logits z is
        softmax(τz) - ỹ.
    """

    title: ClassVar[str] = "bucket_temperature"
    learns: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    eta: float = setting(1.0, "step size", low=0)
    divide_loss: bool = setting(False, "divide the loss by τ, see docs/label_rules.md")

    def init(
        self, own_confidence: jax.Array, *, num_bins: int = calibration.NUM_BINS
    ) -> TemperatureState:
        """Starts from τ = 1 in every bucket, which is equal to one_hot."""
        del num_bins
        confidence = jnp.asarray(own_confidence, jnp.float32)
        return TemperatureState(confidence=confidence, temperature=jnp.ones_like(confidence))

    def loss_scale(self, state: TemperatureState, bucket: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns τ of each example, and the divisor of the loss: τ if ``divide_loss``, else 1."""
        temperature = state.temperature[bucket]
        return temperature, temperature if self.divide_loss else jnp.ones_like(temperature)

    def update(
        self, state: TemperatureState, stats: BucketStats, *, num_groups: int = 1
    ) -> TemperatureState:
        """Returns the temperatures after a calibration pass; see the class."""
        del num_groups
        gap = calibration.confidence(stats) - calibration.accuracy(stats)
        moved = jnp.clip(state.temperature * jnp.exp(self.eta * gap), LOW, HIGH)
        return state.replace(
            temperature=jnp.where(calibration.count(stats) > 0, moved, state.temperature)
        )

    def metrics(self, state: TemperatureState) -> dict[str, jax.Array]:
        """Returns the labels and the temperatures."""
        return super().metrics(state) | {"temperature": state.temperature}
