"""Implements the crop of Soft Augmentation: the image moves out of its frame.

Liu, Yan, Leal-Taixé, Hays, Ramanan (2023), "Soft Augmentation for Image Classification". The offset
along each axis is normal with a standard deviation of σ sides, drawn again if it is longer than a
side. The visibility v is the share of the image that remains, and the distance is 1 - v. With
``labels.rule='polynomial'`` it is the published method.
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
class SoftCrop(base.Augmentation):
    """Moves each image along both axes; ``apply`` returns the distance in whole pixels."""

    title: ClassVar[str] = "soft_crop"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    in_sweep: ClassVar[bool] = False

    offset_sigma: float = setting(
        0.3, "standard deviation of the offset, in sides", low=0.01, high=10, search="0.05..0.5"
    )
    fill: float = setting(0.5, "value of pixels without image, of a range of 1", low=0, high=1)

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws 1 - v of two random offsets."""
        most = 1 / self.offset_sigma
        offset = self.offset_sigma * jax.random.truncated_normal(key, 0.0, most, (2, num))
        return base.one_group(jnp.clip(1 - (1 - offset[0]) * (1 - offset[1]), 0, 1))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Moves the images by offsets drawn as the method does, among those of one visibility."""
        del input_gradient
        draw_key, choose_key, sign_key = jax.random.split(key, 3)
        shape = batch.input.shape[1:]
        visible = 1 - jnp.asarray(distance.value)
        least = jnp.maximum(visible, boxes.TINY)[:, None]
        uniform = jax.random.uniform(draw_key, (len(visible), boxes.CANDIDATES))
        height = least**uniform  # the width is least / height
        square = (1 - height) ** 2 + (1 - least / height) ** 2
        (height,) = boxes.choose(choose_key, -square / (2 * self.offset_sigma**2), height)
        rows, columns = boxes.whole_sides(visible, height, shape)
        sign = jax.random.rademacher(sign_key, (2, len(visible)), jnp.int32)
        moved = self._shift(
            batch.input, sign[0] * (shape[0] - rows), sign[1] * (shape[1] - columns)
        )
        value = 1 - rows * columns / (shape[0] * shape[1])
        return base.unmixed(moved, batch.label, distance.replace(value=value))

    def _shift(self, image: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
        """Moves images [B, H, W, C] by whole pixels, int32 [B] each; float32."""
        _, height, width, _ = image.shape
        row = jnp.arange(height) - down[:, None]
        column = jnp.arange(width) - right[:, None]
        cut = jax.vmap(lambda one, row, column: one[row][:, column])
        moved = cut(image, jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1))
        in_rows = (row >= 0) & (row < height)
        in_columns = (column >= 0) & (column < width)
        shown = (in_rows[:, :, None] & in_columns[:, None])[..., None]
        return jnp.where(shown, image_ops.to_float(moved), self.fill)
