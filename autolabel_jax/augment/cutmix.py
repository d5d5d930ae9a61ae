"""Implements CutMix: a box of one image is pasted into another.

Yun, Han, Oh, Chun, Choe, Yoo (2019), "CutMix: Regularization Strategy to Train Strong Classifiers
with Localizable Features". The box has a share 1-λ of the image, with λ ~ Beta(a, a), before it is
cut off at the border. The label has the share that remains. As in mixup, each example dominates one
mixture: it is the pasted image or the other one, whichever covers more, and the distance is twice
the share γ of its partner.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, boxes, mixup
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class CutMix(mixup.Mixup):
    """Gives each image a box of another image of the batch, or all except a box.

    Boxes have whole pixels, so their share differs from the drawn one, by at most a few pixels.
    ``apply`` returns the distance of the share that was covered.
    """

    title: ClassVar[str] = "cutmix"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    in_sweep: ClassVar[bool] = False

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws 2·min(share, 1 - share) with the share of a random box inside the image."""
        size_key, place_key = jax.random.split(key)
        size = jax.random.beta(size_key, self.concentration, self.concentration, (num,))
        share = boxes.draw_share(place_key, jnp.sqrt(size))
        return base.one_group(2 * jnp.minimum(share, 1 - share))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Pastes; rows that pad a short batch mix only with each other."""
        del input_gradient
        partner_key, box_key = jax.random.split(key)
        partner = mixup.partners(partner_key, batch.mask)
        shape = batch.input.shape[1:]
        box, in_box = self.draw_box(box_key, jnp.asarray(distance.value) / 2, shape)
        of_partner = box.mask(shape) == in_box[:, None, None, None]
        mixed = jnp.where(of_partner, batch.input[partner], batch.input)
        gamma = jnp.where(in_box, box.area(shape), 1 - box.area(shape))
        return Augmented(
            input=image_ops.to_float(mixed),
            label=batch.label,
            distance=distance.replace(value=2 * gamma),
            second_label=batch.label[partner],
            second_weight=gamma,
        )

    def draw_box(
        self, key: jax.Array, gamma: jax.Array, shape: tuple[int, ...]
    ) -> tuple[boxes.Box, jax.Array]:
        """Draws a box as the method does, among those that divide the image as γ : 1-γ.

        Args:
          key: typed PRNG key.
          gamma: float32 [B], in [0, 1/2].
          shape: [H, W, ...] of an image.

        Returns:
          The boxes, and whether a box holds the smaller share, bool [B].
        """
        centre_key, choose_key, place_key = jax.random.split(key, 3)
        in_box = jnp.arange(boxes.CANDIDATES) % 2 == 0
        share = jnp.where(in_box, gamma[:, None], 1 - gamma[:, None])
        first, second, log_weight = boxes.candidates(centre_key, share, 1.0)
        side, slope = boxes.side_of(share, first, second, 1.0)
        size = jnp.clip(side**2, boxes.TINY, 1 - boxes.TINY)
        log_density = (self.concentration - 1) * (jnp.log(size) + jnp.log1p(-size)) + jnp.log(side)
        log_weight += log_density - jnp.log(slope)
        share, side, *depths = boxes.choose(choose_key, log_weight, share, side, first, second)
        return boxes.place(place_key, share, side, (depths[0], depths[1]), shape), share <= 0.5
