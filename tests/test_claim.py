"""Claiming a folder: another config or other data are refused, and what was there stays."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys

import helpers
import numpy as np
import pytest
from PIL import Image

from autolabel_jax import claim as claim_lib
from autolabel_jax import train, trained
from autolabel_jax.run_dir import RunDir

DATASET = helpers.make_dataset()
FOLDER = {"dataset": "folder", "image_size": 8, "calibration__fraction": 0.25, "batch_size": 4}
FOLDER |= {"train_examples": 0, "test_examples": 0}
ARRAYS = {"dataset": "arrays", "train_examples": 0, "test_examples": 0}


def claim(folder, config, dataset=DATASET):
    claim_lib.claim(RunDir(folder), config, dataset)


def test_a_folder_of_another_config_is_refused_and_left(tmp_path):
    claim(tmp_path, helpers.small_config(seed=1))
    before = (tmp_path / "config.json").read_bytes()
    other = helpers.small_config(seed=2, labels__alpha=0.5, data_dir="elsewhere")
    with pytest.raises(ValueError, match="another config") as caught:
        claim(tmp_path, other)
    message = str(caught.value)
    assert "labels.alpha: 1.0 there, 0.5 asked for" in message
    assert "seed: 1 there, 2 asked for" in message
    assert "data_dir" not in message
    assert message.count(" asked for") == 2
    assert (tmp_path / "config.json").read_bytes() == before


def test_where_and_how_to_run_may_change(tmp_path):
    claim(tmp_path, helpers.small_config())
    moved = helpers.small_config(data_dir="/moved", checkpoint__keep=5, checkpoint__every_epochs=3)
    claim(tmp_path, moved)
    assert json.loads((tmp_path / "config.json").read_text())["data_dir"] == "/moved"


def test_a_field_that_only_one_side_has_differs(tmp_path):
    claim(tmp_path, helpers.small_config())
    path = tmp_path / "config.json"
    older = json.loads(path.read_text())
    older["augment"]["unheard_of"] = 3.0
    path.write_text(json.dumps(older))
    with pytest.raises(ValueError, match="augment.unheard_of: 3.0 there, None asked for"):
        claim(tmp_path, helpers.small_config())


def test_a_run_from_before_a_field_resumes_with_its_default_and_no_other(tmp_path, capsys):
    run, path = RunDir(tmp_path), tmp_path / "config.json"
    claim_lib.claim(run, helpers.small_config(), DATASET)
    older = json.loads(path.read_text())
    del older["accumulate"], older["optimizer"]["ema"]
    path.write_text(json.dumps(older))
    other = helpers.small_config(accumulate=2)
    with pytest.raises(ValueError, match="accumulate: 1 there, 2 asked for"):
        claim_lib.claim(run, other, DATASET, helpers.small_config())
    assert json.loads(path.read_text()) == older
    claim_lib.claim(run, helpers.small_config(), DATASET, helpers.small_config())
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("older than some fields; it takes accumulate=1, optimizer.ema=0.0")
    assert json.loads(path.read_text())["accumulate"] == 1


def test_a_run_from_before_visits_does_not_resume_with_them(tmp_path):
    run, path = RunDir(tmp_path), tmp_path / "config.json"
    claim_lib.claim(run, helpers.small_config(), DATASET)
    older = json.loads(path.read_text())
    del older["calibration"]["exact"]
    path.write_text(json.dumps(older))
    other = helpers.small_config(calibration__exact=False)
    with pytest.raises(ValueError, match="calibration.exact: True there, False asked for"):
        claim_lib.claim(run, other, DATASET, other)
    claim_lib.claim(run, helpers.small_config(), DATASET, other)


def test_a_folder_is_held_by_one_training(tmp_path):
    run = RunDir(tmp_path / "run")
    code = f"""
import sys
from autolabel_jax import claim, run_dir
with claim.locked(run_dir.RunDir({str(run.path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        held = pytest.raises(ValueError, match=f"process {other.pid} on .* trains there; wait for")
        with held, claim_lib.locked(run):
            pass
        other.kill()
    with claim_lib.locked(run):  # free, as its process is dead
        assert run.path.exists()
    made = RunDir(tmp_path / "made")
    with claim_lib.locked(made):
        pass
    assert not made.path.exists()


def test_temporary_files_of_ended_processes_are_removed(tmp_path):
    host, process = socket.gethostname(), subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    names = [f".a.json.{host}.{process.pid}", f".a.json.{host}.{os.getpid()}", ".a.json.other.1"]
    for name in names:
        (tmp_path / name).touch()
    claim(tmp_path, helpers.small_config())
    assert [(tmp_path / name).exists() for name in names] == [False, True, True]


def test_what_using_the_model_needs_is_kept(tmp_path):
    claim(tmp_path, helpers.small_config())
    kept = json.loads((tmp_path / "dataset.json").read_text())
    assert kept["input"] == {
        **{"kind": "image", "shape": [6, 6, 3], "dtype": "uint8"},
        **{"low": 0, "high": 255, "pad_value": 0},
    }
    np.testing.assert_array_equal(np.float32(kept["mean"]), DATASET.mean)
    np.testing.assert_array_equal(np.float32(kept["std"]), DATASET.std)
    assert (kept["num_classes"], kept["class_names"]) == (4, None)
    examples = {name: split["examples"] for name, split in kept["splits"].items()}
    assert examples == {"train": 48, "calibration": 26, "test": 30}
    assert {"jax", "numpy", "python", "autolabel_jax"} <= set(kept["versions"])


def test_a_folder_of_other_data_is_refused_and_left(tmp_path):
    config = helpers.small_config()
    claim(tmp_path, config)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    label = DATASET.train.label.copy()
    label[0] = (label[0] + 1) % 4
    other = dataclasses.replace(DATASET, train=dataclasses.replace(DATASET.train, label=label))
    moved = helpers.small_config(data_dir="/moved")
    with pytest.raises(ValueError, match=r"other data \(train split: 48 examples, sha256 \w{12}…"):
        claim(tmp_path, moved, other)
    named = dataclasses.replace(DATASET, class_names=tuple("abcd"))
    with pytest.raises(ValueError, match="class names: class 0 is None then, 'a' now"):
        claim(tmp_path, moved, named)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    claim(tmp_path, moved)


OTHER = dataclasses.replace(DATASET, test=DATASET.test.take(slice(5)))


def test_a_run_that_does_not_know_its_data_goes_on_and_records_them(tmp_path):
    claim(tmp_path, helpers.small_config())
    path = tmp_path / "dataset.json"
    path.unlink()
    claim_lib.check_dataset(RunDir(tmp_path), OTHER)
    assert not path.exists()
    claim(tmp_path, helpers.small_config(), OTHER)
    assert json.loads(path.read_text())["splits"]["test"]["examples"] == 5
    with pytest.raises(ValueError, match=r"other data \(test split: 5 examples"):
        claim(tmp_path, helpers.small_config())


def test_a_record_without_a_run_is_replaced(tmp_path):
    """A process that is killed before it writes the config leaves one."""
    claim(tmp_path, helpers.small_config())
    (tmp_path / "config.json").unlink()
    claim(tmp_path, helpers.small_config(), OTHER)
    assert json.loads((tmp_path / "dataset.json").read_text())["splits"]["test"]["examples"] == 5


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A trained run, with the folder of its data."""
    folder = tmp_path_factory.mktemp("trained")
    data = helpers.write_arrays(folder / "data")
    train.train(helpers.small_config(**ARRAYS, data_dir=data), folder / "run", progress=False)
    return folder


def copied(folder, tmp_path, *names):
    for name in ("data", *(f"run/{name}" for name in names)):
        shutil.copytree(folder / name, tmp_path / name)
    (tmp_path / "run" / "config.json").write_bytes((folder / "run" / "config.json").read_bytes())
    config = helpers.small_config(**ARRAYS, data_dir=str(tmp_path / "data"))
    return config, tmp_path / "run"


@pytest.mark.parametrize("has_config", [True, False])
def test_checkpoints_copied_without_their_folder_know_their_data(trained_run, tmp_path, has_config):
    config, workdir = copied(trained_run, tmp_path, "checkpoints")
    if not has_config:
        (workdir / "config.json").unlink()
    change_arrays("test", one_pixel)(tmp_path / "data")
    before = sorted(path.name for path in workdir.rglob("*"))
    uses = [lambda: train.train(config, workdir, progress=False)]
    uses += [lambda: trained.evaluate(workdir, config)] if has_config else []
    for use in uses:
        with pytest.raises(ValueError, match=r"other data in .*checkpoints/\d+ \(test split: 50 "):
            use()
        assert sorted(p.name for p in workdir.rglob("*") if p.name != ".lock") == before
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(trained_run / "data", tmp_path / "data")
    train.train(config, workdir, progress=False)
    assert (workdir / "dataset.json").exists()


def test_checkpoints_without_a_record_of_their_data_resume_and_say_so(
    trained_run, tmp_path, capsys
):
    config, workdir = copied(trained_run, tmp_path, "checkpoints")
    shutil.copy(trained_run / "run" / "metrics.jsonl", workdir)
    for saved in (workdir / "checkpoints").iterdir():  # as before there was one
        checksums = json.loads((saved / "checksums.json").read_text())
        del checksums["dataset.json"]
        (saved / "checksums.json").write_text(json.dumps(checksums))
        (saved / "dataset.json").unlink()
    result = train.train(config, workdir, progress=False)
    said = [line for line in capsys.readouterr().err.splitlines() if "could not be checked" in line]
    assert len(said) == 1 and f"{workdir}/checkpoints/" in said[0]
    expected = json.loads((trained_run / "run" / "result.json").read_text())
    for name in ("nll", "ece", "temperature"):
        assert result[name] == expected[name]


def write_photographs(folder):
    """16 photographs to train on and 4 to test on, of cats and dogs."""
    rng = np.random.default_rng(0)
    for split, num in (("train", 8), ("val", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(num):
                image = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / split / name / f"{i}.png")
    return str(folder)


def rename_class(folder):
    for split in ("train", "val"):
        (folder / split / "dog").rename(folder / split / "ape")


def change_arrays(name, change):
    def apply(folder):
        with np.load(folder / f"{name}.npz") as saved:
            arrays = dict(saved)
        change(arrays)
        np.savez(folder / f"{name}.npz", **arrays)

    return apply


def rescale(arrays):
    arrays["image"] = arrays["image"] / 2


def one_pixel(arrays):
    arrays["image"][3, 1] += 1


def other_labels(arrays):
    arrays["label"] = (arrays["label"] + 1) % 3


@pytest.mark.parametrize(
    ("settings", "write", "change", "told"),
    [
        (FOLDER, write_photographs, rename_class, "class 0 is 'cat' then, 'ape' now"),
        (ARRAYS, helpers.write_arrays, change_arrays("train", rescale), "train split: 32 examples"),
        (ARRAYS, helpers.write_arrays, change_arrays("test", one_pixel), "(test split: 50 example"),
        (ARRAYS, helpers.write_arrays, change_arrays("test", other_labels), "(test split: 50 ex"),
    ],
)
def test_a_trained_run_refuses_other_data(tmp_path, settings, write, change, told):
    data, workdir = tmp_path / "data", tmp_path / "run"
    config = helpers.small_config(**settings, data_dir=write(data), epochs=1)
    result = train.train(config, workdir, progress=False)
    before = {name: (workdir / name).read_bytes() for name in ("config.json", "result.json")}
    data = data.rename(tmp_path / "moved")
    config.data_dir, config.loader_workers = str(data), 0
    assert trained.evaluate(workdir, config) == result
    change(data)
    for use in (
        lambda: trained.evaluate(workdir, config),
        lambda: train.train(config, workdir, progress=False),
    ):
        with pytest.raises(ValueError, match="holds a run on other data") as caught:
            use()
        message = str(caught.value)
        assert told in message and "give the --data_dir" in message and "\n" not in message
        after = {name: (workdir / name).read_bytes() for name in before}
        assert after["result.json"] == before["result.json"]
        assert after["config.json"] == before["config.json"]


def test_a_config_other_than_that_of_the_checkpoint_is_refused(tmp_path):
    """A changed digit of config.json; fields that it lacks, or that may differ, do not count."""
    config, run = helpers.small_config(), RunDir(tmp_path)
    claim(tmp_path, config)
    saved = run.checkpoints / "3"
    saved.mkdir(parents=True)
    (saved / "config.json").write_text(config.to_json())
    claim_lib.check_saved_config(run, helpers.small_config(data_dir="/moved", epochs=9))
    refused = (
        "config.json: differs from the config in .*3 \\(calibration.num_bins: 15 there, 14 now"
    )
    with pytest.raises(ValueError, match=refused):
        claim_lib.check_saved_config(run, helpers.small_config(calibration__num_bins=14))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=refused):
        claim(tmp_path, helpers.small_config(calibration__num_bins=14))
    assert not run.is_claimed
