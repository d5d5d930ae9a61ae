"""Plans of visits: even, complete, and the same on any number of devices."""

import jax
import numpy as np
import pytest

from autolabel_jax import input_pipeline, visits

MESH = input_pipeline.make_mesh()


def count(share=0.1, num_train=9000, num_held_out=1000, num_passes=30, batch_size=1000):
    sizes = {"num_train": num_train, "num_held_out": num_held_out, "num_passes": num_passes}
    return visits.count(share, **sizes, batch_size=batch_size, mesh=MESH)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 960),  # 900, filled up to a multiple of 64
        ({"num_train": 45_000, "num_held_out": 5000}, 4800),  # 4500 in 5 steps of 15 · 64
        ({"num_train": 1000}, 768),  # 24 for each of 30 buckets
        ({"num_train": 100, "num_passes": 1}, 64),
        ({"num_train": 100, "num_passes": 1, "batch_size": 25}, 25),
        ({"batch_size": 300}, 900),  # 3 whole steps
        ({"batch_size": 500}, 1000),  # 2 steps of 450, filled up to 500
        ({"num_train": 100, "num_held_out": 64, "num_passes": 1}, 0),  # no fewer than a full pass
        ({"share": 4.0}, 0),
        ({"share": 1e-6, "num_held_out": 17}, 0),
        ({"share": 3.0}, 27_000),
    ],
)
def test_number_of_visits_follows_the_training_set_and_the_buckets(changes, expected):
    assert count(**changes) == expected


@pytest.mark.parametrize(("num", "num_buckets"), [(12, 5), (10, 5), (7, 1), (6, 9)])
def test_every_example_visits_every_bucket_once(num, num_buckets):
    order = np.random.default_rng(0).permutation(num)
    rows, bucket = visits.place(0, num * num_buckets, order, num_buckets)
    pairs = set(zip(rows.tolist(), bucket.tolist(), strict=True))
    assert pairs == {(row, n) for row in range(num) for n in range(num_buckets)}
    assert rows[:num].tolist() == order.tolist()  # the examples in their order, then again
    assert rows.dtype == bucket.dtype == np.int32


@pytest.mark.parametrize("first", [0, 8, 96, 10**12])
def test_visits_of_an_update_fill_the_buckets_evenly(first):
    order = np.random.default_rng(1).permutation(100)
    _, bucket = visits.place(first, 64, order, 9)
    counts = np.bincount(bucket, minlength=9)
    assert counts.max() - counts.min() <= 2


def test_visits_do_not_depend_on_where_an_update_begins():
    order = np.random.default_rng(2).permutation(11)
    whole = visits.place(5, 40, order, 4)
    parts = [visits.place(5 + i, 8, order, 4) for i in range(0, 40, 8)]
    for one, several in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(one, np.concatenate(several))


def test_more_devices_make_the_same_visits():
    meshes = [jax.sharding.AbstractMesh((n,), ("data",)) for n in (1, 2, 64)]
    sizes = {"num_train": 9000, "num_held_out": 1000, "num_passes": 30, "batch_size": 1000}
    assert len({count(**sizes)} | {_on(mesh, sizes) for mesh in meshes}) == 1


def _on(mesh, sizes):
    class Devices:
        devices = np.empty(mesh.size)

    return visits.count(0.1, **sizes, mesh=Devices())
