"""Implements AugMix with one chain: x̃ = λ·x + (1-λ)·chain_d(x).

Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan (2020), "AugMix: A Simple
Data Processing Method to Improve Robustness and Uncertainty": nine operations
that do not overlap with the corruptions of the test sets, chained d deep. The
distance is the pair of the depth d and 1-λ, with λ ~ U[0, 1].
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, operations
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

NAMES = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclasses.dataclass(frozen=True)
class AugMix(operations.Chained):
    """Mixes each image with its own chain of operations.

    The group of the distance is the depth of the chain - 1, and the value is 1-λ.
    """

    title: ClassVar[str] = "augmix"
    group_name: ClassVar[str] = "chain depth"

    severity: float = setting(
        3.0, "operation levels ~ U(.1, severity), of 10", low=0.1, high=10, search="1..10"
    )
    max_depth: int = setting(3, "chain depth is drawn from 1 … max_depth", low=1, high=100)

    @property
    def num_groups(self) -> int:
        """Number of depths of the chain."""
        return self.max_depth

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies the chains and mixes; images are uint8 [B, H, W, C] with C = 1 or 3."""
        del input_gradient
        code, amount = draw_operations(
            key, batch.input.shape, severity=self.severity, max_depth=self.max_depth
        )
        chained = operations.chain(batch.input, code, amount, distance.group + 1)
        share = jnp.asarray(distance.value)[:, None, None, None]
        mixed = (1 - share) * image_ops.to_float(batch.input) + share * image_ops.to_float(chained)
        return base.unmixed(mixed, batch.label, distance)


def draw_operations(
    key: jax.Array, shape: tuple[int, ...], *, severity: float, max_depth: int
) -> tuple[jax.Array, jax.Array]:
    """Draws the chains for a batch of ``shape`` [B, H, W, C].

    Returns:
      code: int32 [max_depth, B], index into ``operations.NAMES``.
      amount: float32 [max_depth, B], in the unit of the operation.
    """
    code_key, level_key, sign_key = jax.random.split(key, 3)
    size = (max_depth, shape[0])
    code = operations.codes(NAMES)[jax.random.randint(code_key, size, 0, len(NAMES))]
    level = jax.random.uniform(level_key, size, minval=0.1, maxval=severity)
    sign = jax.random.rademacher(sign_key, size, jnp.float32)
    return code, amounts(code, level, sign, *shape[1:3])


def amounts(
    code: jax.Array, level: jax.Array, sign: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns the amount of each operation at a level of 10, as in the authors' code; float32."""

    def whole(most: float) -> jax.Array:
        return jnp.trunc(level * most / 10)

    amount = {
        "posterize": 4 - whole(4),
        "rotate": sign * whole(30),
        "solarize": 256 - whole(256),
        "shear_x": sign * level * 0.3 / 10,
        "shear_y": sign * level * 0.3 / 10,
        "translate_x": sign * whole(width / 3),
        "translate_y": sign * whole(height / 3),
    }
    return operations.choose(code, amount)
