"""Implements AugMix, with one chain, x̃ = λ·x + (1-λ)·chain_d(x), or with several.

Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan (2020), "AugMix: A Simple
Data Processing Method to Improve Robustness and Uncertainty": nine operations
that do not overlap with the corruptions of the test sets, chained d deep. The
distance is the pair of the depth d and 1-λ, with λ ~ U[0, 1].

As published there are three chains, and x̃ = λ·x + (1-λ)·Σ_c w_c·chain_c(x) with
λ ~ Beta(1, 1), which is U[0, 1], w ~ Dirichlet(1, 1, 1), and a depth for each
chain. The depth in the distance is then their mean, rounded.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.augment import base, operations
from autolabel_jax.registry import setting
from autolabel_jax.types import Array, Augmented, Batch, Distance, InputGradient

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
    """Mixes each image with its own chains of operations.

    The group of the distance is the depth of the chain - 1, or the rounded mean of their depths
    - 1, and the value is 1-λ.
    """

    title: ClassVar[str] = "augmix"
    group_name: ClassVar[str] = "chain depth"

    severity: float = setting(
        3.0, "operation levels ~ U(.1, severity), of 10", low=0.1, high=10, search="1..10"
    )
    max_depth: int = setting(3, "chain depth is drawn from 1 … max_depth", low=1, high=100)
    chains: int = setting(1, "number of chains (3 as published)", low=1, high=10)

    @property
    def num_groups(self) -> int:
        """Number of depths of a chain."""
        return self.max_depth

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws value ~ U[0, 1] and the depth of each chain ~ U{1 … max_depth}."""
        if self.chains == 1:
            return super().draw(key, num)
        depth_key, value_key = jax.random.split(key)
        depth = jax.random.randint(depth_key, (num, self.chains), 1, self.max_depth + 1)
        return Distance(
            group=_group(depth.sum(-1), self.chains), value=jax.random.uniform(value_key, (num,))
        )

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies the chains and mixes; images are uint8 [B, H, W, C] with C = 1 or 3."""
        del input_gradient
        settings = {"severity": self.severity, "max_depth": self.max_depth}
        if self.chains == 1:
            code, amount = draw_operations(key, batch.input.shape, **settings)
            chained = operations.chain(batch.input, code, amount, distance.group + 1)
        else:
            group = jnp.asarray(distance.group)
            drawn = draw_chains(key, group, batch.input.shape, chains=self.chains, **settings)
            chained = mix_chains(batch.input, *drawn)
        share = jnp.asarray(distance.value)[:, None, None, None]
        mixed = (1 - share) * image_ops.to_float(batch.input) + share * image_ops.to_float(chained)
        return base.unmixed(mixed, batch.label, distance)


def draw_chains(
    key: jax.Array,
    group: jax.Array,
    shape: tuple[int, ...],
    *,
    chains: int,
    severity: float,
    max_depth: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws several chains for each image of a batch of ``shape`` [B, H, W, C].

    Args:
      key: typed PRNG key.
      group: int32 [B], group of the distance.
      shape: shape of the batch.
      chains: number of chains M.
      severity: largest level.
      max_depth: largest depth D.

    Returns:
      code: int32 [D, B·M], index into ``operations.NAMES``; the chains of an image are consecutive.
      amount: float32 [D, B·M], in the unit of the operation.
      depth: int32 [B, M].
      weight: float32 [B, M], shares of the chains in their mixture.
    """
    operation_key, depth_key, weight_key = jax.random.split(key, 3)
    size = (shape[0] * chains, *shape[1:])
    code, amount = draw_operations(operation_key, size, severity=severity, max_depth=max_depth)
    depth = draw_depths(depth_key, group, chains=chains, max_depth=max_depth)
    weight = jax.random.dirichlet(weight_key, jnp.ones(chains), (shape[0],))
    return code, amount, depth, weight


def draw_depths(key: jax.Array, group: jax.Array, *, chains: int, max_depth: int) -> jax.Array:
    """Draws independent depths ~ U{1 … max_depth}, given the group of their mean.

    Chain by chain, a depth is drawn by the chance that the depths after it lead to the group.

    Args:
      key: typed PRNG key.
      group: int32 [B].
      chains: number of chains M.
      max_depth: largest depth D.

    Returns:
      int32 [B, M].
    """
    depths = np.arange(1, max_depth + 1)
    ends = _group(np.arange(chains * max_depth + 1), chains)
    chance = np.equal.outer(np.arange(max_depth), ends).astype(np.float64)  # [group, sum so far]
    chances = [chance]
    for _ in range(chains - 1):
        # The rolled-in columns are sums that cannot occur with chains left.
        chance = np.mean([np.roll(chance, -depth, 1) for depth in depths], 0)
        chances.append(chance)
    total, drawn = jnp.zeros_like(group), []
    for chance, one_key in zip(reversed(chances), jax.random.split(key, chains), strict=True):
        log_chance = jnp.log(jnp.asarray(chance, jnp.float32))
        logits = log_chance[group[:, None], total[:, None] + depths]
        drawn.append(1 + jax.random.categorical(one_key, logits).astype(group.dtype))
        total = total + drawn[-1]
    return jnp.stack(drawn, -1)


def mix_chains(
    image: jax.Array, code: jax.Array, amount: jax.Array, depth: jax.Array, weight: jax.Array
) -> jax.Array:
    """Returns Σ_c w_c·chain_c(x) of uint8 images [B, H, W, C]; the others as of ``draw_chains``."""
    num, chains = depth.shape
    copies = jnp.repeat(image, chains, axis=0)
    chained = operations.chain(copies, code, amount, depth.reshape(-1))
    chained = image_ops.to_float(chained).reshape(num, chains, *image.shape[1:])
    weight = weight[:, :, None, None, None]
    mixed = weight[:, 0] * chained[:, 0]
    for c in range(1, chains):  # a sum over the axis is three times slower on the CPU
        mixed += weight[:, c] * chained[:, c]
    return mixed


def _group(total_depth: Array, chains: int) -> Array:
    """Returns the mean depth - 1, rounded half up."""
    return (2 * total_depth + chains) // (2 * chains) - 1


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
