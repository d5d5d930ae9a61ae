"""Implements the operations that AugMix and RandAugment chain, on whole batches.

Every image has its own operation. ``vmap`` of a ``switch`` would run all
operations on every image; instead, an image gets one table of grey levels and
one affine matrix, and either can be the identity.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops
from autolabel_jax.augment import base
from autolabel_jax.datasets import InputSpec
from autolabel_jax.image_ops import warp
from autolabel_jax.types import Array, Distance

# Operations that change grey levels, that move pixels, and that blend images.
TABLES = ("autocontrast", "equalize", "posterize", "solarize", "brightness", "contrast")
WARPS = ("rotate", "shear_x", "translate_x", "shear_y", "translate_y")
BLENDS = ("color", "sharpness")

# The code of an operation is its index in NAMES. Its amount is the number of bits kept
# (posterize), a threshold (solarize), degrees counter-clockwise (rotate), pixels per row or
# column (shear), pixels to the left or upwards (translate), or a factor with 1 for no change
# (brightness, contrast, color, sharpness).
# Warps that change one coordinate need half the work of those that change both.
WARPS_BY_AXES = {"xy": WARPS[:1], "x": WARPS[1:3], "y": WARPS[3:]}

NAMES = ("identity",) + TABLES + WARPS + BLENDS
CODE = {name: code for code, name in enumerate(NAMES)}

CHUNK_PIXELS = 8 * 32 * 32  # 8 images of CIFAR, on CPUs; see _in_chunks


@dataclasses.dataclass(frozen=True)
class Chained(base.Augmentation):
    """Is the base of augmentations that chain PIL's operations; a group is a number of them."""

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def check_input(self, spec: InputSpec) -> None:
        """Checks that inputs are uint8 images [H, W, C] with 1 or 3 channels."""
        if spec.kind != "image" or spec.dtype != "uint8" or spec.shape[-1] not in (1, 3):
            raise ValueError(
                f"augment.name: {self.name!r} takes uint8 images [height, width, channels] with 1 "
                f"or 3 channels, got {spec.dtype} {list(spec.shape)} of kind {spec.kind!r}; use "
                "such images, or augment.name='none' or 'mixup'"
            )

    def draw(self, key: jax.Array, num: int) -> Distance:
        """Draws group ~ U{0 … num_groups - 1} and value ~ U[0, 1]."""
        group_key, value_key = jax.random.split(key)
        return Distance(
            group=jax.random.randint(group_key, (num,), 0, self.num_groups),
            value=jax.random.uniform(value_key, (num,)),
        )


def codes(names: tuple[str, ...]) -> jax.Array:
    """Returns the indices of ``names`` in NAMES, int32 [len(names)]."""
    return jnp.array([CODE[name] for name in names], jnp.int32)


def choose(code: jax.Array, amount: dict[str, jax.Array]) -> jax.Array:
    """Returns the amount of each operation, 0 for operations without one; float32 like code."""
    zero = jnp.zeros(code.shape, jnp.float32)
    return sum((jnp.where(code == CODE[name], amount[name], 0) for name in amount), zero)


def chain(
    image: jax.Array,
    code: jax.Array,
    amount: jax.Array,
    depth: Array,
    *,
    enhance: bool = False,
) -> jax.Array:
    """Applies the first ``depth`` of D operations in sequence to each image.

    Args:
      image: uint8 [B, H, W, C] with C = 1 or 3.
      code: int32 [D, B], index into NAMES.
      amount: float32 [D, B], in the unit of the operation.
      depth: int32 [B], up to D.
      enhance: whether brightness, contrast, color and sharpness can occur; False saves
        their time.

    Returns:
      uint8 [B, H, W, C].
    """
    place = jnp.arange(code.shape[0])[:, None]
    code = jnp.where(place < depth, code, CODE["identity"])
    on_cpu = jax.default_backend() == "cpu"
    step = functools.partial(_step, channels=image.shape[-1], enhance=enhance, sparse=on_cpu)
    if on_cpu:
        step = functools.partial(_in_chunks, step)

    def body(packed, operation):
        return step(packed, *operation), None

    packed, _ = jax.lax.scan(body, warp.pack(image), (code, amount))
    return warp.unpack(packed, image.shape[-1])


def _in_chunks(step, packed: jax.Array, code: jax.Array, amount: jax.Array) -> jax.Array:
    """Applies ``step`` to a few images at a time, sorted by operation.

    A CPU then skips most operations that a chunk does not need, and keeps the
    chunk in its cache. On an accelerator, the whole batch at once is faster.
    """
    num, height, width = packed.shape
    size = min(num, max(1, CHUNK_PIXELS // (height * width)))
    order = jnp.argsort(code)
    chunks = jnp.pad(order, (0, -num % size), mode="edge").reshape(-1, size)
    done = jax.lax.map(lambda rows: step(packed[rows], code[rows], amount[rows]), chunks)
    return done.reshape(-1, *packed.shape[1:])[jnp.argsort(order)]


def _step(
    packed: jax.Array,
    code: jax.Array,
    amount: jax.Array,
    *,
    channels: int,
    enhance: bool,
    sparse: bool,
) -> jax.Array:
    """Applies one operation to each image, from words [B, H, W] to words (see ``warp.pack``).

    With ``sparse``, operations that no image needs are skipped, which helps for a
    chunk on a CPU. A whole batch needs all operations, and an accelerator would
    wait for each condition.
    """
    when = _when_any if sparse else lambda wanted, operation, value: operation(value)
    table = when(
        _among(code, TABLES),
        lambda table: _table(packed, code, amount, channels, enhance, when),
        jnp.zeros((len(code), channels, image_ops.LEVELS), jnp.uint8),
    )
    packed = when(_among(code, TABLES), lambda p: _look_up(p, table, channels), packed)
    for axes, names in WARPS_BY_AXES.items() if sparse else [("xy", WARPS)]:

        def by_warp(packed, axes=axes, names=names):
            matrix = _matrix(code, amount, *packed.shape[1:], names)
            return warp.warp_packed(packed, matrix, channels, axes)

        packed = when(_among(code, names), by_warp, packed)

    def by_blend(packed):
        return warp.pack(_blend(warp.unpack(packed, channels), code, amount))

    return when(_among(code, BLENDS), by_blend, packed) if enhance else packed


def _among(code: jax.Array, names: tuple[str, ...]) -> jax.Array:
    return (CODE[names[0]] <= code) & (code <= CODE[names[-1]])


def _when_any(wanted: jax.Array, operation, value: jax.Array) -> jax.Array:
    """Applies the operation to the value if any of ``wanted`` is true."""
    return jax.lax.cond(jnp.any(wanted), operation, lambda value: value, value)


def _table(
    packed: jax.Array, code: jax.Array, amount: jax.Array, channels: int, enhance: bool, when
) -> jax.Array:
    """Returns the table of each image's operation, uint8 [B, C, 256]; the default is the identity.

    Each kind of table has its own branch, separate from the look-up. In one
    computation, XLA's CPU backend would recompute an entry for every pixel.
    """
    num, height, width = packed.shape
    whole = amount.astype(jnp.int32)
    # Two tables depend on one channel at a time, which a CPU reads fastest if it is contiguous.
    planes = when(
        (code == CODE["autocontrast"]) | (code == CODE["equalize"]),
        lambda _: jnp.moveaxis(warp.unpack(packed, channels), -1, 1),
        jnp.zeros((num, channels, height, width), jnp.uint8),
    ).reshape(num * channels, height, width, 1)

    def by_plane(make_table):
        return make_table(planes).reshape(num, channels, image_ops.LEVELS)

    makers = {
        "autocontrast": lambda: by_plane(image_ops.autocontrast_table),
        "equalize": lambda: by_plane(image_ops.equalize_table),
        "posterize": lambda: image_ops.posterize_table(whole),
        "solarize": lambda: image_ops.solarize_table(whole),
    }
    if enhance:
        black = jnp.zeros_like(code)
        makers["brightness"] = lambda: image_ops.blend_table(black, amount)
        makers["contrast"] = lambda: image_ops.blend_table(
            image_ops.mean_grey(warp.unpack(packed, channels)), amount
        )
    table = jnp.arange(image_ops.LEVELS, dtype=jnp.uint8)
    table = jnp.broadcast_to(table, (num, channels, image_ops.LEVELS))
    for name, make in makers.items():
        wanted = code == CODE[name]

        def put(table, wanted=wanted, make=make):
            return jnp.where(wanted[:, None, None], make().astype(jnp.uint8), table)

        table = when(wanted, put, table)
    return table


def _look_up(packed: jax.Array, table: jax.Array, channels: int) -> jax.Array:
    """Applies ``image_ops.look_up`` to words."""
    start = jnp.arange(packed.shape[0])[:, None, None] * channels
    entries = table.reshape(-1)

    def channel(c):
        level = (packed >> (8 * c) & 255).astype(jnp.int32)
        place = (start + c) * image_ops.LEVELS + level
        return entries.at[place].get(mode="promise_in_bounds").astype(jnp.uint32) << (8 * c)

    return sum(channel(c) for c in range(channels))


def _matrix(
    code: jax.Array, amount: jax.Array, height: int, width: int, names: tuple[str, ...] = WARPS
) -> jax.Array:
    """Returns the matrix of each operation, float32 [B, 6]; the identity if it is not in names."""

    def only(name):
        return jnp.where(code == CODE[name], amount, 0) if name in names else 0.0

    a, b, c, d, e, f = warp.rotation(only("rotate") + jnp.zeros_like(amount), height, width).T
    b, c = b + only("shear_x"), c + only("translate_x")
    d, f = d + only("shear_y"), f + only("translate_y")
    return jnp.stack([a, b, c, d, e, f], axis=-1)


def _blend(image: jax.Array, code: jax.Array, amount: jax.Array) -> jax.Array:
    """Applies color and sharpness to the images with these operations; uint8."""

    def here(name):
        return (code == CODE[name])[:, None, None, None]

    degenerate = jnp.where(here("sharpness"), image_ops.smooth(image), image)
    degenerate = jnp.where(here("color"), image_ops.grey(image), degenerate)
    return image_ops.blend(degenerate, image, amount[:, None, None, None]).astype(jnp.uint8)
