"""mixup: x̃ = γ·x_i + (1-γ)·x_j (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization").

Each example of the batch is the dominant one, x_j, of one mixture; its
partner x_i is another of the batch, so γ is the smaller of the two drawn
weights, and the distance is s = 2γ in [0, 1].
"""

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


def draw(key: jax.Array, num: int, *, concentration: float) -> Distance:
    """2·min(γ, 1-γ) with γ ~ Beta(concentration, concentration)."""
    gamma = jax.random.beta(key, concentration, concentration, (num,))
    value = 2 * jnp.minimum(gamma, 1 - gamma)
    return Distance(group=jnp.zeros(num, jnp.int32), value=value)


def apply(
    key: jax.Array,
    batch: Batch,
    distance: Distance,
    input_gradient: InputGradient | None = None,
    *,
    concentration: float = 1.0,
) -> Augmented:
    """Mixes each image with that of a randomly chosen other row of the batch.

    Rows that pad a short batch are partners of one another only.
    """
    del input_gradient, concentration
    partner = _partners(key, batch.mask)
    gamma = distance.value / 2
    image = image_ops.to_float(batch.input)
    weight = gamma.reshape((-1,) + (1,) * (image.ndim - 1))
    return Augmented(
        input=weight * image[partner] + (1 - weight) * image,
        label=batch.label,
        distance=distance,
        second_label=batch.label[partner],
        second_weight=gamma,
    )


def own_confidence(distance: Distance) -> jax.Array:
    """1 - γ, mixup's own label for the dominant class."""
    return 1 - jnp.asarray(distance.value) / 2


def _partners(key: jax.Array, mask: jax.Array) -> jax.Array:
    """int32 [B]: a random cyclic order of the real rows, each row's partner being the next."""
    num = mask.shape[0]
    order = jnp.argsort(jax.random.uniform(key, (num,)) + (mask <= 0))
    real = jnp.maximum(jnp.sum(mask > 0), 1).astype(jnp.int32)
    place = jnp.arange(num)
    following = jnp.where(place < real, (place + 1) % real, place)
    return jnp.zeros(num, jnp.int32).at[order].set(order[following].astype(jnp.int32))
