"""Applies JPEG compression: libjpeg's steps without its lossless coder.

It uses 4:2:0 chroma and the standard quantisation tables (ITU-T T.81, annex K) scaled by quality,
as PIL does by default. Colour conversion and chroma filters are libjpeg's integer ones; only the
cosine transform uses floats.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.corruptions.settings import Prepared

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
HALF = 1 << 15  # one half in libjpeg's 16-bit fixed-point colour arithmetic


def prepare(size: int, quality: int) -> Prepared:
    """Prepares the quantisation tables of luma and chroma at a PIL quality of 1 … 100."""
    del size
    tables = (_scaled(table, quality) for table in (LUMA_TABLE, CHROMA_TABLE))
    return Prepared(tuple(table.astype(np.float32) for table in tables))


def jpeg_compression(
    key: jax.Array, image: jax.Array, luma_step: jax.Array, chroma_step: jax.Array
) -> jax.Array:
    """Encodes with quantisation tables float32 [8, 8] and decodes: [H, W, 3] in [0, 1]."""
    del key
    height, width, _ = image.shape
    level = jnp.round(image * 255).astype(jnp.int32)
    level = jnp.pad(level, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    luma, blue, red = _to_ycc(level)
    luma = _through_blocks(luma, luma_step)[:height, :width]
    small = (-(-height // 2), -(-width // 2))
    blue, red = (
        _double(_through_blocks(_halve(x), chroma_step)[: small[0], : small[1]])
        for x in (blue, red)
    )
    return _to_rgb(luma, blue[:height, :width], red[:height, :width]).astype(jnp.float32) / 255


def _to_ycc(level: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    r, g, b = level[..., 0], level[..., 1], level[..., 2]
    offset = (128 << 16) + HALF - 1
    luma = (19595 * r + 38470 * g + 7471 * b + HALF) >> 16
    blue = (-11059 * r - 21709 * g + 32768 * b + offset) >> 16
    red = (32768 * r - 27439 * g - 5329 * b + offset) >> 16
    return luma, blue, red


def _to_rgb(luma: jax.Array, blue: jax.Array, red: jax.Array) -> jax.Array:
    blue, red = blue - 128, red - 128
    r = luma + ((91881 * red + HALF) >> 16)
    g = luma + ((-22554 * blue - 46802 * red + HALF) >> 16)
    b = luma + ((116130 * blue + HALF) >> 16)
    return jnp.clip(jnp.stack([r, g, b], axis=-1), 0, 255)


def _halve(plane: jax.Array) -> jax.Array:
    """Averages 2 x 2 pixels; libjpeg rounds down and up alternately, so that greys do not drift."""
    height, width = plane.shape
    total = plane.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3))
    return (total + 1 + jnp.arange(width // 2) % 2) >> 2


def _double(plane: jax.Array) -> jax.Array:
    """Applies libjpeg's triangle filter: 3/4 of the nearer, 1/4 of the further sample per axis."""
    above = jnp.concatenate([plane[:1], plane[:-1]])
    below = jnp.concatenate([plane[1:], plane[-1:]])
    rows = jnp.stack([3 * plane + above, 3 * plane + below], axis=1)
    rows = rows.reshape(-1, plane.shape[1])
    before = jnp.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    after = jnp.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    both = jnp.stack([(3 * rows + before + 8) >> 4, (3 * rows + after + 7) >> 4], axis=-1)
    return both.reshape(rows.shape[0], -1)


def _through_blocks(plane: jax.Array, step: jax.Array) -> jax.Array:
    """Quantises the cosine transform of 8 x 8 blocks: int32 [H, W] → int32 in [0, 255]."""
    height, width = plane.shape
    cosine = jnp.asarray(_cosines(), jnp.float32)
    step = step[:, None, :]
    blocks = plane.astype(jnp.float32).reshape(height // 8, 8, width // 8, 8) - 128
    blocks = jnp.einsum("uy,aybx->aubx", cosine, blocks, precision="highest")
    blocks = jnp.einsum("vx,aubx->aubv", cosine, blocks, precision="highest") / step
    # Halves round away from zero. 1e-4 is above float32 noise and below the effect of a level.
    blocks = jnp.sign(blocks) * jnp.floor(jnp.abs(blocks) + 0.5 + 1e-4) * step
    blocks = jnp.einsum("uy,aubv->aybv", cosine, blocks, precision="highest")
    blocks = jnp.einsum("vx,aybv->aybx", cosine, blocks, precision="highest")
    plane = jnp.floor(blocks.reshape(height, width) + 128.5 + 1e-4)
    return jnp.clip(plane, 0, 255).astype(jnp.int32)


@functools.cache
def _cosines() -> np.ndarray:
    """Returns the orthonormal DCT-II matrix [8 frequencies, 8 samples]."""
    matrix = np.cos(np.pi / 8 * np.arange(8)[:, None] * (np.arange(8) + 0.5)) / 2
    matrix[0] /= np.sqrt(2)
    return matrix


def _scaled(table: tuple, quality: int) -> np.ndarray:
    """Scales a table by libjpeg's quality: 50 is the table itself, 100 is 1 everywhere."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.asarray(table) * percent + 50) // 100, 1, 255)
