"""The command ``autolabel train``: settings from the data, a run, and its predictor."""

import json
import warnings

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

import autolabel_jax
from autolabel_jax import defaults, files
from autolabel_jax.commands import budget, main, settings
from autolabel_jax.commands import train as command
from autolabel_jax.commands.settings import Facts, choose
from autolabel_jax.datasets import manifest

# The network and the augmentation that the data ask for, as small as they can be.
SHORT = ("--config.epochs=2", "--config.model.width=1", "--config.model.depth=10")
SHORT += ("--config.augment.max_depth=1", "--config.augment.max_operations=1")
SHORT += ("--config.batch_size=32",)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """300 digits as files of 12 × 8 pixels, in a folder for each class."""
    root = tmp_path_factory.mktemp("photographs")
    digits = load_digits()
    for i in range(300):
        folder = root / f"digit {digits.target[i]}"
        folder.mkdir(exist_ok=True)
        image = Image.fromarray((digits.images[i] * 15).astype(np.uint8))
        image.resize((12, 8)).save(folder / f"{i}.png")
    return root


def autolabel(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run has few of each class
        return main.main([str(argument) for argument in arguments])


def test_a_folder_of_images_becomes_a_predictor(photographs, tmp_path, capfd):
    given = [f"--data={photographs}", f"--out={tmp_path / 'run'}", "--licence=MIT", *SHORT]
    assert autolabel("train", *given) == 0
    out, err = capfd.readouterr()
    assert "--config.image_size=32" in err and "median of the shorter sides is 8 pixels" in err
    assert "--config.epochs=2" in err and "given" in err
    assert "--config.stream=False" in err and "decoded into memory: 0.00086 GiB decoded, in" in err
    assert err.count("has no test rows") == 1  # though the data are read again for the predictor
    result = files.read_json(tmp_path / "run/result.json")
    assert f"{result['accuracy']:.4f}" in out and f"{result['nll_ts']:.4f}" in out
    model = autolabel_jax.load_predictor(tmp_path / "run/predictor")
    assert model.class_names == tuple(f"digit {k}" for k in range(10))
    picture = next(photographs.rglob("*.png"))
    assert autolabel("predict", f"--model={tmp_path / 'run/predictor'}", f"--data={picture}") == 0
    # The same command finds the run finished, and writes the same predictor.
    before = (tmp_path / "run/predictor/predictor.json").read_bytes()
    assert autolabel("train", *given) == 0
    assert (tmp_path / "run/predictor/predictor.json").read_bytes() == before


@pytest.mark.slow
def test_what_does_not_fit_into_memory_is_streamed(photographs, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(manifest, "MOST_BYTES", 300 * 32**2 * 3 - 1)
    command.make_config(str(photographs), {"image_size": "16"})
    assert "--config.stream=False" in capfd.readouterr().err  # a quarter of the pixels
    given = [f"--data={photographs}", f"--out={tmp_path / 'streamed'}", *SHORT]
    assert autolabel("train", *given) == 0
    err = capfd.readouterr().err
    assert "--config.stream=True" in err and "read from disk as needed: " in err
    config = files.read_json(tmp_path / "streamed/config.json")
    assert (config["stream"], config["dataset"], config["crop_pad"]) == (True, "manifest", 0)
    model = autolabel_jax.load_predictor(tmp_path / "streamed/predictor")
    assert model.class_names == tuple(f"digit {k}" for k in range(10))


def test_the_epochs_follow_a_number_of_steps():
    facts = Facts("manifest", 1000, "image", 32, False)
    for batch in ("16", "50"):
        chosen = choose(facts, {"batch_size": batch}, steps=400)
        assert chosen["epochs"][0] == round(400 / (800 / int(batch)))
    own = Facts("manifest", 1000, "image", 32, False, held_out=600)
    chosen = choose(own, {"batch_size": "40"}, steps=400)
    assert chosen["epochs"][0] == 40 and "calibration.fraction" not in chosen


def test_the_epochs_follow_a_time(monkeypatch):
    config = defaults.base()
    config.batch_size = 10
    timed = []
    monkeypatch.setattr(budget, "_timed", lambda c, _: timed.append(c) or [9.0, 2.0, 2.5])
    # A quarter of the examples is timed: 8 seconds an epoch, and 7 to compile.
    assert budget.epochs(config, 2000, minutes=10) == ((600 - 7) // 8, 8.0)
    assert (timed[0].train_examples, timed[0].epochs, config.epochs) == (500, 4, 200)
    assert budget.epochs(config, 2000, minutes=0.01) == (1, 8.0)
    assert budget.epochs(config, 100, minutes=1) == (26, 2.0)


@pytest.mark.slow
def test_a_run_of_minutes_is_resumed_with_its_epochs(tmp_path, capfd):
    rows = [{"input": [float(i % 3), i / 90], "label": i % 3} for i in range(90)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "m.parquet")
    given = [f"--data={tmp_path / 'm.parquet'}", f"--out={tmp_path / 'run'}", "--minutes=0.004"]
    assert autolabel("train", *given) == 0
    err = capfd.readouterr().err
    epochs = files.read_json(tmp_path / "run/config.json")["epochs"]
    assert f"--config.epochs={epochs} " in err and "0.004 minutes, " in err
    assert err.count("--config.epochs=") == 1
    assert f"--config.checkpoint.every_epochs={max(1, epochs // 10)} " in err
    assert autolabel("train", *given) == 0
    err = capfd.readouterr().err
    assert f"--config.epochs={epochs} " in err and "those of the run in" in err


def test_a_manifest_of_moved_examples_uses_its_distances(tmp_path, capfd):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 240)
    inputs = np.eye(3)[label] + 0.3 * rng.normal(size=(240, 3))
    rows = [
        {"input": x.tolist(), "label": "abc"[k], "distance": float(d), "source": f"{i // 2}"}
        for i, (x, k, d) in enumerate(zip(inputs, label, rng.random(240), strict=True))
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "m.parquet")
    given = f"--data={tmp_path / 'm.parquet'}", f"--out={tmp_path / 'run'}"
    assert autolabel("train", *given, "--config.epochs=5") == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["augment"]["name"], config["model"]["name"]) == ("given", "mlp")
    line = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert len(line["label_confidence"]) == 3 and sum(line["bucket_count"]) > 0
    capfd.readouterr()
    model = f"--model={tmp_path / 'run/predictor'}"
    assert autolabel("evaluate", model, f"--data={tmp_path / 'm.parquet'}") == 0
    assert capfd.readouterr().out.startswith("240 examples, 3 classes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=none/"], "--data: none/ does not exist"),
        (["--data=digits", "--config.epochs=many"], "--config.epochs: got 'many', expected int"),
        (["--data=digits", "--config.epochs=1.5"], "--config.epochs: got '1.5', expected int"),
        (["--data=digits", "--config.flip=perhaps"], "--config.flip: got 'perhaps', expected bool"),
        (["--data=digits", "--minutes=0"], "--minutes: got 0.0, must be above 0"),
        (["--data=digits", "--steps=5", "--minutes=1"], "give one of --steps, --minutes and"),
        (["--data=digits", "--steps=5", "--config.epochs=2"], "--steps: give one of --steps, "),
        (["--data=digits", "--config.labels.rule=best"], "labels.rule: got 'best'"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path, capfd, arguments, message):
    assert autolabel("train", f"--out={tmp_path / 'run'}", *arguments) == 1
    errors = [x for x in capfd.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num", [10, 100, 5000, 50_000, 1_000_000])
@pytest.mark.parametrize("side", [8, 32, 200])
def test_choices_stay_in_their_ranges(num, side):
    chosen = {
        k: v for k, (v, _) in choose(Facts("manifest", num, "image", side, False), {}).items()
    }
    assert 8 <= chosen["batch_size"] <= 128 and 10 <= chosen["epochs"] <= 200
    assert chosen["image_size"] == (32 if side <= settings.SMALL else 64)
    steps = chosen["epochs"] * num * (1 - chosen["calibration.fraction"]) / chosen["batch_size"]
    if 10 < chosen["epochs"] < 200:
        assert 0.8 * settings.STEPS < steps < 1.2 * settings.STEPS
    assert chosen["flip"] is True and chosen["augment.name"] == "augmix"
