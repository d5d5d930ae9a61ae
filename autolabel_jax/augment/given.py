"""Accepts examples that are already augmented, with their distances in the data set."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from autolabel_jax.augment import none
from autolabel_jax.augment.base import Augmentation
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Given(none.Identity):
    """Reads distances from the data; ``draw`` is never called."""

    title: ClassVar[str] = "given"
    num_buckets: ClassVar[int | None] = None
    in_sweep: ClassVar[bool] = False
    distance_is_given: ClassVar[bool] = True
    moves_inputs: ClassVar[bool] = True

    def for_data(self, dataset: Dataset) -> Augmentation:
        """Returns the method with the groups of the data."""
        return GivenInGroups(len(dataset.group_names)) if dataset.group_names else self

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Returns the inputs with the distances, and groups if there are some, from the data."""
        group = distance.group if batch.group is None else batch.group
        given = Distance(group=group, value=batch.distance)
        return super().apply(key, batch, given, input_gradient)


@dataclasses.dataclass(frozen=True)
class GivenInGroups(Given):
    """Reads distances in several groups; it is ``augment.name='given'`` of data with groups."""

    number: int = 1

    @property
    def num_groups(self) -> int:
        """Number of groups in the data."""
        return self.number


def distances(split: Split) -> Distance:
    """Returns the distances [n] that come with a split."""
    assert split.distance is not None
    group = np.zeros(len(split), np.int32) if split.group is None else split.group
    return Distance(group=group, value=split.distance)
