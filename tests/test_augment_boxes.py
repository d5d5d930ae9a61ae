"""Augmentations that draw a box or an offset: against SciPy, and the published methods in NumPy."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from autolabel_jax import augment, buckets, labels, train
from autolabel_jax.augment import boxes
from autolabel_jax.datasets.split import spec_of
from autolabel_jax.types import Distance
from configs import digits_soft_crop
from tests import helpers
from tests.test_augment import assert_clean, create, make_batch, mixup_cdf, some_images

BOXED = ("cutmix", "mixup_cutmix", "cutout", "soft_crop", "patch_gaussian")
DRAWS = 20000


@functools.cache
def compiled(method):
    return jax.jit(method.apply)


def moved(method, image, value, key=0, group=None, **batch):
    """What a method does to a batch at given distances, compiled."""
    value = jnp.asarray(np.broadcast_to(np.asarray(value, np.float32), (len(image),)))
    group = jnp.asarray(np.zeros(len(image), np.int32) if group is None else group)
    batch = make_batch(image, **batch)
    return compiled(method)(jax.random.key(key), batch, Distance(group=group, value=value))


def flat(num, height, width, dtype=np.uint8):
    """Images of one grey level each: the index of the image."""
    return np.broadcast_to(
        np.arange(num, dtype=dtype)[:, None, None, None], (num, height, width, 1)
    )


# Distributions of the distances.


def cut_cdf(share, side):
    """P(area / side² ≤ share) of squares with centres in the unit square; both broadcast.

    Along each axis, a side is whole with probability 1 - side, and else a uniform part of it from
    1/2 to 1 is inside.
    """
    share, side = np.broadcast_arrays(share, side)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = 4 * share * np.log(4 * share) - 4 * share + 1
        high = 4 * share - 3 - 4 * share * np.log(share)
    both = np.select([share <= 0.25, share <= 0.5, share < 1], [0 * share, low, high], 1.0)
    one = np.clip(2 * share - 1, 0, 1)
    return (1 - side) ** 2 * (share >= 1) + 2 * side * (1 - side) * one + side**2 * both


MIDDLES = (np.arange(1000) + 0.5) / 1000  # quantiles, over which the size is averaged
GRID = np.linspace(0, 1, 501) ** 6  # fine near 0, where distributions can be steep


def ks(value, cdf):
    """Kolmogorov-Smirnov test against a distribution that is slow to compute."""
    found = cdf(GRID)
    return stats.kstest(np.asarray(value, np.float64), lambda x: np.interp(x, GRID, found)).pvalue


def area_cdf(area, side):
    return np.mean(cut_cdf(np.asarray(area)[:, None] / side**2, side), axis=1)


def cutmix_cdf(concentration):
    side = np.sqrt(stats.beta(concentration, concentration).ppf(MIDDLES))
    return lambda s: area_cdf(s / 2, side) + 1 - area_cdf(1 - s / 2, side)


def cutout_cdf(largest):
    return lambda s: area_cdf(s * largest**2, largest * MIDDLES)


def patch_cdf(width):
    return lambda s: np.mean(cut_cdf((s[:, None] / MIDDLES) ** 2, width), axis=1)


def crop_cdf(sigma):
    offset = stats.truncnorm(-1 / sigma, 1 / sigma, scale=sigma)
    other = stats.truncnorm(0, 1 / sigma, scale=sigma).ppf(MIDDLES)
    # |offset| ≤ x has the probability 2·cdf(x) - 1.
    return lambda s: np.mean(
        2 * offset.cdf(np.maximum(1 - (1 - s[:, None]) / (1 - other), 0)) - 1, axis=1
    )


@pytest.mark.parametrize(
    ("name", "settings", "cdf"),
    [
        ("cutmix", {"concentration": 0.3}, cutmix_cdf(0.3)),
        ("cutout", {"max_side": 0.5}, cutout_cdf(0.5)),
        ("soft_crop", {"offset_sigma": 0.3}, crop_cdf(0.3)),
        ("patch_gaussian", {"patch_width": 0.75}, patch_cdf(0.75)),
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in (
                ("cutmix", {"concentration": 1.0}, cutmix_cdf(1.0)),
                ("cutout", {"max_side": 1.0}, cutout_cdf(1.0)),
                ("soft_crop", {"offset_sigma": 3.0}, crop_cdf(3.0)),
                ("patch_gaussian", {"patch_width": 0.2}, patch_cdf(0.2)),
            )
        ),
    ],
)
def test_drawn_distances(name, settings, cdf):
    method = create(name, **settings)
    assert method.num_groups == 1
    drawn = method.draw(jax.random.key(0), DRAWS)
    assert not np.any(drawn.group)
    value = np.asarray(drawn.value, np.float64)
    assert value.min() >= 0 and value.max() <= 1
    assert ks(value, cdf) > 1e-3


def test_mixup_and_cutmix_take_turns():
    method = create("mixup_cutmix", concentration=0.5, cutmix_concentration=2.0, cutmix_share=0.3)
    assert method.num_groups == 2
    drawn = method.draw(jax.random.key(0), DRAWS)
    group, value = np.asarray(drawn.group), np.asarray(drawn.value, np.float64)
    assert stats.binomtest(int(group.sum()), DRAWS, 0.3).pvalue > 1e-3
    for g, cdf in enumerate((mixup_cdf(0.5), cutmix_cdf(2.0))):
        assert ks(value[group == g], cdf) > 1e-3
    for share in (0.0, 1.0):
        only = create("mixup_cutmix", cutmix_share=share).draw(jax.random.key(1), 100)
        np.testing.assert_array_equal(only.group, np.full(100, share))


# CutMix.


def is_box(mask):
    """Whether the true pixels fill the smallest box around them."""
    rows, columns = np.any(mask, 1), np.any(mask, 0)
    return mask.sum() == rows.sum() * columns.sum() and ndimage.label(mask)[1] <= 1


OTHER_SIDES = [pytest.param(n, n, marks=pytest.mark.slow) for n in (32, 8)]


@pytest.mark.parametrize(("height", "width"), [(19, 33), (2, 3), *OTHER_SIDES])
def test_cutmix_label_is_the_area_and_the_larger_part_dominates(height, width):
    num = 200
    value = np.linspace(0, 1, num, dtype=np.float32)
    done = moved(create("cutmix"), flat(num, height, width), value, label=np.arange(num))
    level = np.round(np.asarray(done.input)[..., 0] * 255)
    partner, gamma = np.asarray(done.second_label), np.asarray(done.second_weight)
    of_partner = level == partner[:, None, None]
    assert np.all(of_partner | (level == np.arange(num)[:, None, None]))
    np.testing.assert_allclose(of_partner.mean((1, 2)), gamma, rtol=1e-6)
    np.testing.assert_array_equal(done.label, np.arange(num))
    np.testing.assert_allclose(done.distance.value, 2 * gamma)
    assert gamma.max() <= 0.5
    box = np.array([is_box(mask) for mask in of_partner])
    rest = np.array([is_box(~mask) for mask in of_partner])
    assert np.all(box | rest)
    # Both forms occur: the smaller share is in the box, or around it.
    assert height < 8 or (np.sum(~box) > 20 and np.sum(~rest) > 20)
    # The share is the drawn one, as exactly as a box of whole pixels can be: a box that leaves only
    # a thin border free has few sides to choose from.
    error = np.abs(gamma - value / 2) * height * width
    assert error.mean() < 2
    assert error.max() <= max(height, width) / 2 + 1


def test_cutmix_at_the_ends():
    image = some_images(6)
    clean = moved(create("cutmix"), image, 0.0)
    assert_clean(clean.input, image)
    np.testing.assert_array_equal(clean.second_weight, np.zeros(6))
    half = moved(create("cutmix"), image, 1.0).second_weight
    np.testing.assert_allclose(half, np.full(6, 0.5), atol=0.01)


def test_partners_of_cutmix_are_real_rows():
    mask = np.r_[np.ones(5), np.zeros(4)]
    done = moved(create("cutmix"), flat(9, 8, 8), 0.9, mask=mask, label=np.arange(9))
    np.testing.assert_array_equal(np.sort(done.second_label[:5]), np.arange(5))
    assert np.min(done.second_label[5:]) >= 5
    alone = moved(create("cutmix"), some_images(1), 0.9)
    assert_clean(alone.input, some_images(1))  # its own partner


def published_cutmix(num, concentration):
    """Height and width of boxes cut off at the border, and their centre, in NumPy."""
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(concentration, concentration, num))
    centre = rng.random((2, num))
    low, high = np.maximum(centre - side / 2, 0), np.minimum(centre + side / 2, 1)
    return high - low, (low + high) / 2


@pytest.mark.parametrize(
    "concentration", [0.3, *(pytest.param(a, marks=pytest.mark.slow) for a in (1.0, 2.0))]
)
def test_boxes_of_cutmix_are_distributed_as_published(concentration):
    """Drawing the distance first, and a box for it, makes the boxes of the published order."""
    sides, centre = published_cutmix(DRAWS, concentration)
    method = create("cutmix", concentration=concentration)
    gamma = method.draw(jax.random.key(2), DRAWS).value / 2
    box, inside = jax.jit(method.draw_box, static_argnums=2)(
        jax.random.key(3), gamma, (200, 200, 3)
    )
    box = jax.tree.map(np.asarray, box)
    found = np.stack([box.height, box.width]) / 200
    place = np.stack([box.top, box.left]) / 200 + found / 2
    share = np.prod(sides, 0)
    for axis in (0, 1):
        whole = np.round(sides[axis] * 200) / 200
        assert stats.ks_2samp(found[axis], whole).statistic < 0.025
        assert stats.ks_2samp(place[axis], centre[axis]).statistic < 0.025
    assert abs(np.mean(np.asarray(inside)) - np.mean(share <= 0.5)) < 0.015
    # Also for large distances alone, where many centres are impossible.
    late = np.minimum(share, 1 - share) > 0.3
    ours = np.asarray(gamma) > 0.3
    assert stats.ks_2samp(found[0, ours], sides[0, late]).statistic < 0.04
    assert stats.ks_2samp(place[1, ours], centre[1, late]).statistic < 0.04


@pytest.mark.parametrize("group", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_mixup_cutmix_is_the_method_of_the_group(group):
    image = some_images(40)
    key = jax.random.split(jax.random.key(0))[group]
    value = np.linspace(0, 1, 40, dtype=np.float32)
    both = create("mixup_cutmix", cutmix_concentration=0.7)
    method = (create("mixup"), create("cutmix", concentration=0.7))[group]
    done = moved(both, image, value, group=np.full(40, group))
    batch, distance = make_batch(image), done.distance.replace(value=jnp.asarray(value))
    alone = compiled(method)(key, batch, distance)
    np.testing.assert_allclose(done.input, alone.input, atol=1e-6)
    np.testing.assert_array_equal(done.second_label, alone.second_label)
    np.testing.assert_allclose(done.distance.value, alone.distance.value)
    np.testing.assert_allclose(method.own_confidence(distance), both.own_confidence(distance))


# Cutout.


@pytest.mark.parametrize("largest", [0.3, 0.5, 1.0])
def test_cutout_hides_a_box_of_the_share(largest):
    num, value = 300, np.linspace(0, 1, 300, dtype=np.float32)
    image = np.zeros((num, 32, 40, 3), np.float32)
    done = moved(create("cutout", max_side=largest, fill=0.25), image, value)
    hidden = np.asarray(done.input) == 0.25
    assert np.all(hidden | (np.asarray(done.input) == 0))
    assert all(is_box(mask) for mask in hidden[..., 0])
    share = hidden.mean((1, 2, 3)) / largest**2
    np.testing.assert_allclose(done.distance.value, np.minimum(share, 1), atol=1e-6)
    pixels = np.abs(share - value) * largest**2 * 32 * 40
    assert pixels.mean() < 1 + 2 * (largest == 1) and pixels.max() < 21
    np.testing.assert_array_equal(done.second_weight, np.zeros(num))
    assert not hidden[0].any()
    # The largest box is whole.
    assert hidden[-1, ..., 0].sum() == pytest.approx(largest**2 * 32 * 40, abs=3)


def test_boxes_of_cutout_are_distributed_as_published():
    rng = np.random.default_rng(0)
    side, centre = 0.6 * rng.random(DRAWS), rng.random((2, DRAWS))
    sides = np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0)
    method = create("cutout", max_side=0.6)
    value = method.draw(jax.random.key(2), 4000).value
    hidden = np.asarray(moved(method, np.zeros((4000, 64, 64, 1), np.float32), value).input) > 0
    found = hidden.any(2).sum(1)[:, 0] / 64
    assert stats.ks_2samp(found, np.round(sides[0] * 64) / 64).statistic < 0.04
    edge = np.mean(hidden[:, 0].any((1, 2)))  # at the upper border, or less than half a pixel away
    assert edge == pytest.approx(np.mean(centre[0] - side / 2 < 0.5 / 64), abs=0.03)


# The crop of Soft Augmentation.


def offset_of(image, value):
    """Rows and columns by which a ramp was moved, from a pixel that is still shown."""
    height, width = image.shape[:2]
    ramp = np.arange(height * width).reshape(height, width)
    shown = value >= 0
    row, column = np.argwhere(shown)[0]
    source = np.argwhere(ramp == np.round(value[row, column]))[0]
    return row - source[0], column - source[1]


def test_soft_crop_moves_the_image_as_in_numpy():
    num, height, width = 300, 13, 17
    ramp = np.arange(height * width, dtype=np.float32).reshape(1, height, width, 1) + 1
    value = np.linspace(0, 0.99, num, dtype=np.float32)
    method = create("soft_crop", fill=0.0)
    done = moved(method, np.repeat(ramp, num, 0), value)
    signs = set()
    for image, distance in zip(np.asarray(done.input)[..., 0], np.asarray(done.distance.value)):
        if not image.any():
            assert distance == 1
            continue
        down, right = offset_of(ramp[0, ..., 0], image - 1)
        padded = np.pad(ramp[0, ..., 0], ((height,) * 2, (width,) * 2))
        rows = slice(height - down, 2 * height - down)
        expected = padded[rows, width - right : 2 * width - right]
        np.testing.assert_array_equal(image, expected)
        visible = (height - abs(down)) * (width - abs(right)) / (height * width)
        assert distance == pytest.approx(1 - visible, abs=1e-6)
        signs.add((np.sign(down), np.sign(right)))
    assert len(signs) == 9
    pixels = np.abs(np.asarray(done.distance.value) - value) * height * width
    assert pixels.mean() < 2 and pixels.max() < 9.5


def test_soft_crop_at_the_ends():
    image = some_images(6)
    method = create("soft_crop", fill=0.25)
    assert_clean(moved(method, image, 0.0).input, image)
    np.testing.assert_array_equal(moved(method, image, 1.0).input, np.full(image.shape, 0.25))


def test_offsets_are_distributed_as_published():
    rng = np.random.default_rng(0)
    offset = stats.truncnorm(-1 / 0.4, 1 / 0.4, scale=0.4).rvs((2, DRAWS), random_state=rng)
    method = create("soft_crop", offset_sigma=0.4, fill=0.0)
    value = method.draw(jax.random.key(2), 4000).value
    shown = np.asarray(moved(method, np.ones((4000, 64, 64, 1), np.float32), value).input) > 0
    found = shown.any(2).sum(1)[:, 0] / 64
    assert stats.ks_2samp(found, np.round((1 - abs(offset[0])) * 64) / 64).statistic < 0.04
    above = np.mean(shown[:, 0].any((1, 2)))  # moved up, or by less than half a pixel
    assert above == pytest.approx(np.mean(offset[0] < 0.5 / 64), abs=0.03)


def test_soft_augmentation_has_the_published_labels():
    """Liu et al. 2023, eq. 4: p = 1 - (1 - 1/K)·(1 - v)^k."""
    config = digits_soft_crop.get_config()
    method, rule = augment.create(config), labels.create(config)
    done = moved(method, some_images(50), np.linspace(0, 1, 50))
    soft = rule.soft_labels(
        None, done.label, jnp.zeros(50, jnp.int32), num_classes=10, distance=done.distance
    )
    visible = 1 - np.asarray(done.distance.value, np.float64)
    confidence = 1 - 0.9 * (1 - visible) ** 4
    row = np.arange(50)
    np.testing.assert_allclose(soft[row, done.label], confidence, rtol=1e-5)
    np.testing.assert_allclose(soft[row, (done.label + 1) % 10], (1 - confidence) / 9, atol=1e-6)


# Patch Gaussian.


def test_patch_gaussian_adds_noise_of_the_root_mean_square():
    num = 400
    image = np.full((num, 32, 32, 3), 0.5, np.float32)
    value = np.linspace(0, 1, num, dtype=np.float32)
    done = moved(create("patch_gaussian", patch_width=0.6, max_sigma=0.05), image, value)
    added = np.asarray(done.input, np.float64) - image
    assert abs(added).max() < 0.5  # nothing is clipped
    box = added.any(-1)
    assert all(is_box(mask) for mask in box[20:])  # less noise can be lost in rounding
    np.testing.assert_array_equal(done.distance.value, value)
    rms = np.sqrt(np.mean(added**2, (1, 2, 3))) / (0.05 * 0.6)
    np.testing.assert_allclose(rms[20:], value[20:], rtol=0.2)
    assert np.mean(rms[20:] / value[20:]) == pytest.approx(1, abs=0.005)
    assert not box[0].any()
    # σ is at most max_sigma, and in the patch the noise is normal.
    sigma = np.array([added[i][box[i]].std() for i in range(20, num)])
    assert sigma.max() < 0.05 * 1.08
    standard = np.concatenate([added[i][box[i]].ravel() / sigma[i - 20] for i in range(100, 110)])
    assert stats.kstest(standard, "norm").pvalue > 1e-3
    # At least a quarter of the patch is in the image.
    assert box[20:].mean((1, 2)).min() >= 0.36 / 4 - 0.01


def test_sigmas_are_uniform():
    method = create("patch_gaussian", patch_width=0.6, max_sigma=0.05)
    value = method.draw(jax.random.key(2), 2000).value
    image = np.full((2000, 32, 32, 3), 0.5, np.float32)
    added = np.asarray(moved(method, image, value).input, np.float64) - image
    share = np.mean(added != 0, (1, 2, 3))
    sigma = np.asarray(value) * 0.6 / np.sqrt(share)
    assert stats.kstest(sigma, "uniform").pvalue > 1e-3


def test_patch_gaussian_keeps_the_range_and_checks_it():
    image = some_images(20)
    done = np.asarray(moved(create("patch_gaussian", max_sigma=2.0), image, 1.0).input)
    assert done.min() == 0 and done.max() == 1
    method = create("patch_gaussian")
    method.check_input(spec_of(image))
    with pytest.raises(ValueError, match=r"got 'patch_gaussian', whose σ .* from 0 to 3"):
        method.check_input(spec_of(np.linspace(0, 3, 48, dtype=np.float32).reshape(1, 4, 4, 3)))


# All of them; CutMix stands for both methods that cut a box.


LANES = [pytest.param(n, marks=pytest.mark.slow) if n == "mixup_cutmix" else n for n in BOXED]


@pytest.mark.parametrize("name", LANES)
def test_a_distance_inside_a_bucket_stays_there(name):
    """Rounding to pixels moves few of the held-out distances to a neighbouring bucket."""
    method, edges = create(name), buckets.make_edges("equal_width", 5)
    for n in range(5 * method.num_groups):
        bucket = jnp.full(500, n)
        distance = buckets.draw_inside(jax.random.key(n), bucket, edges)
        image = np.zeros((500, 32, 32, 1), np.uint8)
        done = moved(method, image, distance.value, group=distance.group)
        found = np.asarray(buckets.bucket_index(done.distance, edges))
        np.testing.assert_array_equal(done.distance.group, np.full(500, n // 5))
        assert np.mean(found == n) > 0.95
        assert np.abs(found - n).max() <= 1


@pytest.mark.parametrize("name", LANES)
@pytest.mark.parametrize(
    ("num", "height", "width"),
    [(1, 3, 5), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((7, 5, 9), (3, 1, 1)))],
)
def test_any_batch_and_kind_of_image(name, num, height, width):
    """A uint8 image moves as its float32 form, and everything stays finite and in range."""
    image = np.random.default_rng(0).integers(0, 256, (num, height, width, 3), dtype=np.uint8)
    method = create(name)
    for value in (0.0, 0.3, 1.0):
        done = moved(method, image, value)
        again = moved(method, np.asarray(image, np.float32) / np.float32(255), value)
        np.testing.assert_allclose(done.input, again.input, atol=1e-6)
        assert done.input.dtype == jnp.float32 and done.input.shape == image.shape
        assert np.isfinite(done.input).all()
        assert 0 <= np.min(done.distance.value) <= np.max(done.distance.value) <= 1
    constant = moved(method, np.full_like(image, 128), 0.0)
    assert_clean(constant.input, np.full_like(image, 128))


@pytest.mark.parametrize("name", BOXED)
def test_features_are_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' accepts inputs of kind image; got 'features'"):
        create(name).check_input(spec_of(np.zeros((2, 9), np.float32)))


def test_whole_sides_are_the_best_of_five_heights():
    rng = np.random.default_rng(0)
    height = rng.uniform(0.1, 1, 500).astype(np.float32)
    share = (height * rng.uniform(0.1, 1, 500)).astype(np.float32)
    found = np.stack(boxes.whole_sides(share, height, (31, 37)))
    for i in range(500):
        wanted, start = float(share[i]) * 31 * 37, round(float(height[i]) * 31)

        def error(h, w, wanted=wanted, i=i, start=start):
            changed = abs(h - start) / max(float(height[i]) * 31, 1)
            return abs(h * w - wanted) + 2 * changed

        errors = [
            error(h, w)
            for h in range(max(start - 2, 1), min(start + 2, 31) + 1)
            for w in (int(wanted / h), int(wanted / h) + 1)
            if w <= 37 and (2 * h * w > 31 * 37) == (2 * wanted > 31 * 37)
        ]
        assert error(*found[:, i]) == pytest.approx(min(errors), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("cutout", {"max_side": 0.01}), ("patch_gaussian", {"patch_width": 0.01})],
)
def test_a_box_of_less_than_a_pixel_does_nothing(name, settings):
    image = some_images(20, 8, 8)
    done = moved(create(name, **settings), image, 1.0)
    assert_clean(done.input, image)
    np.testing.assert_array_equal(done.distance.value, np.zeros(20))


@pytest.mark.slow
def test_two_devices_do_the_same_as_one():
    code = (
        "import jax, numpy as np\n"
        "from jax.sharding import NamedSharding, PartitionSpec\n"
        "from autolabel_jax import input_pipeline\n"
        "from tests.test_augment_boxes import BOXED, create, some_images\n"
        "from tests.test_augment import make_batch\n"
        "mesh = input_pipeline.make_mesh()\n"
        "assert mesh.devices.size == 2\n"
        "batch = make_batch(some_images(12, 8, 8))\n"
        "half = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))\n"
        "for name in BOXED:\n"
        "    method = create(name)\n"
        "    run = jax.jit(lambda b, k: method.apply(k, b, method.draw(k, 12)))\n"
        "    one = run(batch, jax.random.key(0))\n"
        "    two = run(jax.device_put(batch, half), jax.random.key(0))\n"
        "    assert len(two.input.sharding.device_set) == 2\n"
        "    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)):\n"
        "        np.testing.assert_allclose(a, b, atol=1e-6)\n"
    )
    done = helpers.process("-c", code, devices=2)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", BOXED)
def test_trains(name, tmp_path):
    """Each bucket is measured, and training counts by the distance in whole pixels."""
    config = helpers.small_config(augment__name=name)
    found = train.train(config, tmp_path, progress=False)
    assert found["augmentation"] == name
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    groups = augment.create(config).num_groups
    assert np.size(line["bucket_accuracy"]) == 2 * groups
    assert np.isfinite(line["train_loss"])
