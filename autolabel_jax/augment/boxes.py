"""Draws boxes that may hang over the border of an image, by the share of the image that they cover.

All lengths and areas are fractions of the image. A box has the same fraction ``side`` of the height
and of the width, and its centre is uniform over the image, as in Cutout and CutMix. The parts
outside the image are cut off, so a box covers at most side². A centre is given by its ``depth``
along each axis: its distance from the nearer border, in [0, 1/2].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CANDIDATES = 64  # centres from which one is chosen, for each example
TINY = 1e-7  # keeps logarithms finite


class Box(NamedTuple):
    """Holds boxes in whole pixels, int32 [B] each."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def area(self, shape: tuple[int, ...]) -> jax.Array:
        """Returns the share of images [H, W, ...] that each box covers, float32 [B]."""
        return (self.height * self.width) / (shape[0] * shape[1])

    def mask(self, shape: tuple[int, ...]) -> jax.Array:
        """Returns which pixels of images [H, W, ...] are inside, bool [B, H, W, 1]."""
        row, column = jnp.arange(shape[0]) - self.top[:, None], jnp.arange(shape[1])
        column = column - self.left[:, None]
        in_rows = (row >= 0) & (row < self.height[:, None])
        in_columns = (column >= 0) & (column < self.width[:, None])
        return (in_rows[:, :, None] & in_columns[:, None])[..., None]


def inside(side: jax.Array | float, depth: jax.Array) -> jax.Array:
    """Returns the length of a side that is inside the image."""
    return jnp.minimum(side, depth + side / 2)


def draw_share(key: jax.Array, side: jax.Array) -> jax.Array:
    """Draws the shares that boxes with these sides [B] cover, at random centres."""
    depth = jax.random.uniform(key, (2, *side.shape), maxval=0.5)
    return inside(side, depth[0]) * inside(side, depth[1])


def candidates(
    key: jax.Array, share: jax.Array, largest: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws centres at which a box with a side of at most ``largest`` can cover a share.

    Args:
      key: typed PRNG key.
      share: float32 [B, 1 or CANDIDATES], at most largest².
      largest: largest side.

    Returns:
      The depths along both axes, and the logarithm of how many more centres are possible than are
      drawn, for ``choose``; float32 [B, CANDIDATES] each.
    """
    uniform = jax.random.uniform(key, (2, share.shape[0], CANDIDATES))
    lowest = jnp.clip(share / largest - largest / 2, 0, 0.5)
    first = lowest + (0.5 - lowest) * uniform[0]
    longest = jnp.maximum(inside(largest, first), TINY)
    lowest_second = jnp.clip(share / longest - largest / 2, 0, 0.5)
    second = lowest_second + (0.5 - lowest_second) * uniform[1]
    return first, second, jnp.log((0.5 - lowest) * (0.5 - lowest_second))


def side_of(
    share: jax.Array, first: jax.Array, second: jax.Array, largest: float
) -> tuple[jax.Array, jax.Array]:
    """Returns the sides of the boxes that cover a share from centres of given depths.

    Returns:
      The sides, at most ``largest``, and the derivative of the share in the side.
    """
    near, far = jnp.minimum(first, second), jnp.maximum(first, second)
    # The share is the smallest of three increasing functions of the side, so the side is the
    # largest of their inverses: with no edge, one edge and two edges cut off.
    solutions = (
        jnp.sqrt(share),
        jnp.sqrt(near**2 + 2 * share) - near,
        jnp.sqrt((far - near) ** 2 + 4 * share) - far - near,
    )
    side = jnp.clip(jnp.stack(jnp.broadcast_arrays(*solutions)).max(0), TINY, largest)

    def slope(depth: jax.Array) -> jax.Array:
        return jnp.where(side <= 2 * depth, 1.0, 0.5)

    change = slope(first) * inside(side, second) + slope(second) * inside(side, first)
    return side, jnp.maximum(change, TINY)


def choose(key: jax.Array, log_weight: jax.Array, *values: jax.Array) -> list[jax.Array]:
    """Chooses one candidate of each example in proportion to its weight.

    Args:
      key: typed PRNG key.
      log_weight: float32 [B, CANDIDATES].
      *values: arrays [B, CANDIDATES].

    Returns:
      The chosen values, [B] each.
    """
    chosen = jax.random.categorical(key, log_weight)[:, None]
    return [jnp.take_along_axis(value, chosen, axis=1)[:, 0] for value in values]


def place(
    key: jax.Array,
    share: jax.Array,
    side: jax.Array,
    depths: tuple[jax.Array, jax.Array],
    shape: tuple[int, ...],
) -> Box:
    """Rounds boxes to pixels, and mirrors them at random, as depths do not tell near which border.

    Args:
      key: typed PRNG key.
      share: float32 [B], share of the image to cover.
      side: float32 [B].
      depths: depths of the centre in height and width, float32 [B] each.
      shape: [H, W, ...] of an image.
    """
    lengths = [inside(side, depth) for depth in depths]
    height, width = whole_sides(share, lengths[0], shape)
    starts = [
        jnp.maximum(depth - side / 2, 0) / jnp.maximum(1 - length, TINY)
        for depth, length in zip(depths, lengths, strict=True)
    ]
    mirrored = jax.random.bernoulli(key, shape=(2, *share.shape))
    top, left = jnp.where(mirrored, 1 - jnp.stack(starts), jnp.stack(starts))
    return Box(_start(top, shape[0] - height), _start(left, shape[1] - width), height, width)


def whole_sides(
    share: jax.Array, height: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Finds whole numbers of pixels whose product is close to a share of the image.

    Of five heights around the given one, it takes the best, where a change of the height by all of
    it counts like two pixels. The product does not cross one half of the image by rounding.

    Args:
      share: float32 [B].
      height: float32 [B], fraction of the height.
      shape: [H, W, ...] of an image.

    Returns:
      Height and width, int32 [B] each.
    """
    area, wanted = shape[0] * shape[1], share[:, None] * (shape[0] * shape[1])
    offset = np.repeat(np.arange(-2, 3), 2)
    rows = jnp.clip(jnp.round(height * shape[0])[:, None] + offset, 0, shape[0])
    columns = wanted / jnp.maximum(rows, 1)
    columns = jnp.where(np.arange(len(offset)) % 2, jnp.ceil(columns), jnp.floor(columns))
    columns = jnp.clip(columns, 0, shape[1])
    crossed = (2 * rows * columns > area) != (2 * wanted > area)
    # Other heights than the given one change the aspect, most in small boxes.
    changed = np.abs(offset) / jnp.maximum(height * shape[0], 1)[:, None]
    error = jnp.abs(rows * columns - wanted) + 2 * changed + area * crossed
    best = jnp.argmin(error, axis=1)[:, None]
    rows, columns = (jnp.take_along_axis(x, best, axis=1)[:, 0] for x in (rows, columns))
    return rows.astype(jnp.int32), columns.astype(jnp.int32)


def _start(fraction: jax.Array, free: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(fraction * free).astype(jnp.int32), 0, free)
