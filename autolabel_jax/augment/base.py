"""What an augmentation is: it draws distances, moves examples by them, and describes itself."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.datasets import KINDS, InputSpec
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """An augmentation method; the dataclass fields of a subclass are its settings.

    A subclass defines ``draw`` and ``apply``, and whatever else differs from here.

    Attributes:
      title: name in tables; "": the name in the config.
      kinds: kinds of input that it accepts, see ``datasets.InputSpec``.
      group_name: what the discrete part of the distance counts, for tables and figures.
      num_buckets: intervals of the distance in sweeps over augmentations; None: the config's.
      distance_is_given: whether distances come with the data instead of ``draw``.
      moves_inputs: whether the input ever differs from the clean one.
      attacks_model: whether ``apply`` depends on the model's parameters.
    """

    title: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = KINDS
    group_name: ClassVar[str] = "group"
    num_buckets: ClassVar[int | None] = None
    distance_is_given: ClassVar[bool] = False
    moves_inputs: ClassVar[bool] = True
    attacks_model: ClassVar[bool] = False

    @property
    def num_groups(self) -> int:
        """G, the number of values of the discrete part of the distance."""
        return 1

    def check_input(self, spec: InputSpec) -> None:
        """Refuses inputs that it cannot move.

        Raises:
          ValueError: names the field, the inputs and what would do.
        """
        if spec.kind not in self.kinds:
            raise ValueError(
                f"augment.name: {self.name!r} accepts inputs of kind {', '.join(self.kinds)}; "
                f"got {spec.kind!r}"
            )

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.title or type(self).__name__

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Distances as training draws them.

        Args:
          key: typed PRNG key.
          num: number of examples.

        Returns:
          Distance [num], with groups in [0, num_groups) and values in [0, 1].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no draw")

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Moves each example by exactly its distance, whoever drew it.

        Args:
          key: typed PRNG key.
          batch: clean examples [B, ...].
          distance: [B]; training draws it with ``draw``, calibration inside a bucket.
          input_gradient: gradient of each example's loss in its input.

        Returns:
          Augmented [B, ...].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no apply")

    def own_confidence(self, distance: Distance) -> jax.Array:
        """Probability that the method's own label gives the dominant class, float32 [B]."""
        return jnp.ones_like(jnp.asarray(distance.value))


def one_group(value: jax.Array) -> Distance:
    """Distances [B] of an augmentation with a single group."""
    return Distance(group=jnp.zeros(value.shape, jnp.int32), value=value)


def unmixed(moved: jax.Array, label: jax.Array, distance: Distance) -> Augmented:
    """Augmented examples that hold one class each.

    Args:
      moved: float32 [B, ...].
      label: int32 [B].
      distance: [B].
    """
    return Augmented(
        input=moved,
        label=label,
        distance=distance,
        second_label=label,
        second_weight=jnp.zeros(label.shape, jnp.float32),
    )
