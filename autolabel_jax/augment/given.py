"""Accepts examples that are already augmented, with their distances in the data set."""

import dataclasses
from typing import ClassVar

import jax

from autolabel_jax.augment import none
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Given(none.Identity):
    """Reads distances from the data; ``draw`` is never called."""

    title: ClassVar[str] = "given"
    num_buckets: ClassVar[int | None] = None
    in_sweep: ClassVar[bool] = False
    distance_is_given: ClassVar[bool] = True
    moves_inputs: ClassVar[bool] = True

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Returns the inputs with the distances from the data."""
        given = distance.replace(value=batch.distance)
        return super().apply(key, batch, given, input_gradient)
