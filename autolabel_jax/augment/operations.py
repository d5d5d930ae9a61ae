"""The operations that AugMix and RandAugment chain: one step for a whole batch.

Every image has an operation of its own. ``vmap`` of a ``switch`` would run all
of them on every image; here an image gets one table of grey levels and one
affine matrix, either of which may be the identity.
"""

import functools

import jax
import jax.numpy as jnp

from autolabel_jax import image_ops, warp

# What changes grey levels one by one, what moves pixels, and what blends images.
TABLES = ("autocontrast", "equalize", "posterize", "solarize", "brightness", "contrast")
WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDS = ("color", "sharpness")

# An operation is its place here. Its amount is: bits kept (posterize), threshold
# (solarize), degrees counter-clockwise (rotate), pixels a row or column (shear),
# pixels to the left or upwards (translate), or a factor, 1 for no change
# (brightness, contrast, color, sharpness).
NAMES = ("identity",) + TABLES + WARPS + BLENDS
CODE = {name: code for code, name in enumerate(NAMES)}

CHUNK_PIXELS = 16 * 32 * 32  # on CPUs, see _in_chunks; 16 images of CIFAR


def check_input(shape: tuple[int, ...], dtype: jnp.dtype) -> None:
    """Checks that a batch [B, H, W, C] can be augmented by PIL's operations.

    Raises:
      ValueError: not uint8, not four axes, or neither 1 nor 3 channels.
    """
    if dtype != jnp.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
        raise ValueError(
            "augment.name: 'augmix' and 'randaugment' take uint8 images [B, H, W, C] with "
            f"1 or 3 channels, got {jnp.dtype(dtype).name} {list(shape)}; give such images, or "
            "take augment.name='none', 'mixup' or 'adversarial'"
        )


def codes(names: tuple[str, ...]) -> jax.Array:
    """The places of ``names`` in NAMES, int32 [len(names)]."""
    return jnp.array([CODE[name] for name in names], jnp.int32)


def choose(code: jax.Array, amount: dict[str, jax.Array]) -> jax.Array:
    """The amount of each image's operation, 0 for those that take none; float32 like code."""
    zero = jnp.zeros(code.shape, jnp.float32)
    return sum((jnp.where(code == CODE[name], amount[name], 0) for name in amount), zero)


def chain(
    image: jax.Array,
    code: jax.Array,
    amount: jax.Array,
    depth: jax.Array,
    *,
    enhance: bool = False,
) -> jax.Array:
    """The first ``depth`` of D operations in sequence, on each image.

    Args:
      image: uint8 [B, H, W, C] with C = 1 or 3.
      code: int32 [D, B], place in NAMES.
      amount: float32 [D, B], in the operation's unit.
      depth: int32 [B], up to D.
      enhance: whether brightness, contrast, color and sharpness may be asked
        for; where they are not, False saves their time.

    Returns:
      uint8 [B, H, W, C].
    """
    place = jnp.arange(code.shape[0])[:, None]
    code = jnp.where(place < depth, code, CODE["identity"])
    step = functools.partial(_step, channels=image.shape[-1], enhance=enhance)
    if jax.default_backend() == "cpu":
        step = functools.partial(_in_chunks, step)

    def body(packed, operation):
        return step(packed, *operation), None

    packed, _ = jax.lax.scan(body, warp.pack(image), (code, amount))
    return warp.unpack(packed, image.shape[-1])


def _in_chunks(step, packed: jax.Array, code: jax.Array, amount: jax.Array) -> jax.Array:
    """``step`` on a few images at a time, sorted by operation.

    A CPU then skips most of what a chunk has no use for, and keeps the chunk in
    its cache. An accelerator rather takes the whole batch at once.
    """
    num, height, width = packed.shape
    size = min(num, max(1, CHUNK_PIXELS // (height * width)))
    order = jnp.argsort(code)
    chunks = jnp.pad(order, (0, -num % size), mode="edge").reshape(-1, size)
    done = jax.lax.map(lambda rows: step(packed[rows], code[rows], amount[rows]), chunks)
    return done.reshape(-1, *packed.shape[1:])[jnp.argsort(order)]


def _step(
    packed: jax.Array, code: jax.Array, amount: jax.Array, *, channels: int, enhance: bool
) -> jax.Array:
    """One operation on each image, from words [B, H, W] to words (see ``warp.pack``)."""

    def make_table(packed):
        return _table(warp.unpack(packed, channels), code, amount, enhance).astype(jnp.uint8)

    def no_table(packed):
        return jnp.zeros((packed.shape[0], channels, image_ops.LEVELS), jnp.uint8)

    def by_table(packed):
        return warp.pack(image_ops.look_up(warp.unpack(packed, channels), table))

    def by_warp(packed):
        matrix = _matrix(code, amount, *packed.shape[1:])
        return warp.warp_packed(packed, matrix, channels)

    def by_blend(packed):
        return warp.pack(_blend(warp.unpack(packed, channels), code, amount))

    # A branch of its own for the table: in one with the look-up, XLA's CPU backend
    # fuses the two and works an entry out anew for every pixel.
    wants_table = _among(code, TABLES)
    table = jax.lax.cond(jnp.any(wants_table), make_table, no_table, packed)
    packed = _where_any(wants_table, by_table, packed)
    packed = _where_any(_among(code, WARPS), by_warp, packed)
    if enhance:
        packed = _where_any(_among(code, BLENDS), by_blend, packed)
    return packed


def _among(code: jax.Array, names: tuple[str, ...]) -> jax.Array:
    return (CODE[names[0]] <= code) & (code <= CODE[names[-1]])


def _where_any(wanted: jax.Array, operation, packed: jax.Array) -> jax.Array:
    """The operation on the images if any of ``wanted`` holds, else the images."""
    return jax.lax.cond(jnp.any(wanted), operation, lambda packed: packed, packed)


def _table(image: jax.Array, code: jax.Array, amount: jax.Array, enhance: bool) -> jax.Array:
    """Table of each image's operation, int32 [B, C, 256]; the identity where it needs none."""
    whole = amount.astype(jnp.int32)
    equalizes = code == CODE["equalize"]
    tables = {
        "equalize": jax.lax.cond(
            jnp.any(equalizes), image_ops.equalize_table, image_ops.identity_table, image
        ),
        "autocontrast": image_ops.autocontrast_table(image),
        "posterize": image_ops.posterize_table(whole),
        "solarize": image_ops.solarize_table(whole),
    }
    if enhance:
        tables["brightness"] = image_ops.blend_table(jnp.zeros_like(code), amount)
        tables["contrast"] = image_ops.blend_table(image_ops.mean_grey(image), amount)
    chosen = image_ops.identity_table(image)
    for name, table in tables.items():
        chosen = jnp.where((code == CODE[name])[:, None, None], table, chosen)
    return chosen


def _matrix(code: jax.Array, amount: jax.Array, height: int, width: int) -> jax.Array:
    """Matrix of each image's operation, float32 [B, 6]; the identity where it needs none."""

    def only(name):
        return jnp.where(code == CODE[name], amount, 0)

    a, b, c, d, e, f = warp.rotation(only("rotate"), height, width).T
    b, c = b + only("shear_x"), c + only("translate_x")
    d, f = d + only("shear_y"), f + only("translate_y")
    return jnp.stack([a, b, c, d, e, f], axis=-1)


def _blend(image: jax.Array, code: jax.Array, amount: jax.Array) -> jax.Array:
    """Color and sharpness where an image's operation is that, else the image; uint8."""

    def here(name):
        return (code == CODE[name])[:, None, None, None]

    degenerate = jnp.where(here("sharpness"), image_ops.smooth(image), image)
    degenerate = jnp.where(here("color"), image_ops.grey(image), degenerate)
    return image_ops.blend(degenerate, image, amount[:, None, None, None]).astype(jnp.uint8)
