"""Sound files of one's own: train, predict, evaluate, corrupt, and bad files by name."""

import csv
import json
import warnings

import numpy as np
import predictor_folders
import pytest
from scipy.io import wavfile

import autolabel_jax
from autolabel_jax import corruptions, defaults, files, trained
from autolabel_jax.commands import main
from autolabel_jax.predictor import exporting
from autolabel_jax.run_dir import RunDir

RATE = 4000


def autolabel(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run has few of each class
        return main.main([str(argument) for argument in arguments])


def sound(path, high, seed):
    rng = np.random.default_rng(seed)
    num = int(rng.integers(500, 900))
    wave = np.sin(2 * np.pi * (900 if high else 300) / RATE * np.arange(num))
    wave = rng.uniform(0.1, 0.8) * wave + rng.normal(0, 0.02, num)
    wavfile.write(path, RATE, np.round(wave * 32767).astype(np.int16))
    return path


def write(folder, num, seed):
    """WAV files with a manifest."""
    folder.mkdir()
    rows = [("path", "label")]
    for i in range(num):
        rows.append((sound(folder / f"{i}.wav", i % 2, seed + i).name, ("low", "high")[i % 2]))
    with open(folder / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    write(folder / "sounds", 60, seed=0), write(folder / "new", 8, seed=1000)
    fields = {
        "data.seconds": 0.2,
        "data.mel_bands": 10,
        "data.peak": True,
        "model.name": "crnn",
        "model.width": 4,
        "epochs": 3,
        "batch_size": 8,
    }
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    data = folder / "sounds/clips.csv"
    assert autolabel("train", f"--data={data}", f"--out={folder / 'run'}", *given) == 0
    return folder


def predict(run, *data):
    out, model = run / "predictions.json", f"--model={run / 'run/predictor'}"
    out.unlink(missing_ok=True)
    code = autolabel("predict", model, "--data", *data, f"--out={out}")
    return code, json.loads(out.read_text()) if out.exists() else None


def test_sounds_become_a_predictor_of_sounds(run):
    config = RunDir(run / "run").read_config()
    assert config["augment"]["name"] == "spec_augment" and config["data"]["kind"] == ""
    model = autolabel_jax.load_predictor(run / "run/predictor")
    assert model.shape == (800,) and model.class_names == ("high", "low") and model.reads_sounds
    code, found = predict(run, run / "new")
    assert code == 0 and [row["path"] for row in found] == [
        str(run / "new" / f"{i}.wav") for i in range(8)
    ]
    # Arrays of any length and of whole numbers are the same clips.
    for row in found:
        _, stored = wavfile.read(row["path"])
        probability = model(stored[None])[0]
        assert row["probability"] == pytest.approx(probability.max(), abs=1e-5)
        floats = model(stored[None, :800].astype(np.float64) / 32768)[0]
        np.testing.assert_allclose(floats, probability, atol=1e-6)
    with pytest.raises(ValueError, match="inputs: input 1 is silent in its first 800 samples"):
        model(np.array([[1], [0]]) * np.ones(900))
    with pytest.raises(ValueError, match="inputs: input 0 holds samples that are not finite"):
        model(np.full((1, 800), np.nan))
    with pytest.raises(ValueError, match=r"got int64 \[1, 800\], expected float32"):
        model(np.ones((1, 800), int))
    with pytest.raises(ValueError, match=r"got float64 \[800\], expected .*give inputs\[None\]"):
        model(np.ones(800))


def test_bad_files_have_no_rows_and_are_named(run, capfd):
    good = run / "new/0.wav"
    wavfile.write(run / "silent.wav", RATE, np.zeros(500, np.int16))
    wavfile.write(run / "fast.wav", 16000, np.ones(500, np.int16))
    wavfile.write(run / "stereo.wav", RATE, np.ones((500, 2), np.int16))
    (run / "empty.wav").write_bytes(b"")
    bad = [run / f"{name}.wav" for name in ("silent", "fast", "stereo", "empty")]
    capfd.readouterr()
    code, found = predict(run, good, *bad)
    err = capfd.readouterr().err
    assert code == 1 and [row["path"] for row in found] == [str(good)] and "Traceback" not in err
    for message in (
        "silent.wav: not read: is silent in its first 500 samples",
        "fast.wav: not read: has 16000 samples per second, expected 4000; resample it, or train ",
        "stereo.wav: not read: has 2 channels, expected one; mix them first",
        "empty.wav: not read: is empty",
    ):
        assert message in err
    (run / "none").mkdir()
    assert predict(run, run / "none")[0] != 0
    assert "folder holds no sound files or arrays" in capfd.readouterr().err


def test_predict_py_reads_sounds_as_the_library_does(run, capsys):
    wavfile.write(run / "rate.wav", 2 * RATE, np.ones(500, np.int16))
    given = [*sorted((run / "new").glob("*.wav"))[:3], run / "rate.wav"]
    model = autolabel_jax.load_predictor(run / "run/predictor")
    assert predictor_folders.predict_here(model.folder, *given) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"{given[-1]}: has 8000 samples per second, expected 4000; resample")
    found = predictor_folders.rows_of(said.out)
    expected = model(np.stack([model.read_sound(str(path)) for path in given[:-1]]))
    assert [row[0] for row in found] == [*map(str, given[:-1])]
    assert [row[1] for row in found] == [model.class_names[k] for k in expected.argmax(-1)]
    np.testing.assert_allclose([row[2] for row in found], expected.max(-1), atol=6e-5)


@pytest.mark.slow
def test_predict_py_classifies_sounds_alone(run, tmp_path):
    model = autolabel_jax.load_predictor(run / "run/predictor")
    path = run / "new/0.wav"
    ((_, label, _),) = predictor_folders.predict_alone(model.folder, path, packages=tmp_path / "a")
    assert label == model.class_names[model(model.read_sound(str(path))[None])[0].argmax()]


def test_sounds_are_evaluated(run):
    model, out = f"--model={run / 'run/predictor'}", run / "evaluation"
    assert autolabel("evaluate", model, f"--data={run / 'new/clips.csv'}", f"--out={out}") == 0
    found = predict(run, run / "new")[1]
    right = [row["class"] == ("low", "high")[i % 2] for i, row in enumerate(found)]
    measured = files.read_json(out / "metrics.json")
    assert measured["after_calibration"]["accuracy"] == pytest.approx(np.mean(right))


def test_a_run_is_evaluated_on_corruptions_of_sound(run):
    config = RunDir(run / "run").load_config(defaults.base())
    result = trained.evaluate(run / "run", config, corrupted=True)
    assert len(result["corrupted_ece_by_severity"]) == 5
    lines = RunDir(run / "run").ledger.done()
    assert {line["name"] for line in lines} == {*corruptions.OTHERS["audio"]}
    with pytest.raises(ValueError, match="--attacks: the data are inputs of kind 'audio'"):
        trained.evaluate(run / "run", config, attack_names=["fgsm"])


def test_the_service_refuses_a_silent_clip_before_its_batch(run):
    uploads = pytest.importorskip(
        "autolabel_jax.serving.uploads", reason="the extra [serve] is not installed"
    )
    model = autolabel_jax.load_predictor(run / "run/predictor")
    wave = [0.5, -0.25] * 400
    np.testing.assert_array_equal(uploads.decode({"input": wave}, model, 0), np.divide(wave, 0.5))
    with pytest.raises(uploads.HTTPException, match="422: inputs: input 0 is silent in its first"):
        uploads.decode({"input": [0.0] * 800}, model, 0)


@pytest.mark.slow
def test_a_calibrator_is_fitted_on_moves_of_sound(run):
    config = RunDir(run / "run").load_config(defaults.base())
    restored = trained.restore(run / "run", config)
    info = exporting.export(restored, run / "calibrated", calibrator="pooled_temperature")
    assert info["calibrator"]["name"] == "pooled_temperature"
    assert info["preprocessing"]["front_end"]["bands"] == info["encoding"]["bands"] == 10
