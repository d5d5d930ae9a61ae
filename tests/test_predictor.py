"""A written predictor against the run that it is of, and what damages or misuse do to it."""

import ast
import json
import pathlib
import shutil
import socket
import subprocess
import sys

import helpers
import jax
import numpy as np
import photograph_folders
import predictor_folders
import pytest
import safetensors.numpy
from PIL import Image
from scipy.special import softmax

import autolabel_jax
from autolabel_jax import datasets, files, train
from autolabel_jax.calibrators import Calibrator
from autolabel_jax.calibrators.input_temperature import InputTemperature
from autolabel_jax.datasets import photographs
from autolabel_jax.predictor import exporting, loading, program, standalone, writing
from autolabel_jax.run_dir import RunDir

compiled = helpers.compile_methods(
    (InputTemperature, "log_temperature"), (InputTemperature, "_columns")
)
FILES = ("program.jax", "weights.safetensors", "predict.py", "flatbuffers.zip")
MODELS = {
    "mlp": {},
    "small_cnn": {"model__name": "small_cnn"},
    "small_cnn in bfloat16": {"model__name": "small_cnn", "dtype": "bfloat16"},
    "wide_resnet": {"model__name": "wide_resnet", "model__depth": 10, "model__width": 1},
}


@pytest.fixture(scope="module")
def run():
    return predictor_folders.digits()[0]


@pytest.fixture(scope="module")
def predictor():
    return autolabel_jax.load_predictor(predictor_folders.digits()[1])


@pytest.fixture(scope="module")
def images(run):
    """uint8 images of the test split, as they are in training."""
    return datasets.load(RunDir(run).load_config()).test.input


@pytest.fixture
def copy(tmp_path):
    """Folder of a predictor that a test may damage."""
    return pathlib.Path(shutil.copytree(predictor_folders.digits()[1], tmp_path / "predictor"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Makes a run with other settings, once: (folder of the run, images of its test split)."""
    made = {}

    def make(**changes):
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            workdir = tmp_path_factory.mktemp("run") / "run"
            config = helpers.small_config(**changes)
            train.train(config, workdir, progress=False)
            made[key] = workdir, datasets.load(config).test.input
        return made[key]

    return make


def of_run(workdir):
    """(logits, temperature) that the run has saved."""
    result = json.loads((workdir / "result.json").read_text())
    return np.load(workdir / "test_logits.npz")["logits"], result["temperature"]


def rewrite(folder, **changes):
    """Changes predictor.json as a program would that knows how to write it."""
    info = files.read_json(folder / "predictor.json")
    files.write_json(folder / "predictor.json", info | changes, checksum=True)


# --- what it computes ----------------------------------------------------------------------------


def test_probabilities_are_those_of_the_run(run, predictor, images):
    logits, temperature = of_run(run)
    assert 0.1 < temperature < 10  # so that it has an effect
    found = predictor.outputs(images)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5, atol=1e-5)
    expected = softmax(logits.astype(float) / temperature, axis=-1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(found.calibrated_logits, logits / temperature, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=-1).max() > 0.5
    assert found.probabilities.dtype == np.float32


# The small CNN is exported with a calibrator in the short lane too, below.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("small_cnn", "wide_resnet")]


@pytest.mark.parametrize("name", ["mlp", "small_cnn in bfloat16", *SLOW])
def test_any_model_has_the_logits_and_probabilities_of_its_run(name, others, tmp_path):
    workdir, inputs = others(**MODELS[name])
    exporting.export_run(workdir, tmp_path / "predictor")
    found = loading.load(tmp_path / "predictor").outputs(inputs)
    logits, temperature = of_run(workdir)
    # A value of bfloat16 that is rounded the other way moves a logit by 2⁻⁸ of it.
    tolerance = 1e-2 if "bfloat16" in name else 1e-5
    np.testing.assert_allclose(found.logits, logits, rtol=tolerance, atol=tolerance)
    expected = softmax(found.logits.astype(float) / temperature, axis=-1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 64, 65])
def test_a_row_does_not_depend_on_its_batch(size, run, predictor, images):
    many = np.concatenate([images, images])
    logits, temperature = of_run(run)
    expected = softmax(np.concatenate([logits, logits])[:size] / temperature, axis=-1)
    found = predictor(many[:size])
    assert found.shape == (size, 10)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_inputs_have_no_probabilities(predictor, images):
    assert predictor(images[:0]).shape == (0, 10)


def test_floats_of_a_table_are_taken_as_they_are(tmp_path):
    data_dir = helpers.write_arrays(tmp_path / "data")
    config = helpers.small_config(dataset="arrays", data_dir=data_dir, train_examples=0)
    train.train(config, tmp_path / "run", progress=False)
    exporting.export_run(tmp_path / "run", tmp_path / "predictor", calibrator="vector")
    found = autolabel_jax.load_predictor(tmp_path / "predictor")
    inputs = np.load(tmp_path / "data" / "test.npz")["image"]
    assert found.info["input"]["kind"] == "features"
    assert found.info["input"]["low"] < 0 < found.info["input"]["high"]
    assert found.class_names == ("0", "1", "2")
    by = found.info["calibrator"]["parameters"]
    logits, _ = of_run(tmp_path / "run")
    expected = softmax(logits * by["scale"] + by["bias"], axis=-1)
    np.testing.assert_allclose(found(inputs.astype(float)), expected, atol=1e-6)
    held_out = datasets.load(config).calibration
    own = Calibrator("vector").fit(found.outputs(held_out.input).logits, held_out.label)
    np.testing.assert_allclose(own.transform(logits), logits * by["scale"] + by["bias"], rtol=1e-2)
    inputs[3, 0] = np.nan
    with pytest.raises(ValueError, match="^inputs: input 3 holds a number that is not finite"):
        found(inputs)


@pytest.mark.parametrize(
    ("calibrator", "has_features", "has_reference"),
    [
        pytest.param("pooled_temperature", False, False, marks=pytest.mark.slow),
        pytest.param("drift", True, False, marks=pytest.mark.slow),
        ("drift_entropy_trust_recentred", True, True),
    ],
)
def test_calibrators_bring_the_features_that_they_read(
    calibrator, has_features, has_reference, others, tmp_path
):
    """Export compares the probabilities with those that the run's own evaluation has."""
    workdir, inputs = others(**MODELS["small_cnn"])
    info = exporting.export_run(workdir, tmp_path / "predictor", calibrator=calibrator)
    weights = safetensors.numpy.load_file(tmp_path / "predictor" / "weights.safetensors")
    assert any(name.startswith("reference/") for name in weights) == has_reference
    text = (tmp_path / "predictor" / "predictor.json").read_text()
    assert info["calibrator"]["name"] == calibrator
    assert ('"mean": [' in text.split('"calibrator"')[1].split('"run"')[0]) == has_features
    found = loading.load(tmp_path / "predictor").outputs(inputs)
    label = np.load(workdir / "test_logits.npz")["label"]
    nll = -np.log(found.probabilities[np.arange(len(label)), label]).mean(dtype=float)
    assert info["metrics"]["after_calibration"]["nll"] == pytest.approx(nll, rel=1e-4)


# --- what it says of itself ----------------------------------------------------------------------


def test_says_what_it_is(run, predictor):
    result, dataset = (files.read_json(run / f"{n}.json") for n in ("result", "dataset"))
    info = predictor.info
    assert predictor.class_names == tuple(dataset["class_names"]) == tuple("0123456789")
    spec = {k: info["input"][k] for k in ("kind", "shape", "dtype", "low", "high")}
    assert spec == {k: dataset["input"][k] for k in spec}
    assert info["calibrator"]["name"] == "temperature"
    (value,) = info["calibrator"]["parameters"].values()
    assert value == pytest.approx(result["temperature"], rel=1e-6)
    assert info["metrics"]["test_examples"] == 100
    assert info["metrics"]["before_calibration"]["nll"] == result["nll"]
    assert info["metrics"]["after_calibration"]["nll"] == result["nll_ts"]
    assert (info["licence"], info["run"]["name"]) == ("CC-BY-4.0", "small")
    assert info["oldest_jax"] == info["versions"]["jax"] == jax.__version__
    assert info["preprocessing"]["mean"] == dataset["mean"]
    assert set(info["files"]) == set(FILES)
    assert {p.name for p in predictor.folder.iterdir()} == {*FILES, "predictor.json"}


def test_class_names_are_those_that_the_run_has_saved(run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("predictor"))
    saved = files.read_json(workdir / "dataset.json")
    names = [f"digit {i}" for i in range(10)]
    files.write_json(workdir / "dataset.json", saved | {"class_names": names})
    with pytest.raises(ValueError, match="class names: class 0 is 'digit 0' then"):
        exporting.export_run(workdir, tmp_path / "predictor")  # the data have other names now
    assert not (tmp_path / "predictor").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"got uint8 \[32, 32, 3\], .*\[n, 32, 32, 3\] .*for one input, give in"),
        (
            lambda x: x[:, :16],
            r"got uint8 \[100, 16, 32, 3\], expected uint8 \[n, 32, 32, 3\] from",
        ),
        (lambda x: x / 255, r"got float64 .*, expected uint8 .* from 0 to 255"),
        (lambda x: x.astype(np.int32), r"got int32"),
    ],
)
def test_inputs_of_another_kind_are_refused(change, message, predictor, images):
    with pytest.raises(ValueError, match=f"^inputs: {message}"):
        predictor(change(images))


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_named(name, copy):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(files.DamagedError, match=f"{name}: was changed"):
        loading.load(copy)
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: is missing; copy the whole folder"):
        loading.load(copy)


def test_a_changed_description_is_named(copy):
    path = copy / "predictor.json"
    path.write_text(path.read_text().replace('"9"', '"six"'))
    with pytest.raises(files.DamagedError, match=r"predictor.json: was changed"):
        loading.load(copy)


def test_what_is_newer_is_named(copy):
    rewrite(copy, oldest_jax="99.1.0")
    with pytest.raises(ValueError, match=r"program.jax: needs jax 99.1.0 or newer, this is "):
        loading.load(copy)
    rewrite(copy, format=99)
    with pytest.raises(ValueError, match=r"predictor.json: has format 99, expected 1; use"):
        loading.load(copy)


def test_a_program_that_this_jax_no_longer_reads_is_named(copy, monkeypatch):
    def fail(_):
        raise ValueError("version 1 is\nnot supported")

    monkeypatch.setattr(jax.export, "deserialize", fail)
    with pytest.raises(ValueError, match=r"program.jax: jax .* cannot read .*1 is not supported"):
        loading.load(copy)


def test_another_folder_is_no_predictor(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="found no predictor.json there; give a folder"):
        loading.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="it is a run: export it with `autolabel export"):
        loading.load(run)


# --- export --------------------------------------------------------------------------------------


def test_a_predictor_that_differs_from_the_run_is_not_kept(run, copy, monkeypatch):
    stored = program._stored
    monkeypatch.setattr(program, "_stored", lambda name, leaf: np.asarray(1.1 * stored(name, leaf)))
    before = (copy / "weights.safetensors").read_bytes()
    for folder in (copy, copy.parent / "new"):
        with pytest.raises(ValueError, match=r"not exported, as .* on 64 held-out inputs: prob"):
            exporting.export_run(run, folder)
    assert [p.name for p in copy.parent.iterdir()] == ["predictor"]
    assert (copy / "weights.safetensors").read_bytes() == before


def test_a_changed_class_is_found_below_the_tolerance():
    expected = np.array([[0.50002, 0.49998]])
    exporting._compare(pathlib.Path("a"), expected + [[-1e-5, 1e-5]], expected)
    with pytest.raises(ValueError, match="by up to 4e-05, at most 0.0001 is allowed, and 1 clas"):
        exporting._compare(pathlib.Path("a"), expected[:, ::-1], expected)
    with pytest.raises(ValueError, match="by up to nan"):
        exporting._compare(pathlib.Path("a"), expected * np.nan, expected)


def test_a_predictor_is_replaced_whole_and_other_files_are_kept(run, copy):
    (copy / "__pycache__").mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (copy.parent / f".predictor.{socket.gethostname()}.{ended.pid}" / "new").mkdir(parents=True)
    assert exporting.export_run(run, copy)["licence"] is None
    assert not (copy / "__pycache__").exists()
    assert [p.name for p in copy.parent.iterdir()] == ["predictor"]
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds notes.txt, which an export would remove; give"):
        exporting.export_run(run, copy)
    with pytest.raises(ValueError, match=r"notes.txt: is a file; give a folder"):
        exporting.export_run(run, copy / "notes.txt")
    (copy / "notes.txt").unlink()
    (copy / "predictor.json").unlink()
    with pytest.raises(ValueError, match="holds flatbuffers.zip, predict.py, program.jax, w"):
        exporting.export_run(run, copy)


def test_what_cannot_be_exported_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="calibrator: got 'best', expected one of: temperature"):
        exporting.export_run(run, tmp_path / "a", calibrator="best")
    with pytest.raises(FileNotFoundError, match="nowhere: found no config.json there"):
        exporting.export_run(tmp_path / "nowhere", tmp_path / "a")
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "config.json", tmp_path / "begun")
    with pytest.raises(ValueError, match="begun: found no result.json there; finish the run"):
        exporting.export_run(tmp_path / "begun", tmp_path / "a")
    with pytest.raises(ValueError, match="calibrator 'drift' reads mean_drift, variance_drift"):
        exporting.export_run(run, tmp_path / "a", calibrator="drift")  # an MLP has none
    assert not (tmp_path / "a").exists()


def test_equal_runs_write_equal_files(run, predictor, tmp_path):
    exporting.export_run(run, tmp_path / "again", licence="CC-BY-4.0")
    for name in (*FILES, "predictor.json"):
        assert (tmp_path / "again" / name).read_bytes() == (predictor.folder / name).read_bytes()
    assert (
        b".py" not in (tmp_path / "again" / "program.jax").read_bytes()
    )  # no path of this machine


# --- pictures ------------------------------------------------------------------------------------


def test_a_picture_of_the_right_size_stays_as_it_is(predictor, images, tmp_path):
    Image.fromarray(images[3]).save(tmp_path / "3.png")
    np.testing.assert_array_equal(predictor.read_picture(str(tmp_path / "3.png")), images[3])
    np.testing.assert_array_equal(
        standalone.read(tmp_path / "3.png", predictor.info), images[3][None]
    )


def test_photographs_are_cut_as_in_evaluation(tmp_path):
    data_dir = photograph_folders.write(tmp_path / "photos")
    settings = {"dataset": "folder", "data_dir": data_dir, "image_size": 24, "train_examples": 0}
    config = helpers.small_config(**settings, test_examples=0, batch_size=4)
    train.train(config, tmp_path / "run", progress=False)
    exporting.export_run(tmp_path / "run", tmp_path / "predictor")
    found = loading.load(tmp_path / "predictor")
    assert found.class_names == photograph_folders.CLASSES
    test = datasets.load(config).test
    for row in range(3):
        path, _ = test.records.read(int(test.index[row]))
        expected = photographs.evaluation_square(path, 24)
        np.testing.assert_array_equal(found.read_picture(path), expected)
        np.testing.assert_array_equal(standalone.read(path, found.info), expected[None])
    logits, temperature = of_run(tmp_path / "run")
    expected = softmax(logits / temperature, axis=-1)
    np.testing.assert_allclose(found(test.input[:]), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(50, 30), (30, 50), (20, 20), (77, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_readers_cut_the_same_middle(size, channels, tmp_path):
    picture = photograph_folders.picture(np.random.default_rng(0), *size)
    picture.save(tmp_path / "a.png")
    info = {
        "input": {"shape": [20, 28, channels], "kind": "image", "dtype": "uint8"},
        "preprocessing": {"middle": 0.9},
    }
    loaded = loading.LoadedPredictor(tmp_path, info, 1, lambda _: {})
    (expected,) = standalone.read(tmp_path / "a.png", info)
    np.testing.assert_array_equal(loaded.read_picture(str(tmp_path / "a.png")), expected)
    assert expected.shape == (20, 28, channels)


def test_pictures_are_no_input_of_a_table(tmp_path):
    spec = {"shape": [5], "kind": "features", "dtype": "float32", "low": -1.5, "high": 2}
    loaded = loading.LoadedPredictor(tmp_path, {"input": spec}, 1, lambda _: {})
    with pytest.raises(ValueError, match=r"takes float32 \[n, 5\] from -1.5 to 2, which are no im"):
        loaded.read_picture("a.png")


# --- other environments --------------------------------------------------------------------------


def test_runs_with_jax_numpy_and_pillow_alone(predictor, images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    np.save(tmp_path / "all.npy", images[:5])
    given = (tmp_path / "0.png", tmp_path / "all.npy")
    rows = predictor_folders.predict_alone(predictor.folder, *given, packages=tmp_path / "only")
    expected = predictor(np.concatenate([images[:1], images[:5]]))
    assert [row[0] for row in rows] == [str(given[0])] + 5 * [str(given[1])]
    assert [row[1] for row in rows] == [predictor.class_names[k] for k in expected.argmax(-1)]
    np.testing.assert_allclose([row[2] for row in rows], expected.max(-1), atol=1e-4)


@pytest.mark.parametrize("module", writing.READERS.values(), ids=lambda module: module.__name__)
def test_what_is_copied_beside_predict_py_imports_numpy_alone(module):
    tree = ast.parse(pathlib.Path(module.__file__).read_text())
    names = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy"}
    assert "autolabel_jax" not in {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }


def test_what_predict_py_cannot_read_is_named_and_the_rest_is_classified(
    predictor, images, tmp_path, capsys
):
    np.save(tmp_path / "one.npy", images[:1])
    np.save(tmp_path / "floats.npy", images[:1] / 255)
    (tmp_path / "bad.png").write_text("no image")
    given = [tmp_path / name for name in ("floats.npy", "none.png", "bad.png", "one.npy")]
    assert predictor_folders.predict_here(predictor.folder, *given) == 1
    said = capsys.readouterr()
    assert [name for name, _, _ in predictor_folders.rows_of(said.out)] == [str(given[-1])]
    assert [line.split(":")[0] for line in said.err.splitlines()] == [*map(str, given[:-1])]
    assert predictor_folders.predict_here(predictor.folder, "--text", "a film") == 1
    assert capsys.readouterr().err.startswith("a film: the model takes no texts; its inputs are")


def test_loading_imports_nothing_that_trains(predictor):
    code = (
        "import sys, autolabel_jax; assert 'jax' not in sys.modules; "
        f"autolabel_jax.load_predictor({str(predictor.folder)!r}); print(*sys.modules)"
    )
    done = helpers.process("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    slow = {"flax", "optax", "orbax", "tensorflow_datasets", "sklearn", "scipy.optimize", "grain"}
    assert "jax.export" in loaded and not slow & loaded
