"""One-hot labels, and a temperature of the training loss, learned per bucket from calibration.

The loss is that of softmax(τ_n z), the model's output softmax(z): the trained logits divided by
their bucket's temperature τ_n, as in temperature scaling (Guo et al. 2017), but in training. It
stands beside AutoLabel to tell what its labels do from what its feedback does.
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

# The gradient in the logits z is τ (softmax(τz) - ỹ), so that τ scales a bucket's learning rate
# too, unless the loss is divided by it; beyond a factor of ten no other setting suits it. Where
# confidence does not follow (memorised copies), the integral below would grow without end.
LOW, HIGH = 0.1, 10.0


class TemperatureState(base.LabelState):
    """What the rule learns; the confidence stays that of the augmentation's own labels."""

    temperature: jax.Array  # float32 [N], of the training loss


@dataclasses.dataclass(frozen=True)
class BucketTemperature(one_hot.OneHot):
    """Over-confident: τ rises, so that smaller logits give the same loss; an empty bucket stays.

    τ_n ← clip(τ_n · exp(η (Conf_n - Acc_n)), 1/10, 10)

    Attributes:
      eta: step size η.
      divide_loss: the loss over τ, whose gradient in the logits z is softmax(τz) - ỹ, as that of
        one-hot labels but for the softmax.
    """

    title: ClassVar[str] = "bucket_temperature"
    learns: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    eta: float = setting(1.0, "step size", low=0)
    divide_loss: bool = setting(False, "the loss over τ, see docs/method.md")

    def init(
        self, own_confidence: jax.Array, *, num_bins: int = calibration.NUM_BINS
    ) -> TemperatureState:
        """τ = 1 in every bucket, which is one_hot."""
        del num_bins
        confidence = jnp.asarray(own_confidence, jnp.float32)
        return TemperatureState(confidence=confidence, temperature=jnp.ones_like(confidence))

    def loss_scale(self, state: TemperatureState, bucket: jax.Array) -> tuple[jax.Array, jax.Array]:
        """τ of each example, and what divides the loss: τ with ``divide_loss``, else 1."""
        temperature = state.temperature[bucket]
        return temperature, temperature if self.divide_loss else jnp.ones_like(temperature)

    def update(
        self, state: TemperatureState, stats: BucketStats, *, num_groups: int = 1
    ) -> TemperatureState:
        """The temperatures after a calibration pass, see the class."""
        del num_groups
        gap = calibration.confidence(stats) - calibration.accuracy(stats)
        moved = jnp.clip(state.temperature * jnp.exp(self.eta * gap), LOW, HIGH)
        return state.replace(
            temperature=jnp.where(calibration.count(stats) > 0, moved, state.temperature)
        )

    def metrics(self, state: TemperatureState) -> dict[str, jax.Array]:
        """The labels and the temperatures."""
        return super().metrics(state) | {"temperature": state.temperature}
