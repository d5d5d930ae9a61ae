"""Defines the base class of augmentations."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.datasets import KINDS, Dataset, InputSpec
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Draws distances and moves examples by them; dataclass fields of a subclass are its settings.

    A subclass defines ``draw`` and ``apply``, and overrides what differs from this class.

    Attributes:
      title: name in tables ("" = name of the class).
      kinds: kinds of input that the method accepts, see ``datasets.InputSpec``.
      group_name: name of the discrete part of the distance, for tables and figures.
      num_buckets: number of intervals in sweeps over augmentations (None = that of the config).
      in_sweep: whether sweeps over augmentations include the method by default.
      distance_is_given: whether distances come from the data instead of ``draw``.
      rounds: whether ``apply`` can return another distance than it is given, by rounding; held-out
        examples then count in the bucket of the distance that they got.
      moves_inputs: whether augmented inputs can differ from clean ones.
      attacks_model: whether ``apply`` depends on the model's parameters.
    """

    title: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = KINDS
    group_name: ClassVar[str] = "group"
    num_buckets: ClassVar[int | None] = None
    in_sweep: ClassVar[bool] = True
    distance_is_given: ClassVar[bool] = False
    rounds: ClassVar[bool] = False
    moves_inputs: ClassVar[bool] = True
    attacks_model: ClassVar[bool] = False

    @property
    def num_groups(self) -> int:
        """Number of groups G, the values of the discrete part of the distance."""
        return 1

    def check_input(self, spec: InputSpec) -> None:
        """Checks that the method accepts the inputs.

        Raises:
          ValueError: it does not.
        """
        if spec.kind not in self.kinds:
            raise ValueError(
                f"augment.name: {self.name!r} accepts inputs of kind {', '.join(self.kinds)}; "
                f"got {spec.kind!r}"
            )

    def for_data(self, dataset: Dataset) -> "Augmentation":
        """Returns the method with what it reads of a data set, such as the scale of its inputs."""
        del dataset
        return self

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.title or type(self).__name__

    def unmoved(self, inputs: jax.Array) -> jax.Array:
        """Returns clean inputs in the shape of those that ``apply`` returns."""
        return image_ops.to_float(inputs)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws distances for training.

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
        """Moves each example by its distance.

        Args:
          key: typed PRNG key.
          batch: clean examples [B, ...].
          distance: Distance [B], drawn by ``draw`` in training and inside a bucket in calibration.
          input_gradient: computes the gradient of each example's loss in its input.

        Returns:
          Augmented [B, ...].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no apply")

    def own_confidence(self, distance: Distance) -> jax.Array:
        """Returns the probability of the dominant class in the method's own label, float32 [B]."""
        return jnp.ones_like(jnp.asarray(distance.value))


def one_group(value: jax.Array) -> Distance:
    """Makes distances [B] of an augmentation with a single group."""
    return Distance(group=jnp.zeros(value.shape, jnp.int32), value=value)


def check_unit_range(name: str, spec: InputSpec, length: str) -> None:
    """Checks that inputs are in [0, 1].

    Args:
      name: name of the augmentation.
      spec: what the inputs are like; uint8 is scaled to [0, 1].
      length: symbol of the setting that is a share of that range.

    Raises:
      ValueError: they are not.
    """
    if spec.dtype != "uint8" and not 0 <= spec.low <= spec.high <= 1:
        raise ValueError(
            f"augment.name: got {name!r}, whose {length} is a share of a pixel range of [0, 1], "
            f"but the data have values from {spec.low:g} to {spec.high:g}; scale them to [0, 1]"
        )


def check_waveforms(name: str, spec: InputSpec) -> None:
    """Checks that inputs of kind 'audio' are waveforms.

    Raises:
      ValueError: they are spectrograms.
    """
    if len(spec.shape) != 1:
        raise ValueError(
            f"augment.name: {name!r} moves waveforms [samples]; got spectrograms "
            f"{list(spec.shape)}; use spec_augment"
        )


def unmixed(moved: jax.Array, label: jax.Array, distance: Distance) -> Augmented:
    """Makes augmented examples of one class each.

    Args:
      moved: augmented inputs, float32 [B, ...].
      label: int32 [B].
      distance: Distance [B].
    """
    return Augmented(
        input=moved,
        label=label,
        distance=distance,
        second_label=label,
        second_weight=jnp.zeros(label.shape, jnp.float32),
    )
