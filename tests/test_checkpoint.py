"""Checkpoints come back to the last bit, the last k stay, and half a one is cleared."""

import helpers
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from autolabel_jax import checkpoint
from autolabel_jax.types import StepMetrics


@pytest.fixture(scope="module")
def first():
    """A snapshot with everything in it: averaged parameters, batch statistics, label state."""
    config = helpers.small_config(
        model__name="small_cnn", model__width=4, optimizer__ema=0.9, augment__name="mixup"
    )
    return helpers.saved_experiment(config)[2]


def at(first, epoch, step):
    """Another snapshot of that place, every number its own."""
    rng = np.random.default_rng(100 * epoch + step)

    def other(leaf):
        if np.issubdtype(leaf.dtype, np.floating):
            return jax.numpy.asarray(rng.normal(size=leaf.shape), leaf.dtype)
        return jax.numpy.copy(leaf)

    metrics = StepMetrics(loss=np.float32(0.1), correct=np.float32(3), count=np.float32(7))
    return first.replace(
        state=jax.tree.map(other, first.state),
        epoch=np.int32(epoch),
        step=np.int32(step),
        metrics=metrics,
    )


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def folders(tmp_path):
    return sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())


def test_all_of_a_run_comes_back_to_the_bit(tmp_path, first):
    saved = at(first, 1, 3)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() is None
        assert checkpoints.restore(first) is None
        checkpoints.save(saved, steps_per_epoch=5)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        found = checkpoints.restore(first)
        assert checkpoints.latest() == tmp_path / "checkpoints" / "9"  # 1 · (5 + 1) + 3
    assert jax.tree.structure(found) == jax.tree.structure(saved)
    assert bits(found) == bits(saved)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(first), strict=True):
        assert a.dtype == b.dtype
        assert a.sharding == b.sharding


def test_the_files_hold_it_without_this_code(tmp_path, first):
    saved = at(first, 0, 2)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(saved, steps_per_epoch=5)
    found = helpers.last_checkpoint(tmp_path)
    assert len(found) == len(jax.tree.leaves(saved))
    np.testing.assert_array_equal(
        found["['state']['labels']['confidence']"], saved.state.labels.confidence
    )
    assert found["['step']"] == 2
    assert found["['metrics']['count']"] == 7


def test_labels_without_options_are_saved_as_before_there_were_any(tmp_path, first):
    """What was saved then restores now: the tree on the disk is the same, entries of None too."""
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(at(first, 1, 3), steps_per_epoch=5)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder.absolute() / "default").item_metadata.tree
    assert list(tree["state"]["labels"]) == ["confidence"]


def test_the_last_ones_stay(tmp_path, first):
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(at(first, epoch, 0), steps_per_epoch=5)
        checkpoints.save(at(first, 3, 0), steps_per_epoch=5)  # the same place again
        assert checkpoints.latest().name == "18"
    assert folders(tmp_path) == [12, 18]


def test_each_place_of_a_run_has_its_own_name(tmp_path, first):
    """The end of the steps and the end of the epoch's calibration are two places."""
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=9) as checkpoints:
        for epoch, step in ((0, 0), (0, 2), (1, 0), (1, 1)):
            checkpoints.save(at(first, epoch, step), steps_per_epoch=2)
    assert folders(tmp_path) == [0, 2, 3, 4]


def test_a_snapshot_may_be_given_away_while_it_is_written(tmp_path, first):
    saved = at(first, 1, 0)
    expected = bits(saved)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(saved, steps_per_epoch=5)
        jax.tree.map(lambda x: x.delete(), saved.state)  # as donation to the next step does
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        assert bits(checkpoints.restore(first)) == expected


def test_what_a_killed_process_left_is_cleared_by_a_writer_alone(tmp_path, first):
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(at(first, 1, 0), steps_per_epoch=5)
    half = tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp"
    (half / "default").mkdir(parents=True)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=None) as reader:
        assert reader.latest().name == "6"
        assert int(reader.restore(first).epoch) == 1
    assert half.exists()  # perhaps the running process is still at it
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as writer:
        assert writer.latest().name == "6"
        writer.save(at(first, 2, 0), steps_per_epoch=5)
    assert not half.exists()
    assert folders(tmp_path) == [12]
