"""One-hot labels, and a temperature of the training loss, learned per bucket from calibration.

The loss is that of softmax(τ_n z), the model's output softmax(z): the trained logits divided by
their bucket's temperature τ_n, as in temperature scaling (Guo et al. 2017), but in training. It
stands beside AutoLabel to tell what its labels do from what its feedback does.
"""

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import one_hot
from autolabel_jax.types import BucketStats, TemperedLabelState

# The gradient in the logits z is τ (softmax(τz) - ỹ), so that τ scales a bucket's learning rate
# too, unless the loss is divided by it; beyond a factor of ten no other setting suits it. Where
# confidence does not follow (memorised copies), the integral below would grow without end.
LOW, HIGH = 0.1, 10.0

soft_labels = one_hot.soft_labels


def init(own_confidence: jax.Array) -> TemperedLabelState:
    """τ = 1 in every bucket, which is one_hot.

    Args:
      own_confidence: float [N]; kept as it is and read by nothing.
    """
    confidence = jnp.asarray(own_confidence, jnp.float32)
    return TemperedLabelState(confidence=confidence, temperature=jnp.ones_like(confidence))


def loss_scale(
    state: TemperedLabelState, bucket: jax.Array, *, divide_loss: bool
) -> tuple[jax.Array, jax.Array]:
    """What ``losses.cross_entropy`` multiplies logits by, τ, and divides the loss by.

    Args:
      state: temperature [N].
      bucket: int32 [B] in [0, N).
      divide_loss: the loss over τ, whose gradient in the logits z is softmax(τz) - ỹ, as that of
        one-hot labels but for the softmax; else 1.

    Returns:
      float32 [B], float32 [B].
    """
    temperature = state.temperature[bucket]
    return temperature, temperature if divide_loss else jnp.ones_like(temperature)


def update(state: TemperedLabelState, stats: BucketStats, *, eta: float) -> TemperedLabelState:
    """Over-confident: τ rises, so that smaller logits give the same loss; an empty bucket stays.

    τ_n ← clip(τ_n · exp(η (Conf_n - Acc_n)), 1/10, 10)

    Args:
      state: temperature [N].
      stats: sums [N, R] over held-out augmented images.
      eta: step size η.
    """
    gap = calibration.confidence(stats) - calibration.accuracy(stats)
    moved = jnp.clip(state.temperature * jnp.exp(eta * gap), LOW, HIGH)
    return state.replace(
        temperature=jnp.where(calibration.count(stats) > 0, moved, state.temperature)
    )
