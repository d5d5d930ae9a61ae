"""Implements mixup and CutMix by turns, as users of timm combine them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.augment import cutmix, mixup
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class MixupCutMix(mixup.Mixup):
    """Mixes each example by mixup (group 0) or by CutMix (group 1)."""

    title: ClassVar[str] = "mixup_cutmix"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    in_sweep: ClassVar[bool] = False
    group_name: ClassVar[str] = "method"

    cutmix_share: float = setting(0.5, "probability of CutMix instead of mixup", low=0, high=1)
    cutmix_concentration: float = setting(
        1.0, "as concentration, for CutMix's share of the box", low=1e-3, high=1e3
    )

    @property
    def num_groups(self) -> int:
        """Number of methods."""
        return 2

    @property
    def cutmix(self) -> cutmix.CutMix:
        """The method of group 1."""
        return cutmix.CutMix(self.cutmix_concentration)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws the method, and the distance as the method does."""
        group_key, mixup_key, cutmix_key = jax.random.split(key, 3)
        cut = jax.random.bernoulli(group_key, self.cutmix_share, (num,))
        mixed, pasted = super().draw(mixup_key, num).value, self.cutmix.draw(cutmix_key, num).value
        return Distance(group=cut.astype(jnp.int32), value=jnp.where(cut, pasted, mixed))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Applies the method of each example's group."""
        del input_gradient
        mixup_key, cutmix_key = jax.random.split(key)
        mixed = super().apply(mixup_key, batch, distance)
        pasted = self.cutmix.apply(cutmix_key, batch, distance)

        def choose(pasted: jax.Array, mixed: jax.Array) -> jax.Array:
            cut = jnp.asarray(distance.group) == 1
            return jnp.where(cut.reshape((-1,) + (1,) * (mixed.ndim - 1)), pasted, mixed)

        return jax.tree.map(choose, pasted, mixed)
