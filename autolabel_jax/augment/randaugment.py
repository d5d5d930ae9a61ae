"""Implements RandAugment: a few of fourteen operations, all at one magnitude.

Cubuk, Zoph, Shlens, Le (2020), "RandAugment: Practical Automated Data
Augmentation with a Reduced Search Space". The distance is the pair of the
number of operations and the magnitude. Ranges at magnitude 10 of 10 are those
of AutoAugment (Cubuk et al. 2019): rotation 30°, shear .3, translation 150/331
of the side, posterize to 4 bits, solarize from 0, and enhancement by 1 ± .9;
signs are random.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, operations
from autolabel_jax.registry import setting
from autolabel_jax.types import Array, Augmented, Batch, Distance, InputGradient

NAMES = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclasses.dataclass(frozen=True)
class RandAugment(operations.Chained):
    """Applies random operations to each image, all at one magnitude.

    The group of the distance is the number of operations - 1, and the value is
    magnitude / max_magnitude.
    """

    title: ClassVar[str] = "randaugment"
    group_name: ClassVar[str] = "operations"

    max_operations: int = setting(
        2, "number of operations is drawn from 1 … max_operations", low=1, high=100
    )
    max_magnitude: float = setting(
        10.0, "magnitude ~ U(0, max_magnitude), of 10", low=0, high=10, search="1..10"
    )

    @property
    def num_groups(self) -> int:
        """Number of possible numbers of operations."""
        return self.max_operations

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies the operations; images are uint8 [B, H, W, C] with C = 1 or 3."""
        del input_gradient
        magnitude = distance.value * self.max_magnitude
        code, amount = draw_operations(
            key, magnitude, batch.input.shape, max_operations=self.max_operations
        )
        image = operations.chain(batch.input, code, amount, distance.group + 1, enhance=True)
        return base.unmixed(image_ops.to_float(image), batch.label, distance)


def draw_operations(
    key: jax.Array, magnitude: Array, shape: tuple[int, ...], *, max_operations: int
) -> tuple[jax.Array, jax.Array]:
    """Draws operations for a batch of ``shape`` [B, H, W, C] at ``magnitude`` float32 [B], of 10.

    Returns:
      code: int32 [max_operations, B], index into ``operations.NAMES``.
      amount: float32 [max_operations, B], in the unit of the operation.
    """
    code_key, sign_key = jax.random.split(key)
    size = (max_operations, shape[0])
    code = operations.codes(NAMES)[jax.random.randint(code_key, size, 0, len(NAMES))]
    sign = jax.random.rademacher(sign_key, size, jnp.float32)
    return code, amounts(code, magnitude, sign, *shape[1:3])


def amounts(
    code: jax.Array, magnitude: Array, sign: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns the amount of each operation at a magnitude of 10; float32 like code."""
    share = magnitude / 10
    enhancement = 1 + sign * 0.9 * share
    amount = {
        "posterize": 8 - jnp.trunc(4 * share),
        "rotate": sign * 30 * share,
        "solarize": 256 - jnp.trunc(256 * share),
        "shear_x": sign * 0.3 * share,
        "shear_y": sign * 0.3 * share,
        "translate_x": sign * jnp.trunc(share * width * 150 / 331),
        "translate_y": sign * jnp.trunc(share * height * 150 / 331),
        "brightness": enhancement,
        "contrast": enhancement,
        "color": enhancement,
        "sharpness": enhancement,
    }
    return operations.choose(code, amount)
