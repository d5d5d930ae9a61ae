"""Epochs: lines of the metrics, distances of checkpoints, and losses that are not finite."""

import helpers
import jax
import numpy as np
import pytest

from autolabel_jax import epochs, processes, train
from autolabel_jax.run_dir import RunDir


def run(workdir, **changes):
    return train.train(helpers.small_config(**changes), workdir, progress=False)


def test_a_line_has_what_tables_and_figures_read(tmp_path):
    run(tmp_path)
    lines = RunDir(tmp_path).read_metrics()
    assert [line["epoch"] for line in lines] == [0, 1]
    assert [line["step"] for line in lines] == [2, 4]
    needed = {"train_loss", "calibration_accuracy", "calibration_ece", "images_per_second"}
    for line in lines:
        assert needed <= set(line)
        assert line["images_per_second"] > 0
        for name in ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece"):
            assert len(line[name]) == 2
        # Without augmentation every bucket holds the clean images.
        assert line["bucket_accuracy"] == pytest.approx([line["calibration_accuracy"]] * 2)
        assert line["bucket_ece"] == pytest.approx([line["calibration_ece"]] * 2, abs=1e-6)


def test_checkpoints_are_as_far_apart_as_asked_for(tmp_path):
    run(tmp_path, epochs=5, checkpoint__every_epochs=2, checkpoint__keep=9)
    assert helpers.whole_steps(tmp_path) == [6, 12, 15]  # after epochs 2, 4 and the last


def test_nan_loss_names_the_step_and_the_last_good_checkpoint(tmp_path):
    """Whatever was saved before the parameters blew up is finite and is the one named."""
    changes = {
        **{"epochs": 6, "optimizer__learning_rate": 1e15, "optimizer__warmup_epochs": 0.0},
        **{"optimizer__schedule": "step", "train_examples": 32},
    }
    with pytest.raises(epochs.NonFiniteLossError) as caught:
        run(tmp_path, **changes)
    message = str(caught.value)
    assert "in epoch " in message
    assert "of 1" in message
    assert "optimizer.learning_rate (now 1000000000000000.0)" in message
    steps = helpers.whole_steps(tmp_path)
    if steps:
        assert f"last good checkpoint: {tmp_path / 'checkpoints' / str(steps[-1])}" in message
        for value in helpers.last_checkpoint(tmp_path).values():
            assert np.isfinite(value).all()
    else:
        assert "last good checkpoint: none yet" in message
    assert not (tmp_path / "result.json").exists()


def test_an_update_that_overflows_is_not_saved(tmp_path):
    """The loss of the only step is finite, the parameters after it are not."""
    changes = {"train_examples": 32, "optimizer__schedule": "step"}
    with pytest.raises(epochs.NonFiniteLossError, match="in epoch 1, step 1 of 1; last good") as e:
        run(tmp_path, epochs=1, optimizer__learning_rate=1e39, **changes)
    assert "none yet" in str(e.value)
    assert helpers.whole_steps(tmp_path) == []
    assert not (tmp_path / "result.json").exists()


def test_a_good_checkpoint_is_named_and_restores(tmp_path, monkeypatch):
    """A data set that breaks down in the second epoch: the first one's checkpoint is good."""
    config = helpers.small_config(epochs=4)
    calls = iter(range(100))
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path, progress=False, should_stop=lambda: next(calls) >= 3)
    good = helpers.whole_steps(tmp_path)[-1]
    put = train.input_pipeline.put_split

    def poisoned(split, mesh):
        whole = put(split, mesh)
        return whole.replace(input=jax.numpy.full(whole.input.shape, np.nan, np.float32))

    monkeypatch.setattr(train.input_pipeline, "put_split", poisoned)
    with pytest.raises(epochs.NonFiniteLossError, match="the training loss is nan in epoch 2") as e:
        train.train(config, tmp_path, progress=False)
    assert f"last good checkpoint: {tmp_path / 'checkpoints' / str(good)}." in str(e.value)
    monkeypatch.undo()
    assert train.train(config, tmp_path, progress=False)["epochs"] == 4


def test_the_command_says_so_without_a_traceback(tmp_path):
    done = helpers.command(
        *("-m", "experiments.train"),
        *helpers.flags(optimizer__learning_rate=1e30, epochs=3),
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 1
    assert "error: the " in done.stderr
    assert "last good checkpoint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert RunDir(tmp_path / "run").load_config().epochs == 3
