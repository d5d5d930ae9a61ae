"""Whole runs: the rule recomputed from the file, same seed same bits, kills, devices."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import helpers
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from autolabel_jax import claim, epochs, files, processes, train
from autolabel_jax.run_dir import RunDir


def run(workdir, **changes):
    return train.train(helpers.small_config(**changes), workdir, progress=False)


def kernel(workdir):
    return helpers.last_checkpoint(workdir)["['state']['params']['net']['Dense_0']['kernel']"]


# --- metrics.jsonl ---------------------------------------------------------------------------


def numbers(line, name):
    return np.array([np.nan if v is None else v for v in line[name]], np.float64)


def recompute(lines, start, update_due, step="ece", alpha=1.0, decay=0.0, momentum=0.0):
    """Label confidence after each epoch, from the other fields of the file alone."""
    labels, found, updates = np.array(start, np.float64), [], 0
    sums = np.zeros((3, len(start)))
    for epoch, line in enumerate(lines):
        if epoch + 1 in update_due:
            count = numbers(line, "bucket_count")
            shares = np.array([numbers(line, f"bucket_{f}") for f in ("accuracy", "confidence")])
            new = np.where(count > 0, [count, *(count * shares)], 0)
            sums = momentum * sums + new
            accuracy, confidence = sums[1:] / np.where(sums[0] > 0, sums[0], np.nan)
            ece = numbers(line, "label_ece" if "label_ece" in line else "bucket_ece")
            gap = confidence - accuracy
            move = ece * np.sign(gap) if step == "ece" else gap
            size = alpha / (1 + updates) ** decay
            moved = np.minimum(np.maximum(labels - size * move, accuracy), 1)
            labels = np.where(count > 0, moved, labels)
            updates += 1
        found.append(labels)
    return np.array(found)


def check_label_ece(lines, changes):
    """The file has another ECE only where the rule reads one."""
    due = changes.get("labels__warmup_epochs", 0)  # epochs before the first update
    if "labels__ece_estimate" in changes:
        for line in lines:
            assert all(a < b for a, b in zip(line["label_ece"], line["bucket_ece"]))
    elif "labels__momentum" in changes and "labels__step" not in changes:
        assert lines[due]["label_ece"] == lines[due]["bucket_ece"]
        assert lines[due + 1]["label_ece"] != lines[due + 1]["bucket_ece"]
    else:
        assert not any("label_ece" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        pytest.param({}, {1, 2, 3, 4, 5, 6}, marks=pytest.mark.slow),
        pytest.param({"labels__update_every": 2}, {2, 4, 6}, marks=pytest.mark.slow),
        pytest.param({"labels__warmup_epochs": 1}, {2, 3, 4, 5, 6}, marks=pytest.mark.slow),
        ({"labels__warmup_epochs": 1, "labels__update_every": 2}, {3, 5}),
        pytest.param(
            *({"labels__alpha_decay": 0.5, "labels__update_every": 2}, {2, 4, 6}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"labels__ece_estimate": "debiased"}, {1, 2, 3, 4, 5, 6}, marks=pytest.mark.slow
        ),
        ({"labels__momentum": 0.5, "labels__warmup_epochs": 1}, {2, 3, 4, 5, 6}),
        pytest.param(
            {"labels__momentum": 0.5, "labels__step": "signed_gap", "labels__alpha": 0.5},
            {1, 2, 3, 4, 5, 6},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_rule_can_be_recomputed_from_the_file(tmp_path, changes, due):
    kept = {"checkpoint__every_epochs": 6}
    run(tmp_path, epochs=6, augment__name="mixup", buckets__num=2, **kept, **changes)
    lines = helpers.read_metrics(tmp_path)
    check_label_ece(lines, changes)
    found = np.array([line["label_confidence"] for line in lines])
    names = ("step", "alpha", "alpha_decay", "momentum")
    chosen = {
        name.removeprefix("alpha_"): changes[f"labels__{name}"]
        for name in names
        if f"labels__{name}" in changes
    }
    expected = recompute(lines, [1 - 0.125, 1 - 0.375], due, **chosen)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(np.diff(found, axis=0)).max() > 1e-3
    before = np.vstack([[1 - 0.125, 1 - 0.375], found[:-1]])
    moved = {epoch + 1 for epoch in range(6) if np.any(before[epoch] != found[epoch])}
    assert moved <= due


def test_monotone_labels_are_those_of_the_file_projected(tmp_path):
    folder = helpers.write_arrays(
        tmp_path / "data", distance=lambda n: np.linspace(0.01, 1, n, dtype=np.float32)
    )
    changes = {"dataset": "arrays", "data_dir": folder, "augment__name": "given"}
    run(tmp_path / "run", epochs=3, labels__monotone=True, buckets__num=3, **changes)
    lines, labels = helpers.read_metrics(tmp_path / "run"), np.ones(3)
    pooled = 0
    for epoch, line in enumerate(lines):
        own = recompute([line], labels, {1})[0]
        labels = np.array(line["label_confidence"])
        fit = IsotonicRegression(increasing=False).fit_transform(range(3), own)
        np.testing.assert_allclose(labels, fit, atol=1e-6, err_msg=str(epoch))
        pooled += np.any(np.abs(fit - own) > 1e-4)
    assert pooled


def test_temperatures_can_be_recomputed_from_the_file(tmp_path):
    changes = {"labels__rule": "bucket_temperature", "labels__eta": 2.0, "buckets__num": 2}
    changes |= {"labels__update_every": 2, "checkpoint__every_epochs": 6}
    run(tmp_path, epochs=6, augment__name="mixup", **changes)
    expected = np.ones(2)
    for epoch, line in enumerate(helpers.read_metrics(tmp_path)):
        gap = numbers(line, "bucket_confidence") - numbers(line, "bucket_accuracy")
        if epoch % 2:
            expected = np.clip(expected * np.exp(2 * gap), 0.1, 10)
        np.testing.assert_allclose(line["label_temperature"], expected, rtol=1e-5)
        assert line["label_confidence"] == [0.875, 0.625]
    assert np.abs(expected - 1).max() > 0.05


def test_an_empty_bucket_is_null_and_keeps_its_label(tmp_path):
    folder = helpers.write_arrays(
        tmp_path / "data", distance=lambda n: np.linspace(0.6, 1, n, dtype=np.float32)
    )
    run(tmp_path / "run", dataset="arrays", data_dir=folder, augment__name="given")
    for line in helpers.read_metrics(tmp_path / "run"):
        assert line["bucket_accuracy"][0] is line["bucket_ece"][0] is None
        assert line["bucket_count"] == [0, 32]
        assert line["label_confidence"][0] == 1
        assert line["bucket_accuracy"][1] is not None
    lines = helpers.read_metrics(tmp_path / "run")
    expected = recompute(lines, [1, 1], {1, 2})
    np.testing.assert_allclose([line["label_confidence"] for line in lines], expected, atol=1e-6)


# --- one seed, one result --------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    changes = {"augment__name": "mixup", "crop_pad": 2, "flip": True}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run(tmp_path / name, seed=seed, **changes)
    helpers.assert_same_bits(
        helpers.last_checkpoint(tmp_path / "a"), helpers.last_checkpoint(tmp_path / "b")
    )
    lines = [helpers.read_metrics(tmp_path / name) for name in "abc"]
    assert lines[0] == lines[1]
    assert lines[0][0]["train_loss"] != lines[2][0]["train_loss"]
    assert np.abs(kernel(tmp_path / "a") - kernel(tmp_path / "c")).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_several_devices_agree_with_one(tmp_path, devices):
    """31 held-out images, which the devices do not divide."""
    changes = {
        **{"train_examples": 62, "batch_size": 8, "augment__name": "augmix"},
        **{"augment__max_depth": 1, "flip": True, "model__width": 32},
        **{"buckets__num": 4, "optimizer__learning_rate": 0.02},
    }
    for number in (1, devices):
        done = helpers.command(
            *("-m", "experiments.train", *helpers.flags(**changes)),
            f"--workdir={tmp_path / str(number)}",
            devices=number,
        )
        assert done.returncode == 0, done.stderr
    one, several = (helpers.read_metrics(tmp_path / str(n)) for n in (1, devices))
    assert len(one) == 2
    for a, b in zip(one, several, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
    kernels = kernel(tmp_path / "1"), kernel(tmp_path / str(devices))
    np.testing.assert_allclose(*kernels, atol=1e-5)
    device = files.read_json(tmp_path / str(devices) / "result.json")["device"]
    assert device.startswith(f"{devices} x ")


@pytest.mark.slow
def test_a_batch_that_the_devices_do_not_divide_is_refused(tmp_path):
    done = helpers.command(
        *("-m", "experiments.train", *helpers.flags(batch_size=12)),
        f"--workdir={tmp_path / 'run'}",
        devices=8,
    )
    assert done.returncode == 1
    assert "error: batch_size: got 12, which 8 devices do not divide; use 8 or 16" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


# --- killed, stopped, and started again ------------------------------------------------------

LONG = {
    **{"epochs": 4, "augment__name": "mixup", "crop_pad": 2, "flip": True},
    "optimizer__ema": 0.9,
}

# The command with a trap: MOMENT:COUNT, and the signal to send itself there.
TRAP = """
import os, pathlib, signal, sys, threading
from absl import app, flags
from autolabel_jax import checkpoint, files, metric_writer, progress
from experiments import train as program
moment, count, number = sys.argv.pop(1).split(":")
left, number = int(count), int(number)
def spring(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), number)
def after(owner, name, when=lambda *a: True):
    plain = getattr(owner, name)
    def trapped(*args, **kwargs):
        found = plain(*args, **kwargs)
        if when(*args):
            spring()
        return found
    setattr(owner, name, trapped)
def watch(folder):
    def halves():
        found = folder.rglob("*tmp*") if folder.exists() else []
        return {(path.name, path.stat().st_ino) for path in found}
    old = halves()
    def loop():
        while True:
            try:
                if halves() - old:
                    spring()
            except OSError:
                pass
    threading.Thread(target=loop, daemon=True).start()
if moment == "step":
    after(progress.Progress, "train_step")
elif moment == "line":
    after(metric_writer.MetricWriter, "write")
elif moment == "save":
    after(checkpoint.Checkpoints, "save")
elif moment == "half":
    folder = [a.partition("=")[2] for a in sys.argv if a.startswith("--workdir=")][0]
    watch(pathlib.Path(folder) / "checkpoints")
elif moment == "result":
    plain = files.write_json
    def write_json(path, value, **settings):
        if path.name == "result.json":
            spring()
        plain(path, value, **settings)
    files.write_json = write_json
app.run(program.main)
"""


def trapped(workdir, moment, count, number):
    arguments = [*helpers.flags(**LONG), f"--workdir={workdir}"]
    return helpers.command("-c", TRAP, f"{moment}:{count}:{int(number)}", *arguments)


def run_on(workdir):
    done = helpers.command(
        "-m", "experiments.train", *helpers.flags(**LONG), f"--workdir={workdir}"
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder of the run that was never killed."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    run_on(workdir)
    return workdir


def assert_same_run(workdir, undisturbed):
    helpers.assert_same_bits(helpers.last_checkpoint(workdir), helpers.last_checkpoint(undisturbed))
    assert helpers.read_metrics(workdir) == helpers.read_metrics(undisturbed)
    assert len(helpers.read_metrics(workdir)) == LONG["epochs"]
    found, expected = (files.read_json(w / "result.json") for w in (workdir, undisturbed))
    for other in ("seconds", "revision"):  # somebody may commit while the tests run
        del found[other], expected[other]
    assert found == expected


@pytest.mark.slow
def test_killed_at_any_moment_ends_with_the_same_bits(tmp_path, undisturbed):
    """One run, killed in each kind of moment, the counts drawn by seed."""
    rng = np.random.default_rng(2302)
    moments = [
        ("step", int(rng.integers(1, 3))),  # before any checkpoint
        ("line", int(rng.integers(1, 3))),  # metrics written, checkpoint not begun
        ("half", 1),  # files of a checkpoint half written
        ("step", int(rng.integers(2, 4))),
        ("save", 1),  # a checkpoint just begun
        ("result", 1),  # all trained, no result yet
    ]
    workdir = tmp_path / "run"
    before = []
    for moment, count in moments:
        done = trapped(workdir, moment, count, signal.SIGKILL)
        assert done.returncode == -signal.SIGKILL, (moment, count, done.stderr)
        assert not (workdir / "result.json").exists()
        now = helpers.whole_steps(workdir)
        assert max(now, default=-1) >= max(before, default=-1)
        for value in helpers.last_checkpoint(workdir).values() if now else ():
            assert np.isfinite(value).all()
        before = now
    run_on(workdir)
    assert_same_run(workdir, undisturbed)
    left = [p.name for p in (workdir / "checkpoints").iterdir() if not p.name.isdigit()]
    assert left == []


@pytest.mark.slow
def test_killed_from_outside_ends_with_the_same_bits(tmp_path, undisturbed):
    """The very command, killed by another process some way after its first line."""
    workdir = tmp_path / "run"
    arguments = ["-m", "experiments.train", *helpers.flags(**LONG), f"--workdir={workdir}"]
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=helpers.ROOT,
        env=helpers.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    polls = int(np.random.default_rng(8).integers(1, 200))
    path = workdir / "metrics.jsonl"
    while child.poll() is None and polls:
        polls -= path.exists() and path.stat().st_size > 0
    child.kill()
    child.wait()
    run_on(workdir)
    assert_same_run(workdir, undisturbed)


@pytest.mark.slow
def test_asked_to_stop_saves_in_mid_epoch_and_goes_on(tmp_path, undisturbed):
    workdir = tmp_path / "run"
    done = trapped(workdir, "step", 3, signal.SIGTERM)
    assert done.returncode == 128 + signal.SIGTERM == 143
    said = done.stderr.strip().splitlines()[-1]
    saved = workdir / "checkpoints" / "4"  # epoch 1 of 2 + 1 places, one step in
    assert "stopped in epoch 2 of 4 after step 1 of 2" in said
    assert f"saved {saved}" in said
    assert "run the same command to resume" in said
    assert "Traceback" not in done.stderr
    assert helpers.read_checkpoint(saved)["['metrics']['count']"] == 16
    run_on(workdir)
    assert_same_run(workdir, undisturbed)


STATE = {  # every optional field of the label state
    **{"labels__momentum": 0.5, "labels__alpha_decay": 0.5, "labels__ece_estimate": "debiased"},
    "labels__monotone": True,
}


@pytest.mark.parametrize(
    ("stop_at", "more"),
    [
        *(pytest.param(at, {}, marks=pytest.mark.slow) for at in (0, 1, 2, 3, 5)),
        pytest.param(1, STATE, marks=pytest.mark.slow),
        (3, STATE),
        pytest.param(3, {"labels__rule": "bucket_temperature"}, marks=pytest.mark.slow),
    ],
)
def test_stopped_after_any_step_ends_with_the_same_bits(tmp_path, stop_at, more):
    changes = {"augment__name": "mixup", "optimizer__ema": 0.9, **more}
    run(tmp_path / "whole", **changes)
    calls = iter(range(100))
    with pytest.raises(processes.Stopped, match="run the same command to resume"):
        train.train(
            helpers.small_config(**changes),
            tmp_path / "stopped",
            progress=False,
            should_stop=lambda: next(calls) >= stop_at,
        )
    assert not (tmp_path / "stopped" / "result.json").exists()
    run(tmp_path / "stopped", **changes)
    helpers.assert_same_bits(
        *(helpers.last_checkpoint(tmp_path / name) for name in ("whole", "stopped"))
    )
    lines = [helpers.read_metrics(tmp_path / name) for name in ("whole", "stopped")]
    assert lines[0] == lines[1]


def snapshot_of_files(workdir: pathlib.Path) -> dict:
    return {
        str(p.relative_to(workdir)): (p.read_bytes(), os.stat(p).st_mtime_ns)
        for p in workdir.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def test_another_config_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path)
    before = snapshot_of_files(tmp_path)
    with pytest.raises(ValueError, match="epochs: 2 there, 3 asked for; seed: 0 there, 1 asked"):
        run(tmp_path, epochs=3, seed=1)
    assert snapshot_of_files(tmp_path) == before


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    folder = helpers.write_arrays(tmp_path / "data")
    changes = {"dataset": "arrays"}
    first = run(tmp_path / "run", data_dir=folder, **changes)
    before = snapshot_of_files(tmp_path / "run" / "checkpoints")
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    def refuse(*_, **__):
        raise AssertionError("trains again")

    monkeypatch.setattr(epochs, "train_epochs", refuse)
    (tmp_path / "data").rename(tmp_path / "moved")
    again = run(tmp_path / "run", data_dir=str(tmp_path / "moved"), **changes)
    assert again == first
    assert snapshot_of_files(tmp_path / "run" / "checkpoints") == before
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == lines


# --- damaged, locked, older, longer -----------------------------------------------------------


def test_a_damaged_checkpoint_ends_with_the_same_bits(tmp_path, capsys):
    changes = {"epochs": 3, "checkpoint__keep": 3}
    expected = run(tmp_path / "whole", **changes)
    run(tmp_path / "hurt", **changes)
    workdir = tmp_path / "hurt"
    (workdir / "result.json").unlink()
    newest = max(helpers.whole_steps(workdir))
    paths = (workdir / "checkpoints" / str(newest) / "default").rglob("*")
    path = max((p for p in paths if p.is_file()), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-100])
    (workdir / "metrics.jsonl").write_text("")
    found = run(workdir, **changes)
    assert found["accuracy"] == expected["accuracy"] and found["nll"] == expected["nll"]
    assert helpers.read_metrics(workdir) == helpers.read_metrics(tmp_path / "whole")
    helpers.assert_same_bits(*map(helpers.last_checkpoint, (workdir, tmp_path / "whole")))
    said = capsys.readouterr().err
    assert f"checkpoints/{newest}: this checkpoint is damaged" in said
    assert "metrics.jsonl: was damaged; the lines of epochs 1-2 are restored" in said


def test_metrics_of_a_finished_run_are_repaired(tmp_path, capsys):
    expected = run(tmp_path, epochs=3)
    before = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(before.splitlines(keepends=True)[0])
    assert run(tmp_path, epochs=3) == expected
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert "the lines of epochs 2-3 are restored" in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_gone_says_so(tmp_path, capsys):
    expected = run(tmp_path)
    (tmp_path / "result.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    assert run(tmp_path)["nll"] == expected["nll"]
    assert (
        "checkpoints: no checkpoint is left, though there are metrics of 2 epochs; training begins"
        in capsys.readouterr().err
    )


def test_a_folder_in_which_another_process_trains_is_left(tmp_path):
    with claim.locked(RunDir(tmp_path)):
        before = snapshot_of_files(tmp_path)
        with pytest.raises(ValueError, match=f"process {os.getpid()} on .* trains there"):
            run(tmp_path)
        assert snapshot_of_files(tmp_path) == before


def test_a_finished_run_is_trained_on_with_more_epochs(tmp_path, capsys):
    first = run(tmp_path, epochs=2)
    lines = helpers.read_metrics(tmp_path)
    with pytest.raises(ValueError, match="epochs: 2 there, 1 asked for"):
        run(tmp_path, epochs=1)
    longer = run(tmp_path, epochs=4)
    assert (first["epochs"], longer["epochs"]) == (2, 4)
    assert helpers.read_metrics(tmp_path)[:2] == lines
    assert [line["step"] for line in helpers.read_metrics(tmp_path)] == [2, 4, 6, 8]
    assert files.read_json(tmp_path / "result_2_epochs.json") == first
    said = capsys.readouterr().err
    assert "trains on from epoch 2 to 4; the cosine schedule of optimizer.schedule now" in said
    assert run(tmp_path, epochs=4) == longer


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({"labels__warmup_epochs": 2}, True),
        ({"labels__update_every": 3}, True),
        ({"labels__warmup_epochs": 1}, False),
        ({"labels__warmup_epochs": 2, "labels__rule": "one_hot"}, False),
    ],
)
def test_labels_that_will_not_move_are_told(tmp_path, capsys, changes, still):
    run(tmp_path, **changes)
    assert ("the labels will not move" in capsys.readouterr().err) == still


@pytest.mark.parametrize("seed", [2**32, 2**40])
def test_seeds_that_would_fold_onto_others_are_refused(tmp_path, seed):
    with pytest.raises(ValueError, match=f"seed: got {seed}, must be between 0 and 4294967295"):
        run(tmp_path, seed=seed)
