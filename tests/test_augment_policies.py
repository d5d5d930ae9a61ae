"""AutoAugment and TrivialAugment: against Pillow, torchvision and enumeration by hand."""

import collections
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax import buckets, train
from autolabel_jax.augment import auto_augment, operations, policies, randaugment, trivial_augment
from autolabel_jax.types import Distance
from benchmarks import augmentation_peers
from tests import helpers
from tests.test_augment import (
    assert_clean,
    assert_same_chains,
    create,
    make_batch,
    some_images,
)

NAMES = tuple(policies.POLICIES)
FULL = ("autocontrast", "equalize", "invert")


def distances(group, value):
    return Distance(group=jnp.asarray(group, jnp.int32), value=jnp.asarray(value, jnp.float32))


def enumerated(name):
    """Probability of each (group, mean strength), rounded."""
    found = collections.Counter()
    for (first, p, m), (second, q, n) in policies.POLICIES[name]:
        s = 1 if first in FULL else m / 9
        t = 1 if second in FULL else n / 9
        found[0, 0] += (1 - p) * (1 - q) / 25
        found[0, round(s, 4)] += p * (1 - q) / 25
        found[0, round(t, 4)] += (1 - p) * q / 25
        found[1, round((s + t) / 2, 4)] += p * q / 25
    return {key: probability for key, probability in found.items() if probability > 1e-9}


@pytest.mark.parametrize("name", NAMES)
def test_drawn_distances_of_auto_augment(name):
    expected = enumerated(name)
    assert sum(expected.values()) == pytest.approx(1)
    method = create("auto_augment", policy=name)
    assert method.num_groups == 2
    drawn = method.draw(jax.random.key(0), 20000)
    keys = zip(np.asarray(drawn.group).tolist(), np.round(drawn.value, 4).tolist())
    found = collections.Counter((g, round(v, 4)) for g, v in keys)
    assert found.keys() <= expected.keys()
    common = [key for key, probability in expected.items() if probability > 1e-3]
    rest = 20000 - sum(found[key] for key in common)
    counts = [found[key] for key in common] + [rest]
    shares = np.array([expected[key] for key in common])
    probabilities = np.append(shares, max(1 - shares.sum(), 1e-12))
    assert stats.chisquare(counts, 20000 * probabilities / probabilities.sum()).pvalue > 1e-3


def test_drawn_distances_of_trivial_augment():
    method = create("trivial_augment")
    assert method.num_groups == 1
    drawn = method.draw(jax.random.key(0), 20000)
    level = np.asarray(drawn.value, np.float64) * 30
    np.testing.assert_allclose(level, np.round(level), atol=1e-5)
    counts = np.bincount(np.round(level).astype(int), minlength=31)
    assert len(counts) == 31
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="needs torchvision")
@pytest.mark.parametrize("name", NAMES)
def test_policies_and_magnitudes_are_those_of_torchvision(name):
    augmentation_peers.torchvision_v2()
    from torchvision.transforms import autoaugment

    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(name))
    plain = {"shear_x": "ShearX", "shear_y": "ShearY", "autocontrast": "AutoContrast"}
    plain |= {"translate_x": "TranslateX", "translate_y": "TranslateY"}
    space = theirs._augmentation_space(10, (331, 662))
    for ours, their in zip(policies.POLICIES[name], theirs.policies, strict=True):
        for (op, chance, magnitude), (title, probability, level) in zip(ours, their, strict=True):
            assert (plain.get(op, op.title()), chance) == (title, probability)
            assert magnitude == (magnitude if level is None else level)
            if level is None:
                assert op in FULL
    for op in ("posterize", "rotate", "shear_x", "color"):
        title = plain.get(op, op.title())
        code = jnp.full((1, 10), operations.CODE[op])
        strength = np.arange(10, dtype=np.float32)[None] / 9
        found = auto_augment.amounts(code, strength, jnp.ones((1, 10)), 331, 662)[0]
        expected = np.asarray(space[title][0]) + (op == "color")
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [n if n == "cifar10" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_auto_augment_is_its_operations_in_sequence(name):
    shape, key = (300, 19, 32, 3), jax.random.key(5)
    images = some_images(*shape)
    method = create("auto_augment", policy=name)
    distance = method.draw(jax.random.key(1), shape[0])
    done = jax.jit(method.apply)(key, make_batch(images), distance)
    every = auto_augment.outcomes(name)
    draw = jax.jit(lambda d: auto_augment.draw_operations(key, d, shape, every=every))
    code, amount, number, value = draw(distance)
    # A policy often stretches the grey levels after a shear, and so what it is off by.
    most = {"cifar10": 3e-3, "imagenet": 0.01, "svhn": 0.03}[name]
    assert_same_chains(done.input, images, code, amount, np.asarray(number), most)
    np.testing.assert_allclose(done.distance.value, distance.value, atol=1e-6)
    np.testing.assert_array_equal(done.distance.value, value)
    np.testing.assert_array_equal(np.maximum(number - 1, 0), distance.group)
    np.testing.assert_array_equal(done.second_weight, np.zeros(shape[0]))


def test_sub_policies_of_one_distance_keep_their_probabilities():
    """P(sub-policy | distance), where both operations have the largest strength."""
    rows = [
        (first, p * q)
        for (first, p, m), (second, q, n) in policies.IMAGENET
        if (first in FULL or m == 9) and (second in FULL or n == 9)
    ]
    assert len(rows) == 6
    with_invert = sum(probability for first, probability in rows if first == "invert")
    distance = distances(np.ones(4000), np.ones(4000))
    code, amount, number, value = jax.jit(
        lambda key: auto_augment.draw_operations(
            key, distance, (4000, 8, 8, 3), every=auto_augment.outcomes("imagenet")
        )
    )(jax.random.key(0))
    inverted = np.asarray(code[0]) == operations.CODE["solarize"]
    assert not np.any(amount[0][inverted])
    np.testing.assert_array_equal(number, np.full(4000, 2))
    np.testing.assert_allclose(value, np.ones(4000))
    share = with_invert / sum(probability for _, probability in rows)
    assert stats.binomtest(int(inverted.sum()), 4000, share).pvalue > 1e-3


def test_signs_are_even():
    def draw(key):
        distance = create("auto_augment").draw(key, 20000)
        every = auto_augment.outcomes("cifar10")
        return auto_augment.draw_operations(key, distance, (20000, 32, 32, 3), every=every)[:2]

    code, amount = jax.jit(draw)(jax.random.key(1))
    shift = np.asarray(amount)[np.asarray(code) == operations.CODE["translate_y"]]
    assert set(np.unique(np.abs(shift))) == {4.0, 14.0}  # m = 3 and 9, of 150/331 · 32
    assert stats.binomtest(int(np.sum(shift > 0)), len(shift)).pvalue > 1e-3


@pytest.mark.parametrize(
    "name",
    [n if n == "svhn" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_a_distance_gets_the_nearest_that_exists(name):
    method, edges = create("auto_augment", policy=name), buckets.make_edges("equal_width", 4)
    image = some_images(64, 8, 8)
    possible = np.array(sorted(enumerated(name)))
    apply = jax.jit(method.apply)
    for n in range(8):
        distance = buckets.draw_inside(jax.random.key(n), jnp.full(64, n), edges)
        done = apply(jax.random.key(9), make_batch(image), distance)
        values = possible[possible[:, 0] == n // 4, 1]
        gaps = np.abs(values - np.asarray(distance.value)[:, None])
        found = np.abs(np.asarray(done.distance.value) - np.asarray(distance.value))
        np.testing.assert_allclose(found, gaps.min(1), atol=2e-4)
        np.testing.assert_array_equal(done.distance.group, np.full(64, n // 4))


def test_distance_zero_is_clean():
    image = some_images(40)
    zero = distances(np.zeros(40), np.zeros(40))
    done = jax.jit(create("auto_augment").apply)(jax.random.key(0), make_batch(image), zero)
    assert_clean(done.input, image)


def test_trivial_augment_is_its_operation():
    shape, key = (400, 23, 32, 3), jax.random.key(6)
    images = some_images(*shape)
    value = np.random.default_rng(1).random(shape[0], np.float32)
    method = create("trivial_augment")
    done = jax.jit(method.apply)(key, make_batch(images), distances(np.zeros(shape[0]), value))
    strength = np.round(value * 30) / np.float32(30)
    np.testing.assert_allclose(done.distance.value, strength, rtol=1e-6)
    code, amount = jax.jit(lambda s: trivial_augment.draw_operations(key, s, shape))(
        np.asarray(done.distance.value)
    )
    assert_same_chains(done.input, images, code, amount, np.ones(shape[0], int))
    counts = np.bincount(np.asarray(code[0]), minlength=len(operations.NAMES))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_trivial_augment_amounts_at_the_ends():
    names = randaugment.NAMES
    code = jnp.array([operations.CODE[name] for name in names])
    none, most, least = (
        trivial_augment.amounts(code, jnp.full(14, strength), jnp.full(14, sign), 20, 224)
        for strength, sign in ((0.0, 1.0), (1.0, 1.0), (1.0, -1.0))
    )
    signed = {"rotate": 135, "shear_x": 0.99, "shear_y": 0.99, "translate_x": 32, "translate_y": 20}
    for i, name in enumerate(names):
        if name in signed:
            expected = (0, signed[name], -signed[name])
        elif name in ("brightness", "contrast", "color", "sharpness"):
            expected = (1, 1.99, 0.01)
        else:
            expected = {"posterize": (8, 2, 2), "solarize": (256, 0, 0)}.get(name, (0, 0, 0))
        np.testing.assert_allclose((none[i], most[i], least[i]), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["auto_augment", pytest.param("trivial_augment", marks=pytest.mark.slow)]
)
def test_batch_of_one_constant_and_grey_images(name):
    method = create(name)
    for image in (some_images(1), some_images(7, 5, 9, 1), np.full((3, 8, 8, 3), 77, np.uint8)):
        num = len(image)
        distance = method.draw(jax.random.key(1), num)
        done = jax.jit(method.apply)(jax.random.key(0), make_batch(image), distance)
        assert done.input.shape == image.shape and done.input.dtype == jnp.float32
        moved, value = np.asarray(done.input), np.asarray(done.distance.value)
        assert moved.min() >= 0 and moved.max() <= 1
        assert 0 <= value.min() <= value.max() <= 1
    with pytest.raises(ValueError, match=f"'{name}' takes uint8 images"):
        method.check_input(helpers.make_dataset(shape=(9,)).spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auto_augment", "trivial_augment"])
def test_trains(name, tmp_path):
    config = helpers.small_config(augment__name=name)
    assert train.train(config, tmp_path, progress=False)["augmentation"] == name


def test_random_policies_are_uniform_in_the_search_space_of_the_paper():
    drawn = [op for seed in range(200) for pair in policies.random_policy(seed) for op in pair]
    assert len(drawn) == 200 * 25 * 2
    published = {op[0] for table in policies.POLICIES.values() for pair in table for op in pair}
    names, probabilities, magnitudes = zip(*drawn, strict=True)
    assert published <= set(policies.NAMES) == set(names) and len(policies.NAMES) == 14
    assert set(np.round(np.multiply(probabilities, 10), 9)) == set(range(11))
    assert set(magnitudes) == set(range(10))
    for column in (names, probabilities, magnitudes):
        _, counts = np.unique(column, return_counts=True)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_the_seed_chooses_the_random_policy():
    methods = [create("auto_augment", policy="random", policy_seed=seed) for seed in (3, 3, 4)]
    first, same, other = (np.asarray(m.draw(jax.random.key(1), 64).value) for m in methods)
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    tables = [auto_augment.outcomes("random", seed) for seed in (3, 4)]
    assert np.any(tables[0].code != tables[1].code)
    np.testing.assert_allclose([np.exp(t.log_probability).sum() for t in tables], 1, rtol=1e-5)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"augment\.policy: got 'cifar', expected one of: cifar10"):
        create("auto_augment", policy="cifar")
