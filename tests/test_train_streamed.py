"""Runs on photographs that stay on disk: the same bits however they are read, and on the way."""

import os
import signal
import subprocess
import sys
import time

import helpers
import jax
import numpy as np
import photograph_folders
import pytest
from sklearn.utils.class_weight import compute_class_weight

from autolabel_jax import datasets, input_pipeline, processes, train, trained
from autolabel_jax import experiment as experiment_lib

# Two epochs of two steps on 24 photographs, four of them held out, twelve to test on.
STREAMED = {
    **{"dataset": "folder", "image_size": 12, "train_examples": 0, "test_examples": 0},
    **{"calibration__fraction": 0.25, "batch_size": 8, "eval_batch_size": 8, "flip": True},
    **{"augment__name": "mixup", "optimizer__ema": 0.9},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return STREAMED | {"data_dir": photograph_folders.write(tmp_path_factory.mktemp("photos"))}


def run(workdir, settings, **changes):
    return train.train(helpers.small_config(**settings | changes), workdir, progress=False)


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    found = run(workdir, settings)
    assert (found["train_examples"], found["calibration_examples"]) == (18, 6)
    assert found["test_examples"] == 12
    return workdir


@pytest.mark.parametrize("stop_at", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_stopped_after_any_step_ends_with_the_same_bits(tmp_path, settings, undisturbed, stop_at):
    calls, config = iter(range(99)), helpers.small_config(**settings)
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path, progress=False, should_stop=lambda: next(calls) > stop_at)
    run(tmp_path, settings)
    helpers.assert_same_bits(
        helpers.last_checkpoint(tmp_path), helpers.last_checkpoint(undisturbed)
    )
    assert helpers.read_metrics(tmp_path) == helpers.read_metrics(undisturbed)


def test_the_test_split_is_evaluated_as_if_it_were_in_memory(settings, undisturbed):
    config = helpers.small_config(**settings)
    found = trained.evaluate(undisturbed, config)
    restored = trained.restore(undisturbed, config)
    test = datasets.in_memory(restored.dataset.test)
    logits = restored.experiment.model.apply(restored.variables, test.input / 255)
    assert found["accuracy"] == np.mean(np.asarray(logits).argmax(-1) == test.label)
    log_probability = jax.nn.log_softmax(logits)[np.arange(12), test.label]
    assert found["nll"] == pytest.approx(-float(log_probability.mean()), rel=1e-4)


def test_corrupted_and_attacked_photographs_count_once(settings, undisturbed):
    config = helpers.small_config(**settings)
    found = trained.evaluate(undisturbed, config, attack_names=("fgsm",), examples=10)
    assert found["attacked_examples"] == 10
    assert 0 <= found["adversarial_accuracy"] <= 1


@pytest.mark.slow
def test_eight_devices_agree_with_one(tmp_path, settings, undisturbed):
    done = helpers.command(
        *("-m", "experiments.train", *helpers.flags(**settings)),
        f"--workdir={tmp_path / 'eight'}",
        devices=8,
    )
    assert done.returncode == 0, done.stderr
    one, eight = helpers.read_metrics(undisturbed), helpers.read_metrics(tmp_path / "eight")
    for a, b in zip(one, eight, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_ctrl_c_reaches_workers_and_saves(tmp_path, settings, undisturbed):
    """The signal goes to all processes of the terminal; the run answers it, its workers do not."""
    settings = settings | {"loader_workers": 1, "epochs": 400}
    workdir = tmp_path / "run"
    arguments = ["-m", "experiments.train", *helpers.flags(**settings), f"--workdir={workdir}"]
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=helpers.ROOT,
        env=helpers.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    path = workdir / "metrics.jsonl"
    while child.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 128 + signal.SIGINT, said
    assert "run the same command to resume" in said.splitlines()[-1]
    assert helpers.last_checkpoint(workdir)
    first = helpers.read_metrics(undisturbed)[0]["train_loss"]
    assert helpers.read_metrics(workdir)[0]["train_loss"] == pytest.approx(first, rel=1e-5)


def test_an_update_may_take_a_part_of_the_calibration_images(tmp_path, settings):
    run(tmp_path, settings, calibration__images_per_update=4, epochs=1)
    for line in helpers.read_metrics(tmp_path):
        assert line["bucket_count"] == [4, 4]


def test_balanced_weights_count_the_streamed_labels(tmp_path, settings):
    """Two classes of 8 images and one of 2."""
    folder = photograph_folders.write(tmp_path / "photos")
    for i in range(2, 8):
        (tmp_path / f"photos/train/cat/{i}.jpg").unlink()
    config = helpers.small_config(**settings | {"data_dir": folder, "class_weights": "balanced"})
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    expected = compute_class_weight("balanced", classes=np.arange(3), y=dataset.train.label)
    np.testing.assert_allclose(experiment.class_weights, expected, rtol=1e-6)
