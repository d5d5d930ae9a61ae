"""AugMix with several chains: depths and weights against enumeration, images against Pillow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax.augment import augmix
from autolabel_jax.types import Distance
from tests.test_augment import assert_clean, create, make_batch, pil_chains, some_images

BOTH = pytest.mark.parametrize(
    ("chains", "max_depth"), [(3, 3), pytest.param(2, 4, marks=pytest.mark.slow)]
)


def group_of(depths):
    """The mean depth, rounded half up, counted from 0."""
    return int(np.floor(np.mean(depths) + 0.5)) - 1


def by_group(chains, max_depth):
    """Lists the tuples of depths of each group; all are equally likely."""
    found = [[] for _ in range(max_depth)]
    for depths in itertools.product(range(1, max_depth + 1), repeat=chains):
        found[group_of(depths)].append(depths)
    return found


@BOTH
def test_distances_are_those_of_independent_chains(chains, max_depth):
    method = create("augmix", chains=chains, max_depth=max_depth)
    drawn = method.draw(jax.random.key(0), 20000)
    assert method.num_groups == max_depth
    assert drawn.group.dtype == jnp.int32
    assert stats.kstest(np.asarray(drawn.value, np.float64), "uniform").pvalue > 1e-3
    expected = [len(depths) for depths in by_group(chains, max_depth)]
    expected = 20000 * np.array(expected) / max_depth**chains
    counts = np.bincount(drawn.group, minlength=max_depth)
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    table = np.histogram2d(drawn.group, drawn.value, (max_depth, 5))[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@BOTH
def test_depths_in_a_group_are_those_of_independent_chains(chains, max_depth):
    group = jnp.arange(9000) % max_depth
    draw = jax.jit(lambda key: augmix.draw_depths(key, group, chains=chains, max_depth=max_depth))
    depth = np.asarray(draw(jax.random.key(1)))
    assert depth.shape == (9000, chains)
    for place, possible in enumerate(by_group(chains, max_depth)):
        rows = [tuple(row) for row in depth[place::max_depth].tolist()]
        counts = [rows.count(depths) for depths in possible]
        assert sum(counts) == len(rows)
        assert len(counts) == 1 or stats.chisquare(counts).pvalue > 1e-3


def test_one_chain_draws_its_group():
    group = jnp.arange(50) % 5
    depth = augmix.draw_depths(jax.random.key(0), group, chains=1, max_depth=5)
    np.testing.assert_array_equal(depth[:, 0], group + 1)


def test_images_are_the_weighted_chains():
    shape, key = (90, 20, 24, 3), jax.random.key(5)
    images, group = some_images(*shape), jnp.arange(90) % 3
    method = create("augmix", chains=3, severity=10.0)
    distance = Distance(group=group, value=jnp.ones(90))
    run = jax.jit(method.apply)
    done = np.asarray(run(key, make_batch(images), distance).input)

    draw = jax.jit(
        lambda key: augmix.draw_chains(key, group, shape, chains=3, severity=10.0, max_depth=3)
    )
    code, amount, depth, weight = map(np.asarray, draw(key))
    assert weight.min() > 0
    np.testing.assert_allclose(weight.sum(-1), 1, rtol=1e-6)
    # A share of Dirichlet(1, 1, 1) is Beta(1, 2).
    assert stats.kstest(weight[:, 0].astype(np.float64), stats.beta(1, 2).cdf).pvalue > 1e-3
    assert {group_of(row) for row in depth[2::3]} == {2}
    chained = pil_chains(np.repeat(images, 3, 0), code, amount, depth.ravel())
    chained = chained.reshape(90, 3, *shape[1:]) / 255
    expected = np.einsum("bc,bchwk->bhwk", weight, chained)
    # A warp may be a grey level off, which a later operation may widen.
    apart = np.abs(done - expected)
    assert np.mean(apart > 1e-6) < 3e-3
    assert np.mean(apart > 1.01 / 255) < 1e-3

    value = np.linspace(0, 1, 90, dtype=np.float32)
    mixed = run(key, make_batch(images), distance.replace(value=jnp.asarray(value)))
    share = value[:, None, None, None]
    np.testing.assert_allclose(mixed.input, (1 - share) * images / 255 + share * done, atol=1e-6)
    clean = run(key, make_batch(images), distance.replace(value=jnp.zeros(90)))
    assert_clean(clean.input, images)
    np.testing.assert_array_equal(mixed.distance.value, value)
    np.testing.assert_array_equal(mixed.second_weight, np.zeros(90))


def test_the_number_of_chains_has_limits():
    with pytest.raises(ValueError, match=r"augment\.chains: got 0, must be between 1 and 10"):
        create("augmix", chains=0)
