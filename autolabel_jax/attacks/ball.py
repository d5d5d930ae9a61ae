"""Defines the set of allowed images: the ε-ball around the clean image, intersected with [0, 1].

Membership is exact when checked in float32 as ``np.abs(adversarial - clean).max() <= epsilon``: ε
is rounded down to float32, and every bound from a rounded sum is moved one float inward.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

NORMS = ("linf", "l2")


@dataclasses.dataclass(frozen=True)
class Ball:
    """The images in [0, 1] within a distance of ε from a clean one.

    Attributes:
      epsilon: radius, in units of a full pixel range of 1.
      norm: 'linf' or 'l2', over all pixels and channels of an image.
    """

    epsilon: float
    norm: str = "linf"

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.norm not in NORMS:
            raise ValueError(f"norm: got {self.norm!r}, expected one of: {', '.join(NORMS)}")
        if not (self.epsilon >= 0 and math.isfinite(self.epsilon)):
            raise ValueError(f"epsilon: got {self.epsilon}, must be finite and 0 or more")

    @property
    def radius(self) -> np.float32:
        """The largest float32 that is not above ε."""
        rounded = np.float32(self.epsilon)
        return np.nextafter(rounded, np.float32(0)) if float(rounded) > self.epsilon else rounded

    def bounds(self, clean: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the lowest and highest value of each pixel in the ℓ∞ ball, float32 [B, ...]."""
        # A sum rounded to nearest may lie outside by half a float; the next float inward does not.
        low = jnp.nextafter(clean - self.radius, jnp.float32(2))
        high = jnp.nextafter(clean + self.radius, jnp.float32(-1))
        return jnp.clip(low, 0, clean), jnp.clip(high, clean, 1)

    def project(self, clean: jax.Array, image: jax.Array) -> jax.Array:
        """Moves an image into the set (for ℓ2: scales it into the ball, then clips it).

        Args:
          clean: float32 [B, ...] in [0, 1].
          image: float32 [B, ...].
        """
        if self.norm == "linf":
            return jnp.clip(image, *self.bounds(clean))
        # A margin for the rounding of a sum over all pixels, in any order.
        radius = self.radius * np.float32(1 - (math.sqrt(clean[0].size) + 4) * 2.0**-23)
        delta = image - clean
        length = per_image(norm(delta, "l2"), delta)
        delta = delta * jnp.minimum(1, radius / jnp.maximum(length, 1e-30))
        # Rounds toward the clean pixel, so that no pixel moves by more than its delta.
        return jnp.nextafter(jnp.clip(clean + delta, 0, 1), clean)

    def steepest(self, gradient: jax.Array) -> jax.Array:
        """Returns the step of length 1 along which the loss grows most, [B, ...]."""
        if self.norm == "linf":
            return jnp.sign(gradient)
        return gradient / jnp.maximum(per_image(norm(gradient, "l2"), gradient), 1e-20)

    def random_point(self, clean: jax.Array, noise: jax.Array) -> jax.Array:
        """Maps noise of ``draw_noise`` to a point of the set for each clean image, [B, ...]."""
        return self.project(clean, clean + self.radius * noise)


# Jitted separately: the generator takes longer to compile than a small model, and its draws depend
# neither on the model nor on ε.
@functools.partial(jax.jit, static_argnames=("shape", "which", "far"))
def draw_noise(
    keys: jax.Array, number: int, *, shape: tuple[int, ...], which: str, far: bool = False
) -> jax.Array:
    """Draws a point of the unit ball for each image from its own key, float32 [B, ...].

    Args:
      keys: typed PRNG keys [B].
      number: index of the draw from these keys.
      shape: shape of one image.
      which: norm; 'linf' is uniform in the ball, 'l2' has a uniform direction and length.
      far: whether to scale the point to a length of 1.
    """

    def draw(key: jax.Array) -> jax.Array:
        direction, length = jax.random.split(jax.random.fold_in(key, number))
        if which == "linf":
            noise = jax.random.uniform(direction, shape, minval=-1, maxval=1)
            return noise / jnp.max(jnp.abs(noise)) if far else noise
        noise = jax.random.normal(direction, shape)
        noise = noise / jnp.linalg.norm(noise.ravel())
        return noise if far else noise * jax.random.uniform(length)

    return jax.vmap(draw)(keys)


def norm(delta: jax.Array, which: str) -> jax.Array:
    """Returns the norm [B] of each image's change [B, ...]; ``which`` is 'linf', 'l2' or 'l1'."""
    flat = delta.reshape(delta.shape[0], -1)
    if which == "linf":
        return jnp.max(jnp.abs(flat), -1)
    return jnp.linalg.norm(flat, axis=-1) if which == "l2" else jnp.sum(jnp.abs(flat), -1)


def per_image(value: jax.Array, image: jax.Array) -> jax.Array:
    """Reshapes [B] to [B, 1, …, 1], to broadcast against images [B, ...]."""
    return value.reshape((-1,) + (1,) * (image.ndim - 1))
