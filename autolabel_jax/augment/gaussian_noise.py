"""Adds Gaussian noise to feature vectors [D] and time series [T, C].

Its root mean square over an input is r ~ U[0, max_noise], in standard deviations of the training
inputs of each feature or channel, and its direction is that of normal noise. The distance r /
max_noise is thus exact, where that of σ would differ from the noise that an input gets.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import Dataset
from autolabel_jax.registry import setting
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


@dataclasses.dataclass(frozen=True)
class GaussianNoise(base.Augmentation):
    """Adds noise of a given root mean square to each input."""

    title: ClassVar[str] = "gaussian_noise"
    kinds: ClassVar[tuple[str, ...]] = ("series", "features")
    in_sweep: ClassVar[bool] = False

    max_noise: float = setting(
        1.0,
        "largest root mean square of the noise, standard deviations of the inputs",
        low=0,
        high=100,
        search="0.1..2",
    )
    # Of the training inputs, by entry of the last axis; no setting.
    std: tuple[float, ...] = dataclasses.field(default_factory=lambda: (1.0,))

    def for_data(self, dataset: Dataset) -> "GaussianNoise":
        """Returns the method with the standard deviation of the training inputs."""
        return dataclasses.replace(self, std=tuple(dataset.std.tolist()))

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws r / max_noise ~ U[0, 1]."""
        return base.one_group(jax.random.uniform(key, (num,)))

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Adds normal noise that is scaled to its root mean square."""
        del input_gradient
        clean = image_ops.to_float(batch.input)
        noise, axes = jax.random.normal(key, clean.shape), tuple(range(1, clean.ndim))
        root = jnp.sqrt(jnp.mean(noise**2, axes, keepdims=True))
        size = self.max_noise * jnp.asarray(distance.value).reshape(root.shape)
        moved = clean + size * np.array(self.std, np.float32) * noise / root
        return base.unmixed(moved, batch.label, distance)
