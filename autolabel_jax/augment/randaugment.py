"""RandAugment: a few operations out of fourteen, all at one magnitude.

Cubuk, Zoph, Shlens, Le (2020), "RandAugment: Practical Automated Data
Augmentation with a Reduced Search Space". The distance is the pair of the
number of operations and the magnitude. Ranges at magnitude 10 of 10 are those
of AutoAugment (Cubuk et al. 2019): rotation 30°, shear .3, translation 150/331
of the side, posterize to 4 bits, solarize from 0, and enhancement by 1 ± .9;
the sign is random wherever there are two.
"""

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import none, operations
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

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


def num_groups(*, max_operations: int, max_magnitude: float) -> int:
    """One group for each number of operations."""
    del max_magnitude
    return max_operations


def draw(key: jax.Array, num: int, *, max_operations: int, max_magnitude: float) -> Distance:
    """n ~ U{1 … max_operations} as group n - 1, magnitude / max_magnitude ~ U[0, 1] as value."""
    del max_magnitude
    number_key, value_key = jax.random.split(key)
    return Distance(
        group=jax.random.randint(number_key, (num,), 0, max_operations),
        value=jax.random.uniform(value_key, (num,)),
    )


def apply(
    key: jax.Array,
    batch: Batch,
    distance: Distance,
    input_gradient: InputGradient | None = None,
    *,
    max_operations: int,
    max_magnitude: float,
) -> Augmented:
    """As many random operations as each image's group says, at the magnitude of its value.

    Args:
      key: typed PRNG key.
      batch: images uint8 [B, H, W, C] with C = 1 or 3.
      distance: group is the number of operations - 1, value is magnitude / max_magnitude.
      input_gradient: not used.
      max_operations: operations drawn for each image.
      max_magnitude: the magnitude of distance 1, of 10.

    Raises:
      ValueError: images of another type or shape.
    """
    del input_gradient
    operations.check_input(batch.input.shape, batch.input.dtype)
    magnitude = distance.value * max_magnitude
    code, amount = draw_operations(key, magnitude, batch.input.shape, max_operations=max_operations)
    image = operations.chain(batch.input, code, amount, distance.group + 1, enhance=True)
    return none.unmixed(image_ops.to_float(image), batch.label, distance)


def draw_operations(
    key: jax.Array, magnitude: jax.Array, shape: tuple[int, ...], *, max_operations: int
) -> tuple[jax.Array, jax.Array]:
    """What is done to a batch of ``shape`` [B, H, W, C] at ``magnitude`` float32 [B], of 10.

    Returns:
      code: int32 [max_operations, B], place in ``operations.NAMES``.
      amount: float32 [max_operations, B], in the operation's unit.
    """
    code_key, sign_key = jax.random.split(key)
    size = (max_operations, shape[0])
    code = operations.codes(NAMES)[jax.random.randint(code_key, size, 0, len(NAMES))]
    sign = jax.random.rademacher(sign_key, size, jnp.float32)
    return code, amounts(code, magnitude, sign, *shape[1:3])


def amounts(
    code: jax.Array, magnitude: jax.Array, sign: jax.Array, height: int, width: int
) -> jax.Array:
    """Amount of each operation at a magnitude of 10; float32 like code."""
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
