"""Implements TrivialAugment: one operation, at a random strength.

Müller, Hutter (2021), "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", with
the ranges of its wide search space at a strength of 1: rotation 135°, shear .99, translation 32
pixels (or the side, if it is shorter), posterize to 2 bits, solarize from 0. Enhancement is by
1 ± .99, as in torchvision, so that a strength of 0 changes nothing; the authors' factor rises from
.01 to 2. The strength is m/30 with m ~ U{0 … 30}, and is the distance.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, operations, randaugment
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

STRENGTHS = 31


@dataclasses.dataclass(frozen=True)
class TrivialAugment(operations.Chained):
    """Applies one of RandAugment's operations to each image.

    At a distance between two strengths, ``apply`` takes the nearest, and returns it.
    """

    title: ClassVar[str] = "trivial_augment"
    in_sweep: ClassVar[bool] = False

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws strengths."""
        return base.one_group(jax.random.randint(key, (num,), 0, STRENGTHS) / (STRENGTHS - 1))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies the operations; images are uint8 [B, H, W, C] with C = 1 or 3."""
        del input_gradient
        strength = jnp.round(jnp.asarray(distance.value) * (STRENGTHS - 1)) / (STRENGTHS - 1)
        code, amount = draw_operations(key, strength, batch.input.shape)
        depth = jnp.ones_like(batch.label)
        image = operations.chain(batch.input, code, amount, depth, enhance=True)
        moved = image_ops.to_float(image)
        return base.unmixed(moved, batch.label, distance.replace(value=strength))


def draw_operations(
    key: jax.Array, strength: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Draws operations for a batch of ``shape`` [B, H, W, C] at ``strength`` float32 [B].

    Returns:
      code: int32 [1, B], index into ``operations.NAMES``.
      amount: float32 [1, B], in the unit of the operation.
    """
    code_key, sign_key = jax.random.split(key)
    names = operations.codes(randaugment.NAMES)
    code = names[jax.random.randint(code_key, (1, shape[0]), 0, len(names))]
    sign = jax.random.rademacher(sign_key, (1, shape[0]), jnp.float32)
    return code, amounts(code, strength, sign, *shape[1:3])


def amounts(
    code: jax.Array, strength: jax.Array, sign: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns the amount of each operation at a strength in [0, 1]; float32 like code."""
    enhancement = 1 + sign * 0.99 * strength
    amount = {
        "posterize": 8 - jnp.round(6 * strength),
        "rotate": sign * 135 * strength,
        "solarize": 256 - jnp.trunc(256 * strength),
        "shear_x": sign * 0.99 * strength,
        "shear_y": sign * 0.99 * strength,
        "translate_x": sign * jnp.trunc(strength * min(width, 32)),
        "translate_y": sign * jnp.trunc(strength * min(height, 32)),
        "brightness": enhancement,
        "contrast": enhancement,
        "color": enhancement,
        "sharpness": enhancement,
    }
    return operations.choose(code, amount)
