"""Implements adversarial training: max over ‖δ‖∞ ≤ ε of the loss, by projected gradient ascent.

PGD of Madry et al. (2018), "Towards Deep Learning Models Resistant to
Adversarial Attacks", with ε ~ U[0, max_epsilon] for each example; the
distance is ε / max_epsilon. The model is in inference mode under attack.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import accumulation, image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import InputSpec
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Adversarial(base.Augmentation):
    """Attacks the model with PGD, each example inside a ball of its own radius."""

    title: ClassVar[str] = "adversarial"
    kinds: ClassVar[tuple[str, ...]] = ("image", "audio", "series", "features")
    attacks_model: ClassVar[bool] = True

    max_epsilon: float = setting(
        8 / 255,
        "largest ε, of a pixel range of 1",
        low=0,
        high=1,
        search="log:0.004..0.06",
    )
    num_steps: int = setting(10, "number of PGD steps", low=1, high=1000)
    # 2/255 at an ε of 8/255 is 1/4.
    step_ratio: float = setting(0.25, "length of a PGD step as a share of ε", low=0, high=100)

    def check_input(self, spec: InputSpec) -> None:
        """Checks that inputs are in [0, 1], because ε is a share of that range."""
        super().check_input(spec)
        base.check_unit_range(self.name, spec, "ε")

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws ε / max_epsilon ~ U[0, 1]."""
        return base.one_group(jax.random.uniform(key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Runs PGD from a random start, with each example in its own ball."""
        clean = image_ops.to_float(batch.input)
        epsilon = (self.max_epsilon * distance.value).reshape((-1,) + (1,) * (clean.ndim - 1))
        low, high = jnp.maximum(clean - epsilon, 0), jnp.minimum(clean + epsilon, 1)
        start = clean + epsilon * jax.random.uniform(key, clean.shape, minval=-1, maxval=1)

        def ascend(_: jax.Array, moved: jax.Array) -> jax.Array:
            assert input_gradient is not None  # every caller gives it
            gradient = input_gradient(moved, batch.label)
            return jnp.clip(moved + self.step_ratio * epsilon * jnp.sign(gradient), low, high)

        unroll = accumulation.loop_unroll(self.num_steps)
        start = jnp.clip(start, low, high)
        moved = jax.lax.fori_loop(0, self.num_steps, ascend, start, unroll=unroll)
        return base.unmixed(moved, batch.label, distance)
