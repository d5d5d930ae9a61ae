"""Implements mixup: x̃ = γ·x_i + (1-γ)·x_j.

Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization". Each example
of the batch is the dominant one, x_j, in one mixture, and its partner x_i is
another example of the batch. So γ is the smaller of the two drawn weights, and
the distance is s = 2γ in [0, 1].

Texts [B, L] are mixed inside the model, after the embedding. So their mixtures are [B, L, 3]: the
tokens of both, and γ; the models of texts read these.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import Dataset
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Mixup(base.Augmentation):
    """Mixes each example with a randomly chosen other example of the batch."""

    title: ClassVar[str] = "mixup"
    num_buckets: ClassVar[int | None] = 10  # mixup's own label varies inside an interval

    concentration: float = setting(
        1.0,
        "γ ~ Beta(concentration, concentration)",
        low=1e-3,
        high=1e3,
        search="log:0.1..10",
    )
    is_text: bool = dataclasses.field(default_factory=bool)  # whether the data are; no setting

    def for_data(self, dataset: Dataset) -> "Mixup":
        """Returns the method with the kind of the data."""
        return dataclasses.replace(self, is_text=dataset.spec.kind == "text")

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws 2·min(γ, 1-γ) with γ ~ Beta(concentration, concentration)."""
        gamma = jax.random.beta(key, self.concentration, self.concentration, (num,))
        return base.one_group(2 * jnp.minimum(gamma, 1 - gamma))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Mixes each row with another; rows that pad a short batch mix only with each other."""
        del input_gradient
        partner = partners(key, batch.mask)
        gamma = jnp.asarray(distance.value) / 2
        clean = image_ops.to_float(batch.input)
        weight = gamma.reshape((-1,) + (1,) * (clean.ndim - 1))
        if self.is_text:
            parts = (clean, clean[partner], jnp.broadcast_to(weight, clean.shape))
            mixed = jnp.stack(parts, axis=-1)
        else:
            mixed = weight * clean[partner] + (1 - weight) * clean
        return Augmented(
            input=mixed,
            label=batch.label,
            distance=distance,
            second_label=batch.label[partner],
            second_weight=gamma,
        )

    def own_confidence(self, distance: Distance) -> jax.Array:
        """Returns 1 - γ, the probability of the dominant class in mixup's own label."""
        return 1 - jnp.asarray(distance.value) / 2


def partners(key: jax.Array, mask: jax.Array) -> jax.Array:
    """Draws partners, int32 [B]: the next rows in a random cyclic order of the real rows."""
    num = mask.shape[0]
    order = jnp.argsort(jax.random.uniform(key, (num,)) + (mask <= 0))
    real = jnp.maximum(jnp.sum(mask > 0), 1).astype(jnp.int32)
    place = jnp.arange(num)
    following = jnp.where(place < real, (place + 1) % real, place)
    return jnp.zeros(num, jnp.int32).at[order].set(order[following].astype(jnp.int32))
