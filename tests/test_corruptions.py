import colorsys
import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import ndimage, stats
from sklearn.datasets import load_sample_images

from autolabel_jax import corruptions
from autolabel_jax.corruptions import blur, digital, frost_textures, published, spatter, weather
from autolabel_jax.datasets import Split
from autolabel_jax.datasets import tfds as tfds_reader

PIXELS = 32
NUM = 32
NAMES = (*corruptions.CORRUPTIONS, *corruptions.EXTRA)


def photographs(num, size, shrink=1):
    """Patches of scikit-learn's two photographs, averaged over shrink x shrink pixels."""
    rng = np.random.default_rng(0)
    side = size * shrink
    out = []
    for i in range(num):
        picture = load_sample_images().images[i % 2]
        y, x = rng.integers(0, np.asarray(picture.shape[:2]) - side + 1)
        patch = picture[y : y + side, x : x + side]
        out.append(patch.reshape(size, shrink, size, shrink, 3).mean((1, 3)))
    return np.stack(out).astype(np.uint8)


@pytest.fixture(scope="module")
def clean():
    return photographs(NUM, PIXELS, shrink=3)


@functools.cache
def compiled(name, severity, size, seed=0):
    """Most of the time here goes into compiling: tests share severities 1 and 5, and a batch."""
    return jax.jit(corruptions.create(name, severity, size=size, seed=seed))


def corrupted(name, severity, image, index=None, **settings):
    index = np.arange(len(image), dtype=np.int32) if index is None else index
    return np.asarray(compiled(name, severity, image.shape[1], **settings)(index, image))


def grey(level):
    return np.full((NUM, PIXELS, PIXELS, 3), level, np.uint8)


def error(a, b):
    return np.mean((a.astype(float) - b) ** 2)


def test_the_table_is_the_papers():
    assert len(corruptions.CORRUPTIONS) == 15
    assert corruptions.CORRUPTIONS[::7] == ("gaussian_noise", "snow", "jpeg_compression")
    assert not set(corruptions.CORRUPTIONS) & set(corruptions.EXTRA)


@pytest.mark.parametrize(
    ("name", "severity", "size", "message"),
    [
        ("rain", 1, 32, "corruption: got 'rain', expected one of: gaussian_noise, shot_noise"),
        ("fog", 0, 32, "severity: got 0"),
        ("fog", 6, 32, "severity: got 6"),
        ("fog", 2.5, 32, "severity: got 2.5"),
        ("fog", 2, 8, "size: got 8"),
    ],
)
def test_refuses_what_it_does_not_know(name, severity, size, message):
    with pytest.raises(ValueError, match=message):
        corruptions.create(name, severity, size=size)


@pytest.mark.parametrize("image", [np.zeros((2, 32, 32, 3)), np.zeros((2, 64, 64, 3), np.uint8)])
def test_refuses_other_images(image):
    with pytest.raises(ValueError, match="made for uint8"):
        corruptions.create("fog", 1, size=32)(np.arange(2), image)


def test_all_severities_of_a_corruption_share_a_program(clean):
    index = np.arange(NUM, dtype=np.int32)
    corruptions._corrupt.clear_cache()
    for severity in corruptions.SEVERITIES:
        corruptions.create("contrast", severity, size=PIXELS)(index, clean)
    assert corruptions._corrupt._cache_size() == 1


# The constants of CIFAR-10-C trade the strength of the displacement for its smoothness, and
# the factors of saturation lie below and above 1: these two do not rise.
NOT_RISING = ("elastic_transform", "saturate")
# Not strictly rising: a wider blur after the copying, a darker image under the frost.
UNSTEADY = ("glass_blur", "frost", *NOT_RISING)
STEADY = [name for name in NAMES if name not in UNSTEADY]


@pytest.mark.parametrize("name", NAMES)
def test_damage_rises_and_hangs_on_seed_and_index_alone(name, clean):
    index = np.arange(NUM, dtype=np.int32)
    damage = []
    for severity in (1, 5):
        transform = compiled(name, severity, PIXELS)
        out = np.asarray(transform(index, clean))
        assert out.shape == clean.shape
        assert out.dtype == np.uint8
        damage.append(error(out, clean))
    order = np.random.default_rng(1).permutation(NUM)
    np.testing.assert_array_equal(transform(order.astype(np.int32), clean[order]), out[order])
    assert damage[0] > 1
    assert damage[1] > damage[0] or name in NOT_RISING


@pytest.mark.slow
@pytest.mark.parametrize("name", STEADY)
def test_damage_rises_with_every_severity(name, clean):
    damage = [error(corrupted(name, severity, clean), clean) for severity in corruptions.SEVERITIES]
    assert (np.diff(damage) > 0).all()


@pytest.mark.parametrize("name", ["impulse_noise", "gaussian_blur", "zoom_blur"])
def test_batches_of_any_size_give_the_same(name, clean):
    transform = compiled(name, 5, PIXELS)
    index = np.arange(NUM, dtype=np.int32)
    whole = np.asarray(transform(index, clean))
    parts = [transform(index[i : i + 8], clean[i : i + 8]) for i in range(0, NUM, 8)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_seed_severity_and_index_each_change_the_noise():
    image = grey(128)
    first, second = corrupted("gaussian_noise", 5, image)[:2]
    assert error(first, second) > 100
    assert error(first, corrupted("gaussian_noise", 5, image, seed=1)[0]) > 100
    # The same draws would differ by their scale alone.
    other = corrupted("gaussian_noise", 1, image)[0].astype(float)
    assert abs(np.corrcoef(other.ravel(), first.ravel())[0, 1]) < 0.1


def test_gaussian_noise_is_normal():
    values = corrupted("gaussian_noise", 5, grey(128)).ravel() - 128.0
    # Truncation takes half a level; three standard errors either side.
    n, deviation = values.size, 0.10 * 255
    assert values.mean() == pytest.approx(-0.5, abs=3 * deviation / n**0.5)
    assert values.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=3 / (2 * n) ** 0.5)
    for level in (-40, -10, 0, 15, 50):
        share = stats.norm.cdf(level + 1, scale=deviation)
        assert np.mean(values <= level) == pytest.approx(share, abs=4 * (0.25 / n) ** 0.5)


def test_noise_at_the_ends_is_clipped():
    white = corrupted("gaussian_noise", 1, grey(255))
    assert np.mean(white == 255) == pytest.approx(0.5, abs=0.01)
    black = corrupted("gaussian_noise", 1, grey(0))
    share = stats.norm.cdf(1, scale=0.04 * 255)
    assert np.mean(black == 0) == pytest.approx(share, abs=0.01)
    assert not corrupted("speckle_noise", 5, grey(0)).any()


def test_shot_noise_is_poisson():
    values = corrupted("shot_noise", 5, grey(102)).ravel()  # 20 photons of 50
    n = values.size
    for count in (10, 15, 20, 25, 30):
        share = stats.poisson.pmf(count, 20)
        seen = np.mean(values == np.floor(255 * count / 50))
        assert seen == pytest.approx(share, abs=4 * (share / n) ** 0.5)
    assert values.mean() == pytest.approx(102 - 0.5, abs=0.7)


def test_speckle_noise_scales_with_the_level():
    for level in (40, 90):
        values = corrupted("speckle_noise", 5, grey(level)).astype(float)
        assert values.std() == pytest.approx(0.2 * level, rel=0.02)


def test_impulse_noise_turns_a_share_black_or_white():
    out = corrupted("impulse_noise", 5, grey(100))
    n = out.size
    for level in (0, 255):
        assert np.mean(out == level) == pytest.approx(0.035, abs=4 * (0.035 / n) ** 0.5)
    assert set(np.unique(out)) == {0, 100, 255}


def test_gaussian_blur_is_scipys(clean):
    expected = ndimage.gaussian_filter(clean / 255.0, (0, 1, 1, 0), mode="nearest") * 255
    out = corrupted("gaussian_blur", 5, clean)
    assert np.abs(out - np.floor(expected)).mean() < 0.01


def test_defocus_blur_is_the_average_over_a_disk():
    # Radius 8 at size 64: a disk of 197 pixels, softened over its neighbours.
    image = photographs(4, 64)
    place = np.arange(-8, 9)
    disk = np.pad((place[:, None] ** 2 + place**2 <= 36).astype(float), 0)
    disk = ndimage.gaussian_filter(disk / disk.sum(), 0.5, radius=1, mode="mirror")
    expected = np.stack(
        [
            ndimage.correlate(one[..., c] / 255.0, disk, mode="mirror")
            for one in image
            for c in range(3)
        ]
    )
    expected = expected.reshape(4, 3, 64, 64).transpose(0, 2, 3, 1) * 255
    assert np.abs(corrupted("defocus_blur", 3, image) - np.floor(expected)).mean() < 0.02


def test_zoom_blur_is_the_mean_of_scipys_zooms(clean):
    factors = np.arange(1, 1.26, 0.01)
    total = clean[0] / 255.0
    for factor in factors:
        cut = int(np.ceil(PIXELS / factor))
        first = (PIXELS - cut) // 2
        middle = clean[0, first : first + cut, first : first + cut] / 255.0
        layer = ndimage.zoom(middle, (factor, factor, 1), order=1)
        trim = (len(layer) - PIXELS) // 2
        total = total + layer[trim : trim + PIXELS, trim : trim + PIXELS]
    expected = np.floor(total / (len(factors) + 1) * 255)
    assert np.abs(corrupted("zoom_blur", 5, clean)[0] - expected).mean() < 0.05


@pytest.mark.parametrize("degrees", [-110.0, -33.0, 0.0, 45.0])
def test_motion_blur_moves_and_adds(degrees, clean):
    image = clean[0] / np.float32(255)
    weight = np.exp(-(np.arange(13) ** 2) / (2 * 1.5**2))
    expected = np.zeros_like(image)
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    for i, w in enumerate(weight / weight.sum()):
        down = np.ceil(i * np.sin(np.deg2rad(degrees)) - 0.5)
        right = np.ceil(i * np.cos(np.deg2rad(degrees)) - 0.5)
        expected += (
            w * image[np.clip(rows + int(down), 0, 31), np.clip(columns + int(right), 0, 31)]
        )
    out = jax.jit(blur.along_line)(image, np.deg2rad(degrees), blur.line(6, 1.5))
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_blur_copies_as_a_loop_would(reach):
    size = 24
    rng = np.random.default_rng(reach)
    step = rng.integers(-reach, reach, (2, size, size))
    value = np.arange(size * size).reshape(size, size, 1)
    for h in range(size - reach, reach, -1):
        for w in range(size - reach, reach, -1):
            here, there = (h, w), (h + step[0, h, w], w + step[1, h, w])
            # The reference's swap: both sides are views, so the first value is lost.
            value[here], value[there] = value[there], value[here]
    out = jax.jit(blur.copied_from, static_argnums=1)(step, reach)
    np.testing.assert_array_equal(out, value.reshape(-1))


def test_brightness_adds_to_the_hsv_value(clean):
    value = clean.max(-1, keepdims=True) / 255
    expected = clean * (np.minimum(value + 0.3, 1) / np.maximum(value, 1e-9))
    assert np.abs(corrupted("brightness", 5, clean) - np.floor(expected + 1e-3)).mean() < 0.01
    assert (corrupted("brightness", 5, grey(0)) == 76).all()  # 0.3 · 255 = 76.5


def test_contrast_draws_to_the_mean(clean):
    mean = clean.mean((1, 2), keepdims=True)
    expected = np.floor((clean - mean) * 0.15 + mean)
    assert np.abs(corrupted("contrast", 5, clean) - expected).mean() < 0.01


def test_saturate_is_pythons_hsv(clean):
    pixels = np.concatenate([clean[0].reshape(-1, 3)[:200], [[0, 0, 0], [90, 90, 90]]])
    image = np.resize(pixels, (NUM, PIXELS, PIXELS, 3)).astype(np.uint8)
    out = corrupted("saturate", 5, image)[0].reshape(-1, 3)[: len(pixels)]
    for pixel, seen in zip(pixels, out, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = 255 * np.asarray(colorsys.hsv_to_rgb(h, min(2.5 * s + 0.2, 1), v))
        np.testing.assert_allclose(seen, expected, atol=1.01)


@pytest.mark.parametrize(
    ("size", "severity", "share"), [(32, 1, 0.95), (32, 5, 0.65), (64, 4, 0.3)]
)
def test_pixelate_is_pils(size, severity, share):
    image = photographs(NUM, size)
    for one, out in zip(image, corrupted("pixelate", severity, image), strict=True):
        small = Image.fromarray(one).resize((int(size * share),) * 2, Image.BOX)
        np.testing.assert_array_equal(out, small.resize((size, size), Image.BOX))


@pytest.mark.parametrize(("size", "severity", "quality"), [(32, 1, 80), (32, 5, 40), (57, 5, 7)])
def test_jpeg_is_pils(size, severity, quality):
    image = photographs(NUM, size)
    for one, out in zip(image, corrupted("jpeg_compression", severity, image), strict=True):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=quality)
        difference = np.abs(out - np.asarray(Image.open(file)).astype(float))
        # libjpeg's whole-number transform now and then rounds a coefficient the other way.
        assert difference.mean() < 1
        assert np.median(difference) == 0


def test_displace_is_scipys(clean):
    image = clean[0] / np.float32(255)
    field = np.random.default_rng(0).uniform(-9, 9, (PIXELS, PIXELS, 2)).astype(np.float32)
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    places = [rows + field[..., 1], columns + field[..., 0]]
    out = jax.jit(digital.displace)(image, field)
    for c in range(3):
        expected = ndimage.map_coordinates(image[..., c], places, order=1, mode="reflect")
        np.testing.assert_allclose(out[..., c], expected, atol=1e-4)


def test_move_corners_is_scipys_affine_map(clean):
    image = clean[0] / np.float32(255)
    moved = np.random.default_rng(0).uniform(-2.5, 2.5, (3, 2)).astype(np.float32)
    before = np.asarray([[26.0, 26], [26, 6], [6, 6]])  # 16 ± 10, right and down
    homogeneous = np.c_[before + moved, np.ones(3)]
    inverse = np.linalg.solve(homogeneous, before).T  # after → before
    swap = inverse[::-1][:, [1, 0, 2]]  # down before right
    out = jax.jit(digital.move_corners)(image, moved)
    for c in range(3):
        expected = ndimage.affine_transform(
            image[..., c], swap[:, :2], swap[:, 2], order=1, mode="mirror"
        )
        np.testing.assert_allclose(out[..., c], expected, atol=1e-3)


def test_plasma_is_the_loop_over_a_map():
    """The reference's in-place loop, given the same random numbers."""
    size, decay, key = 16, 1.75, jax.random.key(5)
    flat, n = np.asarray(jax.random.uniform(key, (256,), minval=-1, maxval=1)), 1
    expected, step, amplitude = np.zeros((size, size)), size, 1e4
    while step >= 2:
        grids = flat[n * n : 4 * n * n].reshape(3, n, n) * amplitude
        half = step // 2
        for i in range(n):
            for j in range(n):
                corners = [
                    expected[(i + a) % n * step, (j + b) % n * step] for a in (0, 1) for b in (0, 1)
                ]
                expected[i * step + half, j * step + half] = np.mean(corners) + grids[0, i, j]
        for i in range(n):
            for j in range(n):
                y, x = i * step, j * step
                for target, (dy, dx), grid in (
                    ((y, x + half), (0, 1), grids[1]),
                    ((y + half, x), (1, 0), grids[2]),
                ):
                    ty, tx = target
                    around = [
                        expected[(ty + dx * half) % size, (tx + dy * half) % size],
                        expected[(ty - dx * half) % size, (tx - dy * half) % size],
                        expected[y, x],
                        expected[(y + dy * step) % size, (x + dx * step) % size],
                    ]
                    expected[ty, tx] = np.mean(around) + grid[i, j]
        step, n, amplitude = half, 2 * n, amplitude / decay**2
    expected -= expected.min()
    out = jax.jit(weather.plasma, static_argnums=(1, 2))(key, size, decay)
    np.testing.assert_allclose(out, expected / expected.max(), atol=1e-5)


def test_fog_keeps_the_range():
    """White stays white where the fog is thickest, and black becomes at most thickness's share."""
    out = corrupted("fog", 5, grey(255))
    assert out.max() == 255
    assert out.min() == pytest.approx(255 / 2.5, abs=1)


def test_frost_textures_have_the_stated_brightness():
    bank = frost_textures.textures(PIXELS, 5)
    for texture, (mean, deviation) in zip(bank, frost_textures.STYLES, strict=True):
        np.testing.assert_allclose(texture.mean((0, 1)), mean, atol=3)
        assert texture[..., 2].std() == pytest.approx(deviation, rel=0.1)
        # Rough, but no white noise: the photographs have 0.5 to 0.7 from pixel to pixel.
        level = texture[..., 2] - texture[..., 2].mean()
        neighbour = np.mean(level[1:] * level[:-1]) / level.var()
        assert 0.4 < neighbour < 0.8


def test_snow_adds_light(clean):
    out = corrupted("snow", 5, clean).astype(int)
    # Whitening and flakes add; truncation of a float may take one level.
    assert (out - clean).min() >= -1
    # A fifth of at least one half is the whitening of black, the rest are flakes.
    assert corrupted("snow", 5, grey(0)).min() >= 0.2 * 0.5 * 255 - 1


def test_spatter_mud_is_brown_and_water_adds(clean):
    mud = corrupted("spatter", 5, clean)
    changed = (mud != clean).any(-1)
    covered = mud[changed].astype(int)
    assert changed.any()
    assert (covered[:, 0] >= covered[:, 2] - 60).all()
    assert (corrupted("spatter", 1, clean).astype(int) - clean).min() >= -1


@pytest.mark.slow
def test_canny_is_opencvs():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 2)
    for level in (128 + 600 * noise, np.where(noise > 0.1, 170 + 200 * noise, 0)):
        level = np.clip(level, 0, 255).astype(np.uint8)
        expected = cv2.Canny(level, 50, 150) > 0
        out = np.asarray(spatter.canny(jnp.asarray(level, jnp.float32)))
        assert np.mean(out != expected) < 0.01


# At 64 px, where both use the ImageNet constants. For the corruptions without random numbers the
# largest mean absolute difference in grey levels; for random ones the largest relative
# difference of the mean absolute change and of the root mean square change. Their elastic
# transform is of another definition, and their frost is photographs.
EXACT = {
    "defocus_blur": 0.1,
    "zoom_blur": 0.05,
    "brightness": 0.05,
    "contrast": 0.02,
    "pixelate": 0.0,
    "jpeg_compression": 0.1,
    "gaussian_blur": 0.02,
    "saturate": 0.2,
}
ALIKE = {
    "gaussian_noise": 0.02,
    "shot_noise": 0.02,
    "impulse_noise": 0.08,
    "speckle_noise": 0.02,
    "glass_blur": 0.03,
    "motion_blur": 0.12,
    "snow": 0.06,
    "fog": 0.08,
    "frost": 0.35,
}


def reference(name, severity, image):
    pytest.importorskip("imagecorruptions", reason="imagecorruptions is not installed")
    from imagecorruptions import corrupt

    np.random.seed(severity)  # noqa: NPY002 - the reference draws from the global state
    each = (corrupt(one, severity=severity, corruption_name=name) for one in image)
    return np.stack(list(each)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("severity", corruptions.SEVERITIES)
@pytest.mark.parametrize("name", EXACT)
def test_equals_the_reference(name, severity):
    image = photographs(8, 64)
    expected = reference(name, severity, image)
    assert np.abs(corrupted(name, severity, image) - expected).mean() <= EXACT[name]


@pytest.mark.slow
@pytest.mark.parametrize("severity", corruptions.SEVERITIES)
@pytest.mark.parametrize("name", ALIKE)
def test_changes_as_much_as_the_reference(name, severity):
    image = photographs(32, 64)
    theirs = reference(name, severity, image) - image
    ours = corrupted(name, severity, image).astype(float) - image
    assert np.abs(ours).mean() == pytest.approx(np.abs(theirs).mean(), rel=ALIKE[name])
    assert error(ours, 0) ** 0.5 == pytest.approx(error(theirs, 0) ** 0.5, rel=ALIKE[name])


@pytest.fixture
def cifar_c(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.tile([3, 1], 5))
    for name in corruptions.CORRUPTIONS:
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (10, 32, 32, 3), np.uint8))
    return tmp_path


def test_reads_cifar_c(cifar_c):
    sets = published.open_sets(str(cifar_c))
    for name in corruptions.CORRUPTIONS:
        whole = [next(sets.read(name, severity, 2, 32)).input for severity in (1, 2, 3, 4, 5)]
        np.testing.assert_array_equal(np.concatenate(whole), np.load(cifar_c / f"{name}.npy"))
    (split,) = sets.read("impulse_noise", 4, 100, 32)  # more than there are
    np.testing.assert_array_equal(split.input, np.load(cifar_c / "impulse_noise.npy")[6:8])
    np.testing.assert_array_equal(split.label, [3, 1])


def test_refuses_an_incomplete_cifar_c(cifar_c):
    (cifar_c / "fog.npy").unlink()
    (cifar_c / "snow.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks snow.npy, fog.npy; .* 15 corruptions"):
        published.open_sets(str(cifar_c))


def test_refuses_a_missing_severity_of_cifar_c(cifar_c):
    np.save(cifar_c / "gaussian_noise.npy", np.zeros((8, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="gaussian_noise.npy holds uint8 .* five severities"):
        list(published.open_sets(str(cifar_c)).read("gaussian_noise", 1, 2, 32))


@pytest.fixture
def imagenet_c(tmp_path):
    for name in corruptions.CORRUPTIONS:
        for severity in corruptions.SEVERITIES:
            for i, wnid in enumerate(("n01", "n02")):
                folder = tmp_path / name / str(severity) / wnid
                folder.mkdir(parents=True)
                image = Image.new("RGB", (24, 24), (60 * i + 10 * severity,) * 3)
                image.save(folder / "val_1.JPEG", quality=95)
    return tmp_path


def test_reads_imagenet_c(imagenet_c):
    sets = published.open_sets(str(imagenet_c))
    (split,) = sets.read("fog", 4, 2, 24)
    np.testing.assert_array_equal(split.label, [0, 1])
    np.testing.assert_allclose(split.input.mean((1, 2, 3)), [40, 100], atol=1)
    with pytest.raises(ValueError, match="24 x 24 pixels, not 224"):
        list(sets.read("fog", 4, 2, 224))


def test_refuses_an_incomplete_imagenet_c(imagenet_c):
    (imagenet_c / "fog" / "2" / "n02" / "val_1.JPEG").unlink()
    (imagenet_c / "fog" / "2" / "n02").rmdir()
    (imagenet_c / "snow" / "5").rename(imagenet_c / "snow" / "6")
    with pytest.raises(FileNotFoundError, match=r"lacks snow/5, fog/2/n02;"):
        published.open_sets(str(imagenet_c))


def test_open_sets_reads_one_set_of_cifar_c(cifar_c):
    sets = published.open_sets(str(cifar_c))
    (split,) = sets.read("impulse_noise", 4, 1, 32)
    np.testing.assert_array_equal(split.input, np.load(cifar_c / "impulse_noise.npy")[6:7])
    with pytest.raises(FileNotFoundError, match="lacks spatter.npy"):
        published.open_sets(str(cifar_c), ["fog", "spatter"])


def test_open_sets_reads_imagenet_c_across_its_classes(imagenet_c):
    sets = published.open_sets(str(imagenet_c))
    (split,) = sets.read("fog", 4, 2, 24)
    np.testing.assert_array_equal(split.label, [0, 1])
    (split,) = sets.read("fog", 4, 1, 24)
    assert split.input.shape == (1, 24, 24, 3)
    (imagenet_c / "fog" / "2").rename(imagenet_c / "fog" / "7")
    with pytest.raises(FileNotFoundError, match="lacks fog/2;"):
        published.open_sets(str(imagenet_c))


def test_open_sets_of_tfds_names_what_is_not_prepared(tmp_path):
    (tmp_path / "cifar10_corrupted").mkdir()
    lacking = "lacks gaussian_noise_1, .*frosted_glass_blur_3, .*elastic_5"
    with pytest.raises(FileNotFoundError, match=lacking):
        published.open_sets(str(tmp_path))


def test_open_sets_refuses_other_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no published sets; expected .npy files"):
        published.open_sets(str(tmp_path))


def test_reads_tfds(monkeypatch, tmp_path):
    """Which sets are asked for; the images are made up, reading is ``datasets.tfds``'s."""
    image = np.stack([np.full((32, 32, 3), i, np.uint8) for i in range(3)])
    asked = []

    class Builder:
        def __init__(self, name, data_dir):
            pass

        def is_prepared(self):
            return True

    def read_split(name, split, data_dir):
        assert split == "test"
        asked.append((name, data_dir))
        return Split(image, np.array([9, 8, 7], np.int32), None, np.arange(3))

    monkeypatch.setattr(tfds, "builder", Builder)
    monkeypatch.setattr(tfds_reader, "read_split", read_split)
    (tmp_path / "cifar10_corrupted").mkdir()
    sets = published.open_sets(str(tmp_path))
    for name in corruptions.CORRUPTIONS:
        for severity in corruptions.SEVERITIES:
            (split,) = sets.read(name, severity, 3, 32)
    assert len(asked) == 75
    assert asked[0] == ("cifar10_corrupted/gaussian_noise_1", str(tmp_path))
    np.testing.assert_array_equal(split.input[:, 5, 5, 1], [0, 1, 2])
    np.testing.assert_array_equal(split.label, [9, 8, 7])
    known = {config.name for config in tfds.builder_cls("cifar10_corrupted").BUILDER_CONFIGS}
    assert {name.split("/")[1] for name, _ in asked} <= known
