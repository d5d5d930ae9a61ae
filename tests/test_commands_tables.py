"""A table of one's own: train, predict, evaluate and corrupt it, and bad tables by name."""

import csv
import json
import warnings

import jax
import numpy as np
import predictor_folders
import pyarrow
import pytest
from pyarrow import parquet

import autolabel_jax
from autolabel_jax import corruptions, defaults, files, input_pipeline, trained
from autolabel_jax.commands import main
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.evaluation import run as evaluation_run
from autolabel_jax.predictor import exporting
from autolabel_jax.run_dir import RunDir
from experiments import calibrating

NAMES = ("height", "colour", "weight", "label")


def autolabel(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run has few of each class
        return main.main([str(argument) for argument in arguments])


def write(path, rows, names=NAMES):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def flowers(num, seed=0):
    """Rows of two classes that differ in height and colour; some have no weight."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(num):
        name = ("lily", "rose")[i % 2]
        colour = ("white", "red")[(i + (rng.random() < 0.2)) % 2]
        weight = "" if rng.random() < 0.2 else f"{rng.normal(3, 1):.3f}"
        rows.append([f"{(i % 2) * 2 + rng.normal(20, 1):.3f}", colour, weight, name])
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    data = write(folder / "flowers.csv", flowers(80))
    fields = {
        "data.missing": "mask",
        "augment.name": "gaussian_noise",
        "epochs": 3,
        "model.width": 8,
        "batch_size": 16,
        "optimizer.learning_rate": 0.05,
    }
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    assert autolabel("train", f"--data={data}", f"--out={folder / 'run'}", *given) == 0
    return folder


def predict(run, data):
    out = run / "predictions.json"
    code = autolabel(
        "predict", f"--model={run / 'run/predictor'}", f"--data={data}", f"--out={out}"
    )
    return json.loads(out.read_text()) if code == 0 else code


def test_a_table_becomes_a_predictor_of_tables(run, capsys):
    model = autolabel_jax.load_predictor(run / "run/predictor")
    assert [column["name"] for column in model.encoding["columns"]] == list(NAMES[:3])
    assert model.shape == (5,) and model.class_names == ("lily", "rose")  # 1, 2, and 1 with a mask
    # The columns are found by name, and the label is not needed.
    rows = flowers(10, seed=1)
    found = predict(run, write(run / "new.csv", [r[2::-1] for r in rows], NAMES[2::-1]))
    assert [row["path"] for row in found] == [f"{run / 'new.csv'}:{i}" for i in range(10)]
    # By hand: the encoded rows give the same probabilities.
    fill = model.encoding["columns"][2]["fill"]
    encoded = [
        [float(h), c == "red", c == "white", float(w or fill), w == ""] for h, c, w, _ in rows
    ]
    expected = model(np.array(encoded, np.float32))
    np.testing.assert_allclose([row["probability"] for row in found], expected.max(1), rtol=1e-5)
    assert [row["class"] for row in found] == [model.class_names[k] for k in expected.argmax(1)]
    capsys.readouterr()
    assert predictor_folders.predict_here(model.folder, run / "new.csv") == 0
    found = predictor_folders.rows_of(capsys.readouterr().out)
    assert [row[1] for row in found] == [model.class_names[k] for k in expected.argmax(1)]
    np.testing.assert_allclose([row[2] for row in found], expected.max(1), atol=6e-5)
    table = {name: list(values) for name, values in zip(NAMES, zip(*rows))}
    table["height"] = [float(x) for x in table["height"]]
    table["weight"] = [float(x) if x else None for x in table["weight"]]
    parquet.write_table(pyarrow.table(table), run / "new.parquet")
    again = predict(run, run / "new.parquet")
    np.testing.assert_allclose([row["probability"] for row in again], expected.max(1), rtol=1e-5)


def test_fill_and_moments_are_those_of_the_training_rows(run):
    config = RunDir(run / "run").load_config(defaults.base())
    restored = trained.restore(run / "run", config).dataset
    model = autolabel_jax.load_predictor(run / "run/predictor")
    index = np.concatenate([restored.train.index, restored.calibration.index])
    weights = [float(row[2]) for i, row in enumerate(flowers(80)) if row[2] and i in index]
    assert model.encoding["columns"][2]["fill"] == pytest.approx(np.mean(weights))
    inputs = np.concatenate([restored.train.input, restored.calibration.input])
    np.testing.assert_allclose(model.info["preprocessing"]["mean"], inputs.mean(0), rtol=1e-4)
    np.testing.assert_allclose(model.info["preprocessing"]["std"], inputs.std(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("row", "names", "message"),
    [
        (["20", "red"], NAMES[:2], "bad.csv: lacks the columns weight; it has height, colour"),
        (["20", "pink", "3"], NAMES[:3], "'colour' has the new category 'pink' in row 1; known "),
        (["tall", "red", "3"], NAMES[:3], "'height' must hold finite numbers; got 'tall' in row 1"),
        (["", "red", "3"], NAMES[:3], "column 'height' has no value in row 1; in training it had"),
        (["inf", "red", "3"], NAMES[:3], "'height' must hold finite numbers; got inf in row 1"),
    ],
)
def test_what_cannot_be_predicted_is_named(run, capfd, row, names, message):
    capfd.readouterr()
    assert predict(run, write(run / "bad.csv", [row], names)) != 0
    err = capfd.readouterr().err
    assert message in err and "Traceback" not in err


def test_a_table_is_evaluated(run, capfd):
    data = write(run / "test.csv", flowers(40, seed=2))
    model, out = f"--model={run / 'run/predictor'}", run / "evaluation"
    assert autolabel("evaluate", model, f"--data={data}", f"--out={out}") == 0
    label = [row[3] for row in flowers(40, seed=2)]
    right = [row["class"] == name for row, name in zip(predict(run, data), label)]
    measured = files.read_json(out / "metrics.json")
    assert measured["after_calibration"]["accuracy"] == pytest.approx(np.mean(right))


def test_a_run_is_evaluated_on_corruptions_of_its_kind(run):
    config = RunDir(run / "run").load_config(defaults.base())
    result = trained.evaluate(run / "run", config, corrupted=True)
    assert len(result["corrupted_ece_by_severity"]) == 5
    lines = RunDir(run / "run").ledger.done()
    assert {line["name"] for line in lines} == {*corruptions.OTHERS["features"]}
    assert len(lines) == 5 * len(corruptions.OTHERS["features"])
    for asked, flag in (
        ({"extra_corrupted": True}, "--extra_corruptions"),
        ({"attack_names": ["fgsm"]}, "--attacks"),
    ):
        with pytest.raises(ValueError, match=f"{flag}: the data are inputs of kind 'features'"):
            trained.evaluate(run / "run", config, **asked)


def test_a_calibrator_is_fitted_on_moves_of_the_kind(run):
    config = RunDir(run / "run").load_config(defaults.base())
    restored = trained.restore(run / "run", config)
    info = exporting.export(restored, run / "calibrated", calibrator="pooled_temperature")
    assert info["calibrator"]["name"] == "pooled_temperature" and info["encoding"]["columns"]


def test_calibrators_are_compared_on_corruptions_of_the_kind(run):
    config = RunDir(run / "run").load_config(defaults.base())
    rows = {
        row["calibrator"]: row for row in calibrating.evaluate(run / "run", config, corrupted=True)
    }
    assert {"none", "temperature", "pooled_temperature"} <= {*rows}
    assert "unrelated_ece" not in rows["none"]  # of images
    # Without a calibrator, the figures are those of the run's own evaluation.
    result = trained.evaluate(run / "run", config, corrupted=True)
    for name in ("accuracy", "ece", "nll"):
        found = rows["none"][f"corrupted_{name}"]
        assert found == pytest.approx(result[f"corrupted_{name}"], abs=2e-5)


def test_units_of_other_kinds():
    units = evaluation_run.plan(corrupted=True, attack_names=[], num_examples=1, kind="series")
    assert [unit.name for unit in units[::5]] == [*corruptions.OTHERS["series"]]
    with pytest.raises(ValueError, match="--corruptions: inputs of kind 'smell' have none; those"):
        corruptions.names("smell")


# Corruptions against NumPy.


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    values = rng.normal([5, -2], [1, 3], (50, 40, 2)).astype(np.float32)
    split = Split(values, np.arange(50, dtype=np.int32) % 2, None, np.arange(50))
    mean, std = values.mean((0, 1)), values.std((0, 1))
    return Dataset("s", split, split, split, 2, None, mean, std, kind="series")


def corrupted(dataset, name, severity):
    transform = corruptions.create_for(dataset, name, severity)
    whole = input_pipeline.put_split(dataset.test, input_pipeline.make_mesh())
    out = np.asarray(transform(whole.index, whole.input))
    # An input does not depend on its batch.
    part = transform(whole.index[7:9], whole.input[7:9])
    np.testing.assert_allclose(part, out[7:9], rtol=1e-6)
    return out


def test_noise_and_offsets_are_in_standard_deviations(series):
    clean = series.test.input
    for severity, size in ((1, 0.25), (4, 1.0)):
        noise = (corrupted(series, "noise", severity) - clean) / series.std
        assert noise.std() == pytest.approx(size, rel=0.05)
        offset = (corrupted(series, "offset", severity) - clean) / series.std
        np.testing.assert_allclose(np.abs(offset), size, rtol=1e-3)
        assert np.ptp(offset, axis=1).max() < 1e-4  # one for each channel of an input
        assert abs(np.sign(offset[:, 0]).mean()) < 0.4


def test_gain_moves_from_the_mean(series):
    factor = (corrupted(series, "gain", 3) - series.mean) / (series.test.input - series.mean)
    assert {*np.round(factor, 2).ravel()} == {0.5, 2.0}


def test_lost_values_and_gaps_are_the_mean(series):
    lost = corrupted(series, "lost_values", 5) == series.mean
    assert lost.mean() == pytest.approx(0.5, abs=0.03)
    gap = (corrupted(series, "gap", 2) == series.mean).all(2)
    np.testing.assert_array_equal(gap.sum(1), np.full(50, 8))  # 0.2 of 40
    runs = np.diff(np.pad(gap, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    np.testing.assert_array_equal(runs.sum(1), np.ones(50))
    assert len({*runs.argmax(1)}) > 10


def test_smoothing_is_a_moving_average(series):
    found, clean = corrupted(series, "smoothing", 2), series.test.input
    for t in (0, 1, 20, 39):
        near = clean[:, max(0, t - 2) : t + 3].mean(1)
        np.testing.assert_allclose(found[:, t], near, rtol=1e-4, atol=1e-5)
    assert jax.numpy.asarray(found).dtype == np.float32
