"""Hides features of a vector [D], or time steps of a series [T, C], behind the mean.

The number of hidden ones is uniform over 0 … M, where M is the share ``max_hidden`` of all, rounded
down but at least 1, and the distance is that number / M. A categorical column of a table is one
feature, whose entries are hidden together. The time steps are scattered in one group, and follow
one another in the other.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import Dataset, tables
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class FeatureMasking(base.Augmentation):
    """Hides a whole number of features or steps; ``apply`` returns the distance of that number."""

    title: ClassVar[str] = "feature_masking"
    kinds: ClassVar[tuple[str, ...]] = ("series", "features")
    group_name: ClassVar[str] = "mask"
    in_sweep: ClassVar[bool] = False
    rounds: ClassVar[bool] = True

    max_hidden: float = setting(
        0.5, "largest share of features or time steps hidden", low=0.01, high=1, search="0.1..0.9"
    )
    # What the method reads of a data set; no settings.
    mean: tuple[float, ...] = dataclasses.field(default_factory=lambda: (0.0,))
    # Number of the feature or step of each entry of the first axis; () before ``for_data``.
    feature: tuple[int, ...] = dataclasses.field(default_factory=tuple)
    is_series: bool = dataclasses.field(default_factory=bool)

    @property
    def num_groups(self) -> int:
        """Two kinds of masks for series: scattered steps, and a block of steps."""
        return 2 if self.is_series else 1

    @property
    def most(self) -> int:
        """Largest number of hidden features or steps; 0 before ``for_data``."""
        num = 1 + max(self.feature, default=-1)
        return max(1, int(self.max_hidden * num)) if num else 0

    def for_data(self, dataset: Dataset) -> "FeatureMasking":
        """Returns the method with the mean, and the features or steps, of the data."""
        spec = dataset.spec
        columns = tables.column_of(dataset.encoding)
        return dataclasses.replace(
            self,
            mean=tuple(dataset.mean.tolist()),
            feature=columns or tuple(range(spec.shape[0])),
            is_series=spec.kind == "series",
        )

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws the number of hidden features or steps, and the kind of mask."""
        group_key, key = jax.random.split(key)
        group = jax.random.randint(group_key, (num,), 0, self.num_groups)
        if not self.most:
            return Distance(group=group, value=jax.random.uniform(key, (num,)))
        hidden = jax.random.randint(key, (num,), 0, self.most + 1)
        return Distance(group=group, value=hidden / self.most)

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Hides as many features or steps as the distance says, rounded to a whole number."""
        del input_gradient
        clean = image_ops.to_float(batch.input)
        num, total = clean.shape[0], 1 + max(self.feature)
        hidden = jnp.round(jnp.asarray(distance.value) * self.most)
        scatter_key, block_key = jax.random.split(key)
        shape = (num, total)
        order = jnp.argsort(jax.random.uniform(scatter_key, shape), axis=1)
        place = jnp.arange(total, dtype=jnp.float32)
        first = jnp.floor(jax.random.uniform(block_key, (num,)) * (total - hidden + 1))
        after = place - first[:, None]
        is_block = jnp.asarray(distance.group)[:, None] == 1
        mask = jnp.where(
            is_block, (after >= 0) & (after < hidden[:, None]), order < hidden[:, None]
        )
        mask = mask[:, np.array(self.feature)]
        mask = mask.reshape(mask.shape + (1,) * (clean.ndim - 2))
        moved = jnp.where(mask, np.array(self.mean, np.float32), clean)
        value = (hidden / self.most).astype(jnp.float32)
        return base.unmixed(moved, batch.label, distance.replace(value=value))
