"""Image operations against Pillow, on noise, faint, constant, two-valued and smooth images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from autolabel_jax import image_ops
from autolabel_jax.image_ops import warp

SHAPES = ((400, 33, 31, 3), (300, 17, 23, 1), (60, 40, 2, 3))


def some_images(shape, seed=0):
    """uint8 [B, H, W, C]: a fifth each of noise, low contrast, constant, two-valued, smooth."""
    rng = np.random.default_rng(seed)
    num, height, width, channels = shape
    base = rng.integers(0, 256, (num, 1, 1, channels))
    span = rng.integers(1, 40, (num, 1, 1, 1))
    faint = np.clip(base + rng.integers(0, 1000, shape) % span, 0, 255)
    two = np.where(rng.random(shape) < 0.3, base, rng.integers(0, 256, (num, 1, 1, channels)))
    y, x = np.arange(height)[:, None, None], np.arange(width)[:, None]
    wave = rng.uniform(0, 0.4, (2, num, 1, 1, channels))
    smooth = 127.5 + 127.5 * np.sin(wave[0] * y + wave[1] * x)
    kinds = [rng.integers(0, 256, shape), faint, np.broadcast_to(base, shape), two, smooth]
    return np.choose((np.arange(num) % 5)[:, None, None, None], kinds).astype(np.uint8)


def by_pil(function, images, *arguments):
    """function(PIL image, argument of that image, …) on each image, as one array."""
    done = []
    for row in zip(images, *arguments, strict=True):
        one = Image.fromarray(row[0][..., 0] if row[0].shape[-1] == 1 else row[0])
        done.append(np.asarray(function(one, *row[1:])).reshape(images.shape[1:]))
    return np.stack(done)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def images(request):
    return some_images(request.param)


def looked_up(images, table, *arguments):
    return np.asarray(jax.jit(lambda i, *a: image_ops.look_up(i, table(i, *a)))(images, *arguments))


def test_to_float_scales_uint8_only():
    levels = np.arange(256, dtype=np.uint8)
    scaled = image_ops.to_float(jnp.asarray(levels))
    np.testing.assert_allclose(scaled, levels / 255, rtol=1e-7)
    assert scaled.dtype == jnp.float32
    assert scaled[255] == 1
    floats = jnp.array([-1.5, 0.25, 300.0], jnp.bfloat16)
    kept = image_ops.to_float(floats)
    assert kept.dtype == jnp.float32
    np.testing.assert_array_equal(kept, [-1.5, 0.25, 300.0])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_random_crop_is_a_window_of_the_padded_image(dtype):
    image = np.random.default_rng(0).integers(1, 256, (600, 5, 7, 3)).astype(dtype)
    crop = jax.jit(image_ops.random_crop, static_argnums=2)
    cropped = np.asarray(crop(jax.random.key(0), image, 2))
    assert cropped.dtype == dtype
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 7), axis=(1, 2))
    windows = np.moveaxis(windows, 3, -1)  # [B, 5, 5, 5, 7, 3], by offset
    same = (windows == cropped[:, None, None]).all(axis=(3, 4, 5))
    assert (same.sum(axis=(1, 2)) == 1).all()
    # Each of the 25 offsets is as likely: 24 ± 4.8 of 600.
    np.testing.assert_allclose(same.sum(axis=0), 24, atol=20)
    np.testing.assert_array_equal(image_ops.random_crop(jax.random.key(0), image, 0), image)


def test_random_flip_mirrors_about_half():
    image = np.random.default_rng(0).integers(0, 256, (1000, 3, 6, 1), dtype=np.uint8)
    flipped = np.asarray(image_ops.random_flip(jax.random.key(1), image))
    kept = (flipped == image).all(axis=(1, 2, 3))
    mirrored = (flipped == image[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 420 < mirrored.sum() < 580  # 500 ± 16


def test_histogram(images):
    counts = np.asarray(jax.jit(image_ops.histogram)(images))
    for channel in range(images.shape[-1]):
        for one in range(0, len(images), 7):
            expected = np.bincount(images[one, ..., channel].reshape(-1), minlength=256)
            np.testing.assert_array_equal(counts[one, channel], expected)


def test_autocontrast(images):
    ours = looked_up(images, image_ops.autocontrast_table)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.autocontrast, images))


def test_autocontrast_for_every_darkest_and_lightest_level():
    low, high = np.triu_indices(256)
    levels = np.clip(np.arange(256), low[:, None], high[:, None]).astype(np.uint8)
    levels = np.pad(levels, ((0, -len(levels) % 3), (0, 0)))
    images = levels.reshape(-1, 3, 16, 16).transpose(0, 2, 3, 1)
    ours = looked_up(images, image_ops.autocontrast_table)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.autocontrast, images))


def test_equalize(images):
    ours = looked_up(images, image_ops.equalize_table)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.equalize, images))


def test_equalize_where_levels_overflow():
    # One pixel a step: PIL's quotients pass 255 and are cut.
    levels = np.random.default_rng(0).choice(
        256, (300, 16, 30, 1), p=np.r_[0.5, np.full(255, 0.5 / 255)]
    )
    images = levels.astype(np.uint8)
    ours = looked_up(images, image_ops.equalize_table)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.equalize, images))


def test_posterize_and_solarize(images):
    rng = np.random.default_rng(2)
    bits, threshold = rng.integers(0, 9, len(images)), rng.integers(0, 257, len(images))
    ours = looked_up(images, lambda i, b: image_ops.posterize_table(b), bits)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.posterize, images, bits.tolist()))
    ours = looked_up(images, lambda i, t: image_ops.solarize_table(t), threshold)
    np.testing.assert_array_equal(ours, by_pil(ImageOps.solarize, images, threshold.tolist()))


def enhancement_factors(num):
    drawn = np.random.default_rng(3).uniform(0, 2, num).astype(np.float32)
    drawn[:3] = 0, 1, 2
    return drawn


def enhanced(name, images, factors):
    return by_pil(
        lambda one, factor: getattr(ImageEnhance, name)(one).enhance(factor), images, factors
    )


def test_brightness_and_contrast(images):
    factors = enhancement_factors(len(images))

    def contrast(image, factor):
        return image_ops.blend_table(image_ops.mean_grey(image), factor)

    def brightness(image, factor):
        return image_ops.blend_table(jnp.zeros(len(image), jnp.int32), factor)

    for name, table in (("Brightness", brightness), ("Contrast", contrast)):
        ours = looked_up(images, table, factors)
        np.testing.assert_array_equal(ours, enhanced(name, images, factors.tolist()), name)


def test_color_and_sharpness(images):
    factors = enhancement_factors(len(images))

    @functools.partial(jax.jit, static_argnums=0)
    def enhance(degenerate, image, factor):
        return image_ops.blend(degenerate(image), image, factor[:, None, None, None])

    for name, degenerate in (("Color", image_ops.grey), ("Sharpness", image_ops.smooth)):
        ours = enhance(degenerate, images, factors)
        np.testing.assert_array_equal(ours, enhanced(name, images, factors.tolist()), name)


def test_pack_and_unpack_undo_one_another(images):
    packed = jax.jit(warp.pack)(images)
    assert packed.dtype == jnp.uint32
    assert packed.shape == images.shape[:3]
    unpack = jax.jit(warp.unpack, static_argnums=1)
    np.testing.assert_array_equal(unpack(packed, images.shape[-1]), images)


def transformed(images, matrices):
    def one(image, matrix):
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, matrix, resample=Image.Resampling.BILINEAR)

    return by_pil(one, images, matrices.tolist())


def assert_same_warp(ours, pil):
    """Equal on 99.9 % of pixels, one grey level off where float32 falls on another side."""
    apart = np.abs(np.asarray(ours).astype(int) - pil)
    assert np.mean(apart > 0) < 1e-3
    assert np.mean(apart > 1) < 1e-4


def test_identity_warp_and_whole_translations_are_exact(images):
    run = jax.jit(warp.warp)
    matrices = np.tile(np.float32([1, 0, 0, 0, 1, 0]), (len(images), 1))
    np.testing.assert_array_equal(run(images, matrices), images)
    rng = np.random.default_rng(4)
    matrices[:, 2], matrices[:, 5] = rng.integers(-12, 13, (2, len(images)))
    np.testing.assert_array_equal(run(images, matrices), transformed(images, matrices))


def test_warp_by_any_affine_matrix(images):
    matrices = np.random.default_rng(5).normal(0, 0.4, (len(images), 6)).astype(np.float32)
    matrices += np.float32([1, 0, 0, 0, 1, 0])
    matrices[:, [2, 5]] *= 10
    pil = transformed(images, matrices)
    assert_same_warp(jax.jit(warp.warp)(images, matrices), pil)
    assert len(np.unique(pil)) > 200


def test_shears(images):
    matrices = np.tile(np.float32([1, 0, 0, 0, 1, 0]), (len(images), 1))
    slopes = np.random.default_rng(6).uniform(-0.3, 0.3, len(images))
    matrices[::2, 1], matrices[1::2, 3] = slopes[::2], slopes[1::2]
    ours = jax.jit(warp.warp)(images, matrices)
    assert_same_warp(ours, transformed(images, matrices))


def test_rotate(images):
    degrees = np.random.default_rng(7).uniform(-60, 60, len(images)).astype(np.float32)
    degrees[::3] = np.round(degrees[::3])
    degrees[0] = 0
    height, width = images.shape[1:3]
    ours = jax.jit(lambda i, d: warp.warp(i, warp.rotation(d, height, width)))(images, degrees)
    bilinear = Image.Resampling.BILINEAR
    pil = by_pil(lambda one, angle: one.rotate(angle, resample=bilinear), images, degrees.tolist())
    assert_same_warp(ours, pil)
    np.testing.assert_array_equal(ours[0], images[0])
