"""Implements PIL's bilinear affine warp, for shears, translations and rotations.

Internally it uses images [B, H, W] of 32-bit words, as PIL does, so that the position of a pixel is
computed and fetched once for all its channels.
"""

from typing import cast

import jax
import jax.numpy as jnp


def pack(image: jax.Array) -> jax.Array:
    """Packs uint8 [B, H, W, C] with C up to 4 into words, uint32 [B, H, W]."""
    wide = image.astype(jnp.uint32)
    return cast(jax.Array, sum(wide[..., c] << (8 * c) for c in range(image.shape[-1])))


def unpack(packed: jax.Array, channels: int) -> jax.Array:
    """Inverts ``pack``; returns uint8 [B, H, W, channels]."""
    return (packed[..., None] >> jnp.arange(0, 8 * channels, 8, jnp.uint32)).astype(jnp.uint8)


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Applies PIL's ``Image.transform(size, AFFINE, matrix, BILINEAR)``, with black outside.

    Args:
      image: uint8 [B, H, W, C] with C up to 4.
      matrix: float32 [B, 6], (a, b, c, d, e, f): the pixel at (x, y) is taken from
        (ax + by + c, dx + ey + f), where pixel centres are at halves.

    Returns:
      uint8 [B, H, W, C].
    """
    channels = image.shape[-1]
    return unpack(warp_packed(pack(image), matrix, channels), channels)


def warp_packed(packed: jax.Array, matrix: jax.Array, channels: int, axes: str = "xy") -> jax.Array:
    """Warps words to words, uint32 [B, H, W]; see ``warp``.

    Args:
      packed: uint32 [B, H, W].
      matrix: float32 [B, 6].
      channels: number of channels in a word.
      axes: coordinates that ``matrix`` changes. With 'x', d, e, f are those of the identity, and
        with 'y', a, b, c are; half of the pixels are fetched then.
    """
    num, height, width = packed.shape
    x, y = jnp.arange(width) + 0.5, jnp.arange(height)[:, None] + 0.5
    a, b, c, d, e, f = matrix.T[..., None, None]
    inside, shares, places = jnp.bool_(True), {}, {}
    for axis, here, size in (("x", x, width), ("y", y, height)):
        places[axis] = [here.astype(jnp.int32)]
        if axis in axes:
            source = a * x + b * y + c if axis == "x" else d * x + e * y + f
            inside &= (source >= 0) & (source < size)
            lower = jnp.floor(source - 0.5)
            shares[axis] = source - 0.5 - lower
            places[axis] = [jnp.clip(lower.astype(jnp.int32) + i, 0, size - 1) for i in (0, 1)]
    start = jnp.arange(num)[:, None, None] * (height * width)
    corners = [
        packed.reshape(-1).at[start + row * width + column].get(mode="promise_in_bounds")
        for row in places["y"]
        for column in places["x"]
    ]

    def channel(shift: int) -> jax.Array:
        mixed = [(corner >> shift & 255).astype(jnp.float32) for corner in corners]
        for share in shares.values():  # neighbours in x are adjacent, then those in y
            mixed = [_mix(*pair, share) for pair in zip(mixed[::2], mixed[1::2], strict=True)]
        return jnp.where(inside, mixed[0], 0).astype(jnp.uint32) << shift

    return cast(jax.Array, sum(channel(8 * c) for c in range(channels)))


def _mix(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    return a + (b - a) * share


def rotation(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """Returns the matrix of PIL's ``Image.rotate``, counter-clockwise, float32 [B, 6]."""
    angle = -jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    c, f = x - cos * x - sin * y, y + sin * x - cos * y
    return jnp.stack([cos, sin, c, -sin, cos, f], axis=-1)
