"""No augmentation beyond crop and flip: every distance is 0."""

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


def draw(key: jax.Array, num: int) -> Distance:
    """Distance 0 for each of ``num`` examples."""
    del key
    return Distance(group=jnp.zeros(num, jnp.int32), value=jnp.zeros(num, jnp.float32))


def apply(
    key: jax.Array, batch: Batch, distance: Distance, input_gradient: InputGradient | None = None
) -> Augmented:
    """The images as they are, uint8 scaled to [0, 1]."""
    del key, input_gradient
    return unmixed(image_ops.to_float(batch.input), batch.label, distance)


def unmixed(image: jax.Array, label: jax.Array, distance: Distance) -> Augmented:
    """Augmented examples that hold one class each."""
    return Augmented(
        input=image,
        label=label,
        distance=distance,
        second_label=label,
        second_weight=jnp.zeros(label.shape, jnp.float32),
    )
