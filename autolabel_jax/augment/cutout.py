"""Implements Cutout: a square of the image is hidden.

DeVries, Taylor (2017), "Improved Regularization of Convolutional Neural Networks with Cutout". The
centre is uniform over the image, so the square may hang over the border. The published side is
fixed; here it is drawn up to that one, and the distance is the share of the image that is hidden,
divided by the largest. In images that are not square, the box has the aspect of the image.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, boxes
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class Cutout(base.Augmentation):
    """Hides a box of each image; ``apply`` returns the distance of the box in whole pixels."""

    title: ClassVar[str] = "cutout"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    in_sweep: ClassVar[bool] = False

    max_side: float = setting(
        0.5,
        "side of the hidden box ~ U(0, max_side), of the image's side",
        low=0.01,
        high=1,
        search="0.1..1",
    )
    fill: float = setting(0.5, "value of pixels without image, of a range of 1", low=0, high=1)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws the share that a random box hides, divided by max_side²."""
        size_key, place_key = jax.random.split(key)
        side = self.max_side * jax.random.uniform(size_key, (num,))
        share = boxes.draw_share(place_key, side)
        return base.one_group(jnp.minimum(share / self.max_side**2, 1))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Hides the boxes; the side is drawn as the method does, among those that hide as much."""
        del input_gradient
        centre_key, choose_key, place_key = jax.random.split(key, 3)
        shape = batch.input.shape[1:]
        share = jnp.asarray(distance.value) * self.max_side**2
        first, second, log_weight = boxes.candidates(centre_key, share[:, None], self.max_side)
        side, slope = boxes.side_of(share[:, None], first, second, self.max_side)
        chosen = boxes.choose(choose_key, log_weight - jnp.log(slope), side, first, second)
        box = boxes.place(place_key, share, chosen[0], (chosen[1], chosen[2]), shape)
        moved = jnp.where(box.mask(shape), self.fill, image_ops.to_float(batch.input))
        value = jnp.minimum(box.area(shape) / self.max_side**2, 1)
        return base.unmixed(moved, batch.label, distance.replace(value=value))
