"""Implements Patch Gaussian: normal noise in a square of the image.

Lopes, Yin, Poole, Gilmer, Cubuk (2019), "Improving Robustness Without Sacrificing Accuracy with
Patch Gaussian Augmentation". The patch has a fixed width, and its centre is uniform over the image,
so it may hang over the border; σ ~ U[0, max_sigma]. The distance is the root mean square of the
noise over the whole image, σ·√(share of the patch), divided by the largest. It does not count that
pixels are clipped to [0, 1] afterwards.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base, boxes
from autolabel_jax.datasets import InputSpec
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class PatchGaussian(base.Augmentation):
    """Adds noise to a box of each image."""

    title: ClassVar[str] = "patch_gaussian"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    in_sweep: ClassVar[bool] = False

    patch_width: float = setting(0.75, "width of the patch, of the image's side", low=0.01, high=1)
    max_sigma: float = setting(
        0.3, "largest σ, of a pixel range of 1", low=0, high=10, search="0.05..1"
    )

    def check_input(self, spec: InputSpec) -> None:
        """Checks that inputs are in [0, 1], because σ is a share of that range."""
        super().check_input(spec)
        base.check_unit_range(self.name, spec, "σ")

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws σ·√(share) / (max_sigma·patch_width)."""
        sigma_key, place_key = jax.random.split(key)
        share = boxes.draw_share(place_key, jnp.full(num, self.patch_width))
        root = jnp.minimum(jnp.sqrt(share) / self.patch_width, 1)
        return base.one_group(root * jax.random.uniform(sigma_key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Adds noise in a patch drawn as the method does, among those where σ is large enough."""
        del input_gradient
        centre_key, choose_key, place_key, noise_key = jax.random.split(key, 4)
        shape, width = batch.input.shape[1:], self.patch_width
        root = width * jnp.asarray(distance.value)  # √(share) if σ is max_sigma
        depths = boxes.candidates(centre_key, root[:, None] ** 2, width)
        share = boxes.inside(width, depths[0]) * boxes.inside(width, depths[1])
        log_weight = depths[2] - jnp.log(share) / 2
        share, *depths = boxes.choose(choose_key, log_weight, share, depths[0], depths[1])
        side = jnp.full_like(share, width)
        box = boxes.place(place_key, share, side, (depths[0], depths[1]), shape)
        # With the area in whole pixels, the root mean square is that of the distance.
        area = box.area(shape)
        sigma = self.max_sigma * root / jnp.sqrt(jnp.maximum(area, boxes.TINY))
        noise = sigma[:, None, None, None] * jax.random.normal(noise_key, batch.input.shape)
        clean = image_ops.to_float(batch.input)
        moved = jnp.where(box.mask(shape), jnp.clip(clean + noise, 0, 1), clean)
        value = jnp.where(area > 0, distance.value, 0)
        return base.unmixed(moved, batch.label, distance.replace(value=value))
