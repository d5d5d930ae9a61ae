"""Checkpoints come back to the last bit, the last k stay, and half a one is cleared."""

import json
import shutil

import helpers
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from autolabel_jax import checkpoint, run_dir
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


def some_file(folder):
    """The largest file of the arrays."""
    paths = [p for p in (folder / "default").rglob("*") if p.is_file()]
    return max(paths, key=lambda p: p.stat().st_size)


def flip(folder):
    data = bytearray(some_file(folder).read_bytes())
    data[len(data) // 2] ^= 1
    some_file(folder).write_bytes(data)


def truncate(folder):
    some_file(folder).write_bytes(some_file(folder).read_bytes()[:-50])


def zero(folder):
    some_file(folder).write_bytes(bytes(some_file(folder).stat().st_size))


def delete_half(folder):
    for path in sorted(p for p in folder.rglob("*") if p.is_file())[::2]:
        path.unlink()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE = [flip, truncate, zero, delete_half, empty, lambda folder: some_file(folder).unlink()]


def save_two(tmp_path, first):
    """Saves checkpoints 6 and 12; returns both snapshots."""
    snapshots = at(first, 1, 0), at(first, 2, 0)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for n, snapshot in enumerate(snapshots):
            checkpoints.save(snapshot, 5, [{"epoch": e} for e in range(n + 1)])
    return snapshots


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_older_one_restored(tmp_path, first, capsys, damage):
    older, newer = save_two(tmp_path, first)
    folder = tmp_path / "checkpoints" / "12"
    damage(folder)
    for keep in (None, 2):  # a reader leaves it where it is
        assert folder.exists()
        with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=keep) as checkpoints:
            assert bits(checkpoints.restore(first)) == bits(older)
            said = capsys.readouterr().err
            assert said.count(f"{folder}: this checkpoint is damaged (") == 1
            assert str(tmp_path / "checkpoints" / "6") in said
            if keep:
                assert checkpoints.latest() == tmp_path / "checkpoints" / "6"
                checkpoints.save(newer, steps_per_epoch=5)
    assert helpers.last_checkpoint(tmp_path)["['epoch']"] == 2
    assert (tmp_path / "checkpoints" / "12.damaged").exists()


@pytest.mark.parametrize("damage", [truncate, zero, empty])
def test_one_without_checksums_is_left_out_only_if_it_cannot_be_read(
    tmp_path, first, capsys, damage
):
    older, newer = save_two(tmp_path, first)
    folder = tmp_path / "checkpoints" / "12"
    (folder / checkpoint.CHECKSUMS).unlink()
    (folder / run_dir.SAVED_METRICS).unlink()
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert bits(checkpoints.restore(first)) == bits(newer)
    assert capsys.readouterr().err == ""
    damage(folder)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert bits(checkpoints.restore(first)) == bits(older)
    assert f"{folder}: this checkpoint is damaged" in capsys.readouterr().err


def test_nothing_is_restored_if_all_are_damaged(tmp_path, first, capsys):
    save_two(tmp_path, first)
    for name in ("6", "12"):
        flip(tmp_path / "checkpoints" / name)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.restore(first) is None
        assert checkpoints.latest() is None
    assert capsys.readouterr().err.count("differs from its checksum") == 2


def test_a_state_of_another_kind_is_not_called_damaged(tmp_path, first):
    """As that of a run with EMA from before batch-norm statistics were averaged."""
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        checkpoints.save(at(first, 1, 0), steps_per_epoch=5)
    other = first.replace(state=first.state.replace(ema_batch_stats=None))
    refused = pytest.raises(ValueError, match="6: the state there differs from that of this ver")
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints, refused:
        checkpoints.restore(other)
    assert folders(tmp_path) == [6]


def test_a_checkpoint_holds_the_metrics_before_it(tmp_path, first):
    save_two(tmp_path, first)
    for name, epochs in (("6", [0]), ("12", [0, 1])):
        lines = checkpoint.read_lines(tmp_path / "checkpoints" / name)
        assert [line["epoch"] for line in lines] == epochs
    assert checkpoint.read_lines(None) == []


def test_a_checkpoint_holds_the_record_of_its_data_and_its_checksum(tmp_path, first, capsys):
    data = {"splits": {}, "class_names": None}
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=2, data=data) as checkpoints:
        checkpoints.save(at(first, 1, 0), steps_per_epoch=5)
    record = tmp_path / "checkpoints" / "6" / "dataset.json"
    assert json.loads(record.read_text()) == data
    record.write_text(record.read_text().replace("null", "[]"))
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.restore(first) is None
    assert "dataset.json differs from its checksum" in capsys.readouterr().err
