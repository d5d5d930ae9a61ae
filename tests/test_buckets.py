"""Oracles: exact fractions, np.quantile, an exhaustive search, SciPy's Kolmogorov-Smirnov test."""

import fractions
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax import buckets
from autolabel_jax.types import Distance

DRAWS = 4096

index = jax.jit(buckets.bucket_index)
inside = jax.jit(buckets.draw_inside)


def one_group(value):
    value = np.asarray(value, np.float32)
    return Distance(group=np.zeros(value.shape, np.int32), value=value)


def awkward_edges():
    """Five buckets of every kind, and some that hold a handful of floats or just one."""
    drawn = np.random.default_rng(0).beta(0.5, 2, 2000)
    ulp = np.float32(0.5)
    tiny = [ulp := np.nextafter(ulp, np.float32(1)) for _ in range(3)]
    return {kind: buckets.make_edges(kind, 5, drawn) for kind in buckets.EDGES} | {
        "neighbouring_floats": np.array([0, 0.5, *tiny, 1], np.float32),
        "thin_ends": np.array([0, 1e-30, 1e-7, 0.5, 1 - 2.0**-24, 1], np.float32),
    }


@pytest.mark.parametrize("num", [1, 3, 10, 15, 49])
def test_equal_width_index_is_the_ceiling_of_the_exact_product(num):
    edges = buckets.make_edges("equal_width", num, np.zeros(0))
    value = np.random.default_rng(num).random(3000, np.float32)
    below, above = np.nextafter(edges, np.float32(-1)), np.nextafter(edges, np.float32(2))
    value = np.concatenate([value, below[1:], above[:-1]])
    value = value[~np.isin(value, edges)]
    exact = [math.ceil(num * fractions.Fraction(float(v))) - 1 for v in value]
    # The float nearest to k/N stands for k/N itself, the upper edge of bucket k - 1.
    nearest = np.array([np.float32(k / num) for k in range(num + 1)])
    np.testing.assert_array_equal(edges, nearest)
    expected = exact + [max(k - 1, 0) for k in range(num + 1)]
    found = index(one_group(np.concatenate([value, nearest])), edges)
    np.testing.assert_array_equal(found, expected)


def test_mixup_bucket():
    num = 8
    gamma = [fractions.Fraction(k, 1024) for k in range(1025)]
    smaller = [min(g, 1 - g) for g in gamma]
    exact = [max(math.ceil(2 * num * g) - 1, 0) for g in smaller]
    edges = buckets.make_edges("equal_width", num, np.zeros(0))
    value = np.array([float(2 * g) for g in smaller], np.float32)
    np.testing.assert_array_equal(index(one_group(value), edges), exact)


def test_groups_come_one_after_another():
    edges = np.array([0, 0.2, 0.7, 1], np.float32)
    group = np.array([0, 0, 0, 1, 2, 2, 2], np.int32)
    value = np.array([0, 0.2, 0.71, 0.2, 0.1, 0.5, 1.0], np.float32)
    found = index(Distance(group=group, value=value), edges)
    np.testing.assert_array_equal(found, [0, 0, 2, 3, 6, 7, 8])
    assert found.dtype == jnp.int32


def test_values_outside_go_to_the_end_buckets():
    found = index(one_group([-0.5, 1.0 + 1e-6, 3.0]), buckets.make_edges("equal_width", 4, []))
    np.testing.assert_array_equal(found, [0, 3, 3])


def test_index_of_each_of_a_batch_of_batches():
    edges = buckets.make_edges("equal_width", 6, [])
    value = np.random.default_rng(0).random((5, 40), np.float32)
    found = jax.vmap(lambda d: buckets.bucket_index(d, jnp.asarray(edges)))(one_group(value))
    np.testing.assert_array_equal(found, np.ceil(value.astype(np.float64) * 6) - 1)


@pytest.mark.parametrize("kind", awkward_edges())
def test_draw_inside_lands_in_its_own_bucket(kind):
    edges = awkward_edges()[kind]
    num = 3 * (len(edges) - 1)
    bucket = jnp.repeat(jnp.arange(num), DRAWS)
    distance = inside(jax.random.key(1), bucket, edges)
    np.testing.assert_array_equal(index(distance, edges), bucket)
    assert np.all(np.asarray(distance.value) <= 1)


def test_draw_inside_is_uniform():
    edges = np.array([0, 0.1, 0.35, 1], np.float32)
    bucket = jnp.repeat(jnp.arange(3), DRAWS)
    value = np.asarray(inside(jax.random.key(2), bucket, edges).value).reshape(3, DRAWS)
    for n, draws in enumerate(value):
        fit = stats.kstest(draws, "uniform", args=(edges[n], edges[n + 1] - edges[n]))
        assert fit.pvalue > 1e-3, n


def test_equal_mass_edges_are_quantiles():
    drawn = np.random.default_rng(3).beta(2, 5, 5000).astype(np.float32)
    edges = buckets.make_edges("equal_mass", 8, drawn)
    expected = np.quantile(drawn.astype(np.float64), np.arange(1, 8) / 8)
    np.testing.assert_allclose(edges[1:-1], expected, rtol=1e-6)
    counts = np.bincount(index(one_group(drawn), edges), minlength=8)
    assert np.ptp(counts) <= 1
    assert edges[0] == 0
    assert edges[-1] == 1
    assert edges.dtype == np.float32


def best_split(points, num):
    """Every way to cut sorted points into ``num`` runs, tried; the one of least inner spread."""
    points = np.sort(points)
    cuts = itertools.combinations(range(1, len(points)), num - 1)

    def spread(cut):
        return sum(((part - part.mean()) ** 2).sum() for part in np.split(points, cut))

    centres = [part.mean() for part in np.split(points, min(cuts, key=spread))]
    return (np.array(centres[1:]) + centres[:-1]) / 2


@pytest.mark.parametrize("num", [2, 3, 4])
def test_kmeans_edges_are_those_of_the_best_clusters(num):
    rng = np.random.default_rng(num)
    centres = (np.arange(num) + 0.5) / num
    points = np.concatenate([c + rng.uniform(-0.05, 0.05, 2 + i) for i, c in enumerate(centres)])
    edges = buckets.make_edges("kmeans", num, points)
    np.testing.assert_allclose(edges[1:-1], best_split(points, num), rtol=1e-5)


def test_kmeans_with_many_equal_values():
    drawn = np.concatenate([np.full(900, 0.1), np.full(50, 0.5), np.full(50, 0.9)])
    edges = buckets.make_edges("kmeans", 3, drawn)
    np.testing.assert_allclose(edges, [0, 0.3, 0.7, 1], rtol=1e-6)


@pytest.mark.parametrize("kind", buckets.EDGES)
@pytest.mark.parametrize("num", [1, 2, 9])
def test_edges_cover_the_unit_interval(kind, num):
    drawn = np.random.default_rng(5).random(500)
    edges = buckets.make_edges(kind, num, drawn)
    assert edges.shape == (num + 1,)
    assert edges[0] == 0
    assert edges[-1] == 1
    assert np.all(np.diff(edges) > 0)


def test_middles():
    found = buckets.middles(np.array([0, 0.5, 1], np.float32), 3)
    np.testing.assert_array_equal(found.group, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(found.value, [0.25, 0.75] * 3)
    np.testing.assert_array_equal(index(found, np.array([0, 0.5, 1], np.float32)), np.arange(6))


def test_errors_name_the_field_and_what_would_do():
    with pytest.raises(ValueError, match=r"buckets\.edges: got 'log'.*equal_width.*kmeans"):
        buckets.make_edges("log", 3, np.zeros(0))
    with pytest.raises(ValueError, match=r"buckets\.num: got 0.*at least 1"):
        buckets.make_edges("equal_width", 0, np.zeros(0))
    for kind in ("equal_mass", "kmeans"):
        with pytest.raises(ValueError, match=r"buckets\.num: got 4.*2 different values.*fewer"):
            buckets.make_edges(kind, 4, np.array([0.2, 0.8] * 50))
    with pytest.raises(ValueError, match=r"buckets\.num: got 3 with buckets\.edges='equal_mass'"):
        buckets.make_edges("equal_mass", 3, np.r_[np.zeros(90), np.linspace(0.1, 1, 10)])
