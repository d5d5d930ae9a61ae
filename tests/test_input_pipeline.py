"""input_pipeline: orders, rows, batches against NumPy."""

import jax
import numpy as np
import pytest

from autolabel_jax import input_pipeline
from autolabel_jax.datasets import Split


def make_split(n=10, distance=None):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    label = rng.integers(0, 3, n).astype(np.int32)
    return Split(image=image, label=label, distance=distance, index=np.arange(n))


def test_epoch_order_is_a_permutation_of_seed_and_epoch():
    orders = {
        (s, e): tuple(np.asarray(input_pipeline.epoch_order(s, e, 50)))
        for s in (0, 1)
        for e in (0, 1)
    }
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(orders.values())) == 4
    assert tuple(np.asarray(input_pipeline.epoch_order(1, 1, 50))) == orders[1, 1]


def test_steps_cover_the_order_once_without_the_incomplete_batch():
    order = input_pipeline.epoch_order(0, 0, 50)
    rows = np.concatenate([input_pipeline.step_rows(order, s, 16) for s in range(3)])
    np.testing.assert_array_equal(rows, np.asarray(order)[:48])


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (8, 4), (3, 100), (1, 1)])
def test_padded_rows_count_each_example_once(n, batch_size):
    mesh = input_pipeline.make_mesh()
    split = make_split(n)
    whole = input_pipeline.put_split(split, mesh)
    take = jax.jit(lambda rows: input_pipeline.take(whole, rows, mesh))
    seen = []
    for rows in input_pipeline.padded_rows(whole, batch_size, mesh):
        batch = take(rows)
        assert batch.image.shape[0] == len(rows) <= max(batch_size, 1)
        real = np.asarray(batch.mask) == 1
        assert set(np.asarray(batch.mask)) <= {0.0, 1.0}
        index = np.asarray(batch.index)[real]
        np.testing.assert_array_equal(np.asarray(batch.image)[real], split.image[index])
        np.testing.assert_array_equal(np.asarray(batch.label)[real], split.label[index])
        seen.extend(index)
    assert seen == list(range(n))


def test_given_distances_travel_with_their_examples():
    distance = np.linspace(0, 1, 6).astype(np.float32)
    mesh = input_pipeline.make_mesh()
    whole = input_pipeline.put_split(make_split(6, distance), mesh)
    batch = input_pipeline.take(whole, np.array([5, 0, 3]), mesh)
    np.testing.assert_array_equal(batch.distance, distance[[5, 0, 3]])


def test_batch_that_the_devices_do_not_divide_is_refused():
    class TwoDevices:
        devices = np.zeros(2)

    input_pipeline.check_batch_size("batch_size", 6, TwoDevices())
    with pytest.raises(ValueError, match="batch_size: got 7.*2 devices.*take 6 or 8"):
        input_pipeline.check_batch_size("batch_size", 7, TwoDevices())
    with pytest.raises(ValueError, match="eval_batch_size: got 0"):
        input_pipeline.check_batch_size("eval_batch_size", 0, TwoDevices())


def test_epoch_keys_differ_by_purpose_and_epoch():
    keys = {
        tuple(np.asarray(jax.random.key_data(input_pipeline.epoch_key(0, e, p))))
        for e in range(3)
        for p in (1, 2)
    }
    assert len(keys) == 6
