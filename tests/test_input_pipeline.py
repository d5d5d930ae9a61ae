"""input_pipeline: orders, rows, batches against NumPy."""

import sys

import jax
import numpy as np
import photograph_folders
import pytest

from autolabel_jax import input_pipeline
from autolabel_jax.datasets import Split, StreamedSplit, folder, loader, photographs


def make_split(n=10, distance=None):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    label = rng.integers(0, 3, n).astype(np.int32)
    return Split(input=image, label=label, distance=distance, index=np.arange(n))


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
        assert batch.input.shape[0] == len(rows) <= max(batch_size, 1)
        real = np.asarray(batch.mask) == 1
        assert set(np.asarray(batch.mask)) <= {0.0, 1.0}
        index = np.asarray(batch.index)[real]
        np.testing.assert_array_equal(np.asarray(batch.input)[real], split.input[index])
        np.testing.assert_array_equal(np.asarray(batch.label)[real], split.label[index])
        seen.extend(index)
    assert seen == list(range(n))


def test_padded_rows_may_cover_a_part():
    mesh = input_pipeline.make_mesh()
    whole, chosen = input_pipeline.put_split(make_split(200), mesh), np.arange(3, 200, 2)
    rows = input_pipeline.padded_rows(whole, 64, mesh, chosen)
    assert [len(r) for r in rows] == [64, 64]
    batches = [input_pipeline.take(whole, r, mesh) for r in rows]
    real = np.concatenate([np.asarray(b.index)[np.asarray(b.mask) == 1] for b in batches])
    np.testing.assert_array_equal(real, chosen)


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
    with pytest.raises(ValueError, match="batch_size: got 7.*2 devices.*use 6 or 8"):
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


# Streamed splits


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Records of 24 photographs to train on and 12 to test on."""
    return folder.read(photograph_folders.write(tmp_path_factory.mktemp("photos")))[:2]


def streamed(records, num, workers=0):
    return StreamedSplit(records, np.arange(num), 10, workers)


def training(split, local=None, batch_size=8):
    rows = np.arange(batch_size) if local is None else local
    return loader.Training(split, 5, batch_size, len(split) // batch_size, rows)


def joined(batches, name):
    return np.concatenate([np.asarray(batch[name]) for batch in batches])


def test_streamed_epochs_are_permutations_and_squares_follow_from_their_place(photos):
    split = streamed(photos[0], 20)
    batches = list(loader.host_batches(training(split), 0, 4))  # two epochs of two steps
    for epoch in range(2):
        order = np.random.RandomState([5, epoch, 0]).permutation(20)
        found = batches[2 * epoch : 2 * epoch + 2]
        np.testing.assert_array_equal(joined(found, "index"), order[:16])
        for image, label, row in zip(*(joined(found, n) for n in ("input", "label", "index"))):
            path, expected = photos[0].read(row)
            random = np.random.RandomState([5, epoch, 1, row])
            np.testing.assert_array_equal(image, photographs.training_square(path, random, 10))
            assert label == expected
    np.testing.assert_array_equal(joined(batches, "mask"), np.ones(32))


def test_a_stream_goes_on_at_any_step_to_the_same_bits(photos):
    whole = list(loader.host_batches(training(streamed(photos[0], 24)), 0, 7))
    for first, workers in ((3, 0), (2, 2)):  # two processes, five blocks
        plan = training(streamed(photos[0], 24, workers))
        again = list(loader.host_batches(plan, first, 7))
        assert len(again) == 7 - first
        for name in ("input", "label", "index", "mask"):
            np.testing.assert_array_equal(joined(again, name), joined(whole[first:], name))


def test_two_hosts_read_what_one_does(photos):
    one = list(loader.host_batches(training(streamed(photos[0], 24)), 0, 3))
    halves = [np.arange(0, 4), np.arange(4, 8)]
    hosts = [list(loader.host_batches(training(streamed(photos[0], 24), h), 0, 3)) for h in halves]
    for step in range(3):
        parts = [host[step] for host in hosts]
        assert [len(part["label"]) for part in parts] == [4, 4]
        for name in ("input", "label", "index", "mask"):
            np.testing.assert_array_equal(joined(parts, name), one[step][name])


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_ten_images_in_batches_of_four_count_once_on_any_number_of_hosts(photos, hosts):
    split, counted = streamed(photos[1], 10), []
    for local in np.split(np.arange(4), hosts):
        plan = loader.Evaluation(split, 4, local)
        batches = list(loader.host_batches(plan, 0, plan.num_steps))
        assert [len(batch["mask"]) for batch in batches] == [len(local)] * 3
        real = joined(batches, "mask") == 1
        counted += list(joined(batches, "index")[real])
        for row, image in zip(joined(batches, "index")[real], joined(batches, "input")[real]):
            path, _ = photos[1].read(row)
            np.testing.assert_array_equal(image, photographs.evaluation_square(path, 10))
    assert sorted(counted) == list(range(10))


def test_streamed_evaluation_equals_that_of_the_decoded_split(photos):
    mesh, split = input_pipeline.make_mesh(), streamed(photos[1], 10)
    assert input_pipeline.put_split(split, mesh) is split
    whole = input_pipeline.put_split(loader.decode(split), mesh)
    assert input_pipeline.num_examples(split) == input_pipeline.num_examples(whole) == 10
    found = {}
    for kind, source in (("streamed", split), ("resident", whole)):
        batches = list(input_pipeline.evaluation_batches(source, 4, mesh))
        real = np.concatenate([b.mask for b in batches]) == 1
        names = ("input", "label", "index")
        found[kind] = [np.concatenate([getattr(b, n) for b in batches])[real] for n in names]
    for a, b in zip(found["streamed"], found["resident"]):
        assert len(a) == 10
        np.testing.assert_array_equal(a, b)


def test_training_batches_of_a_stream_run_through_epochs_and_jump(photos, monkeypatch):
    mesh, split = input_pipeline.make_mesh(), streamed(photos[0], 20)
    begun, read = [], loader.host_batches
    monkeypatch.setattr(
        loader, "host_batches", lambda plan, *steps: begun.append(steps) or read(plan, *steps)
    )
    expected = list(read(training(split), 0, 6))
    settings = {"seed": 5, "batch_size": 8, "steps_per_epoch": 2, "epochs": 3, "most_steps": 9}
    batches = input_pipeline.training_batches(split, **settings, mesh=mesh)
    for epoch, first_step in ((0, 0), (1, 0), (0, 1), (1, 0), (2, 0)):
        dispatches = list(batches.epoch(epoch, first_step))
        assert len(dispatches) == 2 - first_step
        for step, (batch, order, num_steps) in enumerate(dispatches, first_step):
            assert order is None and num_steps == 1
            for name, rows in expected[2 * epoch + step].items():
                np.testing.assert_array_equal(getattr(batch, name), rows)
            assert input_pipeline.step_batch(batch, order, np.int32(step), 8, mesh) is batch
    assert begun == [(0, 6), (1, 6)]
    batches.close()


def test_dispatches_of_a_resident_split_cover_the_epoch():
    mesh, split = input_pipeline.make_mesh(), make_split(50)
    whole = input_pipeline.put_split(split, mesh)
    settings = {"seed": 5, "batch_size": 8, "steps_per_epoch": 6, "epochs": 3, "most_steps": 4}
    batches = input_pipeline.training_batches(whole, **settings, mesh=mesh)
    for first_step, sizes in ((0, [4, 2]), (1, [4, 1]), (5, [1])):
        dispatches = list(batches.epoch(1, first_step))
        assert [num_steps for _, _, num_steps in dispatches] == sizes
        for _, order, _ in dispatches:
            np.testing.assert_array_equal(order, input_pipeline.epoch_order(5, 1, 50))


def test_this_process_holds_all_rows_where_it_is_alone():
    rows = input_pipeline.local_rows(24, input_pipeline.make_mesh())
    np.testing.assert_array_equal(rows, np.arange(24))


def test_without_grain_a_stream_says_what_to_install(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ValueError, match="stream: .*needs grain.*pip install 'grain"):
        loader.decode(streamed(photos[0], 2))
