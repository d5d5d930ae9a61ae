"""AugMix with one chain: x̃ = λ·x + (1-λ)·chain_d(x).

Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan (2020), "AugMix: A Simple
Data Processing Method to Improve Robustness and Uncertainty": nine operations
that do not overlap with the corruptions of the test sets, chained d deep. The
distance is the pair of the depth d and 1-λ, with λ ~ U[0, 1].
"""

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import none, operations
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


def num_groups(*, severity: float, max_depth: int) -> int:
    """One group for each depth of the chain."""
    del severity
    return max_depth


def draw(key: jax.Array, num: int, *, severity: float, max_depth: int) -> Distance:
    """Depth d ~ U{1 … max_depth} as group d - 1, and 1-λ ~ U[0, 1] as value."""
    del severity
    depth_key, value_key = jax.random.split(key)
    return Distance(
        group=jax.random.randint(depth_key, (num,), 0, max_depth),
        value=jax.random.uniform(value_key, (num,)),
    )


def apply(
    key: jax.Array,
    batch: Batch,
    distance: Distance,
    input_gradient: InputGradient | None = None,
    *,
    severity: float,
    max_depth: int,
) -> Augmented:
    """Mixes each image with its own chain of operations, as deep as its group says.

    Args:
      key: typed PRNG key.
      batch: images uint8 [B, H, W, C] with C = 1 or 3.
      distance: group is depth - 1, value is 1-λ.
      input_gradient: not used.
      severity: operation levels ~ U(.1, severity), of 10.
      max_depth: operations drawn for each image.

    Raises:
      ValueError: images of another type or shape.
    """
    del input_gradient
    operations.check_input(batch.input.shape, batch.input.dtype)
    code, amount = draw_operations(key, batch.input.shape, severity=severity, max_depth=max_depth)
    chained = operations.chain(batch.input, code, amount, distance.group + 1)
    share = distance.value[:, None, None, None]
    mixed = (1 - share) * image_ops.to_float(batch.input) + share * image_ops.to_float(chained)
    return none.unmixed(mixed, batch.label, distance)


def draw_operations(
    key: jax.Array, shape: tuple[int, ...], *, severity: float, max_depth: int
) -> tuple[jax.Array, jax.Array]:
    """What the chains of a batch of ``shape`` [B, H, W, C] are made of.

    Returns:
      code: int32 [max_depth, B], place in ``operations.NAMES``.
      amount: float32 [max_depth, B], in the operation's unit.
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
    """Amount of each operation at a level of 10, as in the authors' code; float32 like level."""

    def whole(most):
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
