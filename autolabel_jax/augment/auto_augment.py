"""Implements AutoAugment with the published policies, and with random ones.

Cubuk, Zoph, Mané, Vasudevan, Le (2019), "AutoAugment: Learning Augmentation Policies from Data". An
image gets one of 25 sub-policies: two operations, each with a probability and a magnitude m of 9.
Ranges are those of RandAugment, except that the bits of posterize are rounded to nearest. The
strength of an operation is m/9, or 1 for autocontrast, equalize and invert, which have none.
"""

import dataclasses
import functools
import itertools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.augment import base, operations, policies, randaugment
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

ALWAYS_FULL = ("autocontrast", "equalize", "invert")
LOW = -1e9  # logarithm of a probability of 0


class Outcomes(NamedTuple):
    """Holds what a policy can do to an image: each sub-policy with none, one or both operations."""

    log_probability: np.ndarray  # float32 [R]
    number: np.ndarray  # int32 [R], operations that are applied
    code: np.ndarray  # int32 [2, R], index into ``operations.NAMES``; the applied ones first
    strength: np.ndarray  # float32 [2, R]
    mean_strength: np.ndarray  # float32 [R], over the applied operations; 0 without any


@dataclasses.dataclass(frozen=True)
class AutoAugment(operations.Chained):
    """Applies a random sub-policy to each image.

    The group of the distance is the number of operations - 1, or 0 for an image that is left alone,
    and the value is their mean strength. It has only some values. At another one, ``apply`` takes
    the nearest, and returns it.
    """

    title: ClassVar[str] = "auto_augment"
    group_name: ClassVar[str] = "operations"
    in_sweep: ClassVar[bool] = False

    policy: str = setting(
        "cifar10",
        "data set of the published policy, or random",
        choices=(*policies.POLICIES, "random"),
    )
    policy_seed: int = setting(0, "seed of policy=random", low=0)

    @property
    def num_groups(self) -> int:
        """Number of operations of a sub-policy."""
        return 2

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws sub-policies, and which of their operations are applied."""
        every = outcomes(self.policy, self.policy_seed)
        chosen = jax.random.categorical(key, every.log_probability, shape=(num,))
        group = jnp.asarray(_groups(every))[chosen]
        return Distance(group=group, value=jnp.asarray(every.mean_strength)[chosen])

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies a sub-policy of each distance; images are uint8 [B, H, W, C], C = 1 or 3."""
        del input_gradient
        code, amount, number, value = draw_operations(
            key,
            distance,
            batch.input.shape,
            every=outcomes(self.policy, self.policy_seed),
        )
        image = operations.chain(batch.input, code, amount, number, enhance=True)
        moved = image_ops.to_float(image)
        return base.unmixed(moved, batch.label, distance.replace(value=value))


@functools.cache
def outcomes(policy: str, seed: int = 0) -> Outcomes:
    """Lists what a policy can do to an image, R = 100.

    Args:
      policy: key of ``policies.POLICIES``, or 'random'.
      seed: seed of a random policy.
    """
    rows = []
    table = policies.random_policy(seed) if policy == "random" else policies.POLICIES[policy]
    for pair, applied in itertools.product(table, itertools.product((False, True), repeat=2)):
        probability = 1 / len(table)
        done = []
        for (name, chance, magnitude), used in zip(pair, applied, strict=True):
            probability *= chance if used else 1 - chance
            if used:
                # Inverting is solarizing all levels.
                code = operations.CODE["solarize" if name == "invert" else name]
                done.append((code, 1.0 if name in ALWAYS_FULL else magnitude / 9))
        mean = np.mean([strength for _, strength in done]) if done else 0.0
        log_probability = np.log(probability) if probability > 0 else LOW
        done += [(operations.CODE["identity"], 0.0)] * (2 - len(done))
        rows.append((log_probability, sum(applied), *zip(*done, strict=True), mean))
    columns = [np.array(column).T for column in zip(*rows, strict=True)]
    types = (np.float32, np.int32, np.int32, np.float32, np.float32)
    return Outcomes(*(column.astype(t) for column, t in zip(columns, types, strict=True)))


def draw_operations(
    key: jax.Array, distance: Distance, shape: tuple[int, ...], *, every: Outcomes
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws operations at the distances for a batch of ``shape`` [B, H, W, C].

    Returns:
      code: int32 [2, B], index into ``operations.NAMES``.
      amount: float32 [2, B], in the unit of the operation.
      number: int32 [B], operations that are applied.
      value: float32 [B], their mean strength, the possible one next to that of the distance.
    """
    choose_key, sign_key = jax.random.split(key)
    possible = every.log_probability > LOW / 2
    same = possible & (_groups(every) == jnp.asarray(distance.group)[:, None])
    gap = jnp.where(same, jnp.abs(every.mean_strength - distance.value[:, None]), jnp.inf)
    nearest = gap <= gap.min(1, keepdims=True) + 1e-6
    chosen = jax.random.categorical(choose_key, jnp.where(nearest, every.log_probability, -jnp.inf))
    code, strength = jnp.asarray(every.code)[:, chosen], jnp.asarray(every.strength)[:, chosen]
    sign = jax.random.rademacher(sign_key, code.shape, jnp.float32)
    amount = amounts(code, strength, sign, *shape[1:3])
    value = jnp.asarray(every.mean_strength)[chosen]
    return code, amount, jnp.asarray(every.number)[chosen], value


def amounts(
    code: jax.Array, strength: jax.Array, sign: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns the amount of each operation at a strength in [0, 1]; float32 like code."""
    amount = randaugment.amounts(code, 10 * strength, sign, height, width)
    bits = 8 - jnp.round(4 * strength)
    return jnp.where(code == operations.CODE["posterize"], bits, amount)


def _groups(every: Outcomes) -> np.ndarray:
    return np.maximum(every.number - 1, 0)
