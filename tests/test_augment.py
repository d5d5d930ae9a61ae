"""Every augmentation: what it draws and does, against SciPy, Pillow and hand calculation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from autolabel_jax import augment, image_ops
from autolabel_jax.augment import (
    Adversarial,
    AugMix,
    Mixup,
    RandAugment,
    augmix,
    operations,
    randaugment,
)
from autolabel_jax.datasets.split import spec_of
from autolabel_jax.types import Batch, Distance
from configs.base import base

AUGMIX = {"severity": 10.0, "max_depth": 3}
RANDAUGMENT = {"max_operations": 2, "max_magnitude": 10.0}


def create(name, **settings):
    config = base()
    config.augment.name = name
    config.augment.update(settings)
    return augment.create(config)


def make_batch(image, label=None, mask=None, distance=None):
    num = len(image)
    return Batch(
        input=jnp.asarray(image),
        label=jnp.asarray(np.arange(num) % 10 if label is None else label),
        index=jnp.asarray(np.arange(num)),
        mask=jnp.asarray(np.ones(num) if mask is None else mask, jnp.float32),
        distance=jnp.asarray(np.zeros(num, np.float32) if distance is None else distance),
    )


def some_images(num, height=32, width=32, channels=3):
    """Half noise, half smooth; uint8."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (num, height, width, channels))
    wave = rng.uniform(0, 0.4, (2, num, 1, 1, channels))
    y, x = np.arange(height)[:, None, None], np.arange(width)[:, None]
    smooth = 127.5 + 90 * np.sin(wave[0] * y + wave[1] * x)
    return np.where(np.arange(num)[:, None, None, None] % 2, smooth, noise).astype(np.uint8)


def drawn_augmix(key, shape, **settings):
    return jax.jit(lambda key: augmix.draw_operations(key, shape, **settings))(key)


def pil_operation(image, name, amount):
    """One operation on a PIL image, as the authors of AugMix and RandAugment call it."""

    def transform(*matrix):
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, matrix, resample=Image.Resampling.BILINEAR)

    return {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "posterize": lambda: ImageOps.posterize(image, int(amount)),
        "solarize": lambda: ImageOps.solarize(image, int(amount)),
        "rotate": lambda: image.rotate(amount, resample=Image.Resampling.BILINEAR),
        "shear_x": lambda: transform(1, amount, 0, 0, 1, 0),
        "shear_y": lambda: transform(1, 0, 0, amount, 1, 0),
        "translate_x": lambda: transform(1, 0, amount, 0, 1, 0),
        "translate_y": lambda: transform(1, 0, 0, 0, 1, amount),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(amount),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(amount),
        "color": lambda: ImageEnhance.Color(image).enhance(amount),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(amount),
    }[name]()


def pil_chains(images, code, amount, depth):
    done = []
    for i, image in enumerate(images):
        one = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        for place in range(depth[i]):
            one = pil_operation(one, operations.NAMES[code[place, i]], float(amount[place, i]))
        done.append(np.asarray(one).reshape(image.shape))
    return np.stack(done)


def assert_clean(image, original):
    """The original uint8 image, to the last bit what ``to_float`` makes of it."""
    np.testing.assert_allclose(image, original / 255, rtol=1e-6)
    np.testing.assert_array_equal(image, image_ops.to_float(jnp.asarray(original)))


def assert_same_chains(ours, images, code, amount, depth, most=1e-3):
    """Equal except for a share of the pixels, and everywhere after look-up tables alone.

    A warp may be one grey level off, and so may a blend where the compiler contracts its product
    and sum; a later operation may widen that.
    """
    code, amount, depth = np.asarray(code), np.asarray(amount), np.asarray(depth)
    levels = np.asarray(ours) * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    apart = np.abs(np.round(levels) - pil_chains(images, code, amount, depth))
    assert np.mean(apart > 0) < most
    assert np.mean(apart[depth == 1] > 1) < most / 10
    assert np.mean(apart > 1) < 1e-3
    used = np.where(np.arange(len(code))[:, None] < depth, code, 0)

    def holds(names):
        return np.isin(used, [operations.CODE[n] for n in names if n in operations.CODE]).any(0)

    still, blended = ~holds(operations.WARPS), holds((*operations.BLENDS, "contrast", "brightness"))
    assert np.sum(still & ~blended) > 20
    assert apart[still & ~blended].max() == 0
    assert apart[still].max() <= 2 and np.mean(apart[still] > 0) < 5e-4
    assert np.abs(np.round(levels) - images).mean() > 10


# What is drawn.


def mixup_cdf(concentration):
    return lambda s: 2 * stats.beta(concentration, concentration).cdf(s / 2)


@pytest.mark.parametrize(
    ("name", "settings", "groups", "cdf"),
    [
        ("augmix", {"max_depth": 3}, 3, "uniform"),
        ("randaugment", {"max_operations": 4}, 4, "uniform"),
        ("mixup", {"concentration": 1.0}, 1, mixup_cdf(1.0)),
        ("mixup", {"concentration": 0.3}, 1, mixup_cdf(0.3)),
        ("adversarial", {}, 1, "uniform"),
    ],
)
def test_drawn_distances(name, settings, groups, cdf):
    method = create(name, **settings)
    assert method.num_groups == groups
    drawn = method.draw(jax.random.key(0), 20000)
    assert drawn.group.shape == drawn.value.shape == (20000,)
    assert stats.kstest(np.asarray(drawn.value, np.float64), cdf).pvalue > 1e-3
    assert np.bincount(drawn.group).shape == (groups,)
    if groups > 1:
        assert stats.chisquare(np.bincount(drawn.group)).pvalue > 1e-3
        within = stats.chi2_contingency(np.histogram2d(drawn.group, drawn.value, (groups, 5))[0])
        assert within.pvalue > 1e-3


def test_none_and_given_draw_nothing():
    for name in ("none", "given"):
        drawn = create(name).draw(jax.random.key(0), 5)
        np.testing.assert_array_equal(drawn.value, np.zeros(5))
        np.testing.assert_array_equal(drawn.group, np.zeros(5))


@pytest.mark.parametrize("module", [augmix, randaugment])
def test_operations_are_drawn_evenly(module):
    shape, settings = (6000, 30, 30, 3), {"severity": 3.0, "max_depth": 3}
    if module is randaugment:
        settings = {"magnitude": jnp.ones(shape[0]), "max_operations": 3}
    draw = jax.jit(lambda key: module.draw_operations(key, shape=shape, **settings))
    code, _ = draw(jax.random.key(0))
    assert code.shape == (3, 6000)
    names = [operations.CODE[name] for name in module.NAMES]
    counts = np.stack([np.bincount(row, minlength=14)[names] for row in np.asarray(code)])
    assert counts.sum() == 18000
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_augmix_levels_and_signs():
    shape = (20000, 30, 48, 3)
    code, amount = drawn_augmix(jax.random.key(3), shape, severity=4.0, max_depth=1)
    code, amount = np.asarray(code[0]), np.asarray(amount[0], np.float64)
    shear = amount[code == operations.CODE["shear_x"]]
    assert stats.kstest(np.abs(shear) * 10 / 0.3, stats.uniform(0.1, 3.9).cdf).pvalue > 1e-3
    assert stats.binomtest(int(np.sum(shear > 0)), len(shear)).pvalue > 1e-3
    degrees = amount[code == operations.CODE["rotate"]]
    assert set(degrees) == set(range(-11, 12))


def reference_amount(name, level, sign, height, width):
    """The parameters of Hendrycks et al., in Python's own arithmetic."""
    return {
        "autocontrast": 0,
        "equalize": 0,
        "posterize": 4 - int(level * 4 / 10),
        "rotate": sign * int(level * 30 / 10),
        "solarize": 256 - int(level * 256 / 10),
        "shear_x": sign * level * 0.3 / 10,
        "shear_y": sign * level * 0.3 / 10,
        "translate_x": sign * int(level * (width / 3) / 10),
        "translate_y": sign * int(level * (height / 3) / 10),
    }[name]


def test_augmix_amounts():
    level = np.random.default_rng(0).uniform(0.1, 10, 900).astype(np.float32)
    level[:9] = 10
    names = np.resize(augmix.NAMES, 900)
    sign = np.where(np.arange(900) % 2, 1.0, -1.0)
    code = np.array([operations.CODE[name] for name in names])
    amount = augmix.amounts(code, level, sign.astype(np.float32), 32, 224)
    rows = zip(names, level.tolist(), sign, strict=True)
    expected = [reference_amount(*row, 32, 224) for row in rows]
    np.testing.assert_allclose(amount, expected, rtol=1e-6)


def test_randaugment_amounts_at_the_ends():
    names = randaugment.NAMES
    code = np.array([operations.CODE[name] for name in names])
    none, most, least = (
        randaugment.amounts(code, jnp.full(14, magnitude), jnp.full(14, sign), 331, 662)
        for magnitude, sign in ((0.0, 1.0), (10.0, 1.0), (10.0, -1.0))
    )
    neutral = {"posterize": 8, "solarize": 256}
    neutral |= dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 1)
    signed = {"rotate": 30, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 300, "translate_y": 150}
    unsigned = {"posterize": 4, "solarize": 0}
    for i, name in enumerate(names):
        start = neutral.get(name, 0)
        np.testing.assert_allclose(none[i], start, rtol=1e-6)
        if name in signed:
            high, low = signed[name], -signed[name]
        elif name in unsigned:
            high = low = unsigned[name]
        elif start == 1:
            high, low = 1.9, 0.1
        else:
            high = low = 0
        np.testing.assert_allclose(most[i], high, rtol=1e-5)
        np.testing.assert_allclose(least[i], low, rtol=1e-5)


# What is done.


def test_augmix_at_value_one_is_the_chain():
    shape = (400, 32, 24, 3)
    images, key = some_images(*shape), jax.random.key(5)
    depth = np.arange(shape[0]) % 3 + 1
    distance = Distance(group=jnp.asarray(depth - 1), value=jnp.ones(shape[0]))
    run = jax.jit(AugMix(**AUGMIX).apply)
    done = run(key, make_batch(images), distance)
    code, amount = drawn_augmix(key, shape, **AUGMIX)
    assert_same_chains(done.input, images, code, amount, depth)

    # Between, the image is the mixture; at 0 it is the clean one to the last bit.
    value = np.linspace(0, 1, shape[0], dtype=np.float32)
    mixed = run(key, make_batch(images), distance.replace(value=jnp.asarray(value)))
    share = value[:, None, None, None]
    expected = (1 - share) * (images / 255) + share * np.asarray(done.input)
    np.testing.assert_allclose(mixed.input, expected, atol=1e-6)
    clean = run(key, make_batch(images), distance.replace(value=jnp.zeros(shape[0])))
    assert_clean(clean.input, images)
    np.testing.assert_array_equal(clean.second_weight, np.zeros(shape[0]))
    np.testing.assert_array_equal(clean.label, clean.second_label)


@pytest.mark.parametrize(
    ("backend", "shape"), [("cpu", (203, 17, 23, 1)), ("gpu", (309, 19, 32, 3))], ids=str
)
def test_randaugment_is_its_operations_in_sequence(monkeypatch, backend, shape):
    # Only CPUs take a batch in chunks; the other way runs on them too.
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    images, key = some_images(*shape), jax.random.key(6)
    number = np.arange(shape[0]) % 2 + 1
    value = np.random.default_rng(1).random(shape[0], np.float32)
    distance = Distance(group=jnp.asarray(number - 1), value=jnp.asarray(value))
    run = jax.jit(RandAugment(**RANDAUGMENT).apply)
    done = run(key, make_batch(images), distance)
    code, amount = jax.jit(
        lambda key: randaugment.draw_operations(key, 10 * value, shape, max_operations=2)
    )(key)
    assert_same_chains(done.input, images, code, amount, number)


@pytest.mark.parametrize("name", ["augmix", "randaugment"])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 2), np.uint8),
        np.zeros((2, 9), np.uint8),
    ],
    ids=["float", "two channels", "no image"],
)
def test_pil_operations_check_their_input(name, image):
    with pytest.raises(ValueError, match=r"augment\.name: .*uint8 images .*got (float32|uint8) \["):
        create(name).check_input(spec_of(image))


def test_mixup_by_hand():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 4, 5, 3), dtype=np.uint8)
    mask = np.r_[np.ones(33), np.zeros(7)]
    value = rng.random(40, np.float32)
    distance = Distance(group=jnp.zeros(40, jnp.int32), value=jnp.asarray(value))
    batch = make_batch(image, label=np.arange(40), mask=mask)
    run = jax.jit(Mixup(concentration=0.5).apply)
    mixed = run(jax.random.key(1), batch, distance)
    partner = np.asarray(mixed.second_label)  # labels are the row numbers
    gamma = (value / 2)[:, None, None, None]
    expected = gamma * (image[partner] / 255) + (1 - gamma) * (image / 255)
    np.testing.assert_allclose(mixed.input, expected, atol=1e-6)
    np.testing.assert_allclose(mixed.second_weight, value / 2)
    np.testing.assert_array_equal(mixed.label, np.arange(40))
    # Every real row is the partner of one other real row; padded rows stay out.
    np.testing.assert_array_equal(np.sort(partner[:33]), np.arange(33))
    assert not np.any(partner[:33] == np.arange(33))
    assert partner[33:].min() >= 33
    other = run(jax.random.key(2), batch, distance).second_label
    assert np.mean(np.asarray(other)[:33] == partner[:33]) < 0.5


def test_mixup_at_value_zero_is_clean():
    image = some_images(6)
    method = create("mixup")
    distance = Distance(group=jnp.zeros(6, jnp.int32), value=jnp.zeros(6))
    clean = method.apply(jax.random.key(0), make_batch(image), distance).input
    assert_clean(clean, image)


def test_own_confidence():
    distance = Distance(group=np.zeros(3, np.int32), value=np.float32([0, 0.5, 1]))
    np.testing.assert_allclose(create("mixup").own_confidence(distance), [1, 0.75, 0.5])
    for name in ("none", "augmix", "adversarial", "randaugment", "given"):
        np.testing.assert_array_equal(create(name).own_confidence(distance), [1, 1, 1])


def linear_model(shape):
    """A two-class linear model with logits (0, w·x): its loss and that loss's gradient in x."""
    weight = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)

    def margin(image, label):
        side = jnp.where(label == 1, 1.0, -1.0)
        return side, side * jnp.sum(image * weight, axis=(1, 2, 3))

    def loss(image, label):
        return np.log1p(np.exp(-np.asarray(margin(image, label)[1], np.float64)))

    def gradient(image, label):
        side, inside = margin(image, label)
        return -(side * jax.nn.sigmoid(-inside))[:, None, None, None] * weight

    return weight, loss, gradient


def test_adversarial_reaches_the_corner_of_its_box():
    image = some_images(64, 4, 4)
    clean = image.astype(np.float32) / 255
    label = np.arange(64) % 2
    value = np.linspace(0, 1, 64, dtype=np.float32)
    epsilon = 0.1 * value[:, None, None, None]
    weight, loss, gradient = linear_model((4, 4, 3))
    distance = Distance(group=jnp.zeros(64, jnp.int32), value=jnp.asarray(value))

    def attack(image, steps):
        settings = {"max_epsilon": 0.1, "num_steps": steps, "step_ratio": 0.25}
        run = jax.jit(lambda *a: Adversarial(**settings).apply(*a, gradient))
        return np.asarray(run(jax.random.key(0), make_batch(image, label), distance).input)

    losses = []
    for steps, given in ((1, clean), (3, clean), (8, image)):
        attacked = attack(given, steps)
        assert np.all(np.abs(attacked - clean) <= epsilon + 1e-6)
        assert attacked.min() >= 0
        assert attacked.max() <= 1
        np.testing.assert_allclose(attacked[0], clean[0], rtol=1e-6)  # ε = 0
        losses.append(loss(attacked, label))
    assert np.all(np.diff(losses, axis=0) >= -1e-5)
    assert np.mean(losses[1] > losses[0] + 1e-5) > 0.9
    # Each pixel of a linear model's worst image is as far as it may go against the margin,
    # and eight steps of ε/4 cross the box from wherever they start.
    against = -np.sign(weight) * np.where(label == 1, 1, -1)[:, None, None, None]
    worst = np.clip(clean + epsilon * against, 0, 1)
    np.testing.assert_allclose(attacked, worst, atol=1e-6)
    np.testing.assert_allclose(losses[-1], loss(worst, label), rtol=1e-4, atol=1e-6)


def test_adversarial_of_one_step_starts_inside_the_ball():
    image = np.full((2000, 1, 1, 1), 0.5, np.float32)
    distance = Distance(group=jnp.zeros(2000, jnp.int32), value=jnp.ones(2000))
    attack = Adversarial(max_epsilon=0.25, num_steps=1, step_ratio=0.25)
    moved = attack.apply(
        jax.random.key(0), make_batch(image), distance, lambda x, y: jnp.zeros_like(x)
    ).input
    drawn = np.asarray(moved, np.float64).ravel()
    assert stats.kstest(drawn, stats.uniform(0.25, 0.5).cdf).pvalue > 1e-3


def test_none_and_given_leave_the_image():
    image = some_images(4)
    batch = make_batch(image, distance=np.float32([0, 0.2, 0.7, 1]))
    for name, value in (("none", [0, 0, 0, 0]), ("given", [0, 0.2, 0.7, 1])):
        method = create(name)
        assert method.distance_is_given == (name == "given")
        done = method.apply(jax.random.key(0), batch, method.draw(jax.random.key(0), 4))
        assert_clean(done.input, image)
        np.testing.assert_allclose(done.distance.value, value)
        np.testing.assert_array_equal(done.second_label, batch.label)
        np.testing.assert_array_equal(done.second_weight, np.zeros(4))


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="augment.name: got 'cutmixx', expected one of: ") as error:
        create("cutmixx")
    for name in ("none", "augmix", "mixup", "adversarial", "randaugment", "given"):
        assert name in str(error.value)
