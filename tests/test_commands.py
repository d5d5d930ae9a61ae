"""The command ``autolabel`` in this process: what it writes, what it says, what it refuses."""

import csv
import importlib.util
import io
import json
import pathlib
import shutil
import sys
import warnings

import helpers
import numpy as np
import photograph_folders
import predictor_folders
import pytest
from PIL import Image
from pyarrow import parquet

import autolabel_jax
from autolabel_jax import datasets, files
from autolabel_jax.commands import inputs, main, output
from autolabel_jax.run_dir import RunDir


@pytest.fixture(scope="module")
def predictor():
    return autolabel_jax.load_predictor(predictor_folders.digits()[1])


@pytest.fixture(scope="module")
def test_split():
    return datasets.load(RunDir(predictor_folders.digits()[0]).load_config()).test


@pytest.fixture(scope="module")
def pictures(test_split, tmp_path_factory):
    """Folder of ten digits as PNG files, in folders by class."""
    root = tmp_path_factory.mktemp("digits")
    for i in range(10):
        folder = root / str(test_split.label[i])
        folder.mkdir(exist_ok=True)
        Image.fromarray(test_split.input[i]).save(folder / f"{i}.png")
    return root


@pytest.fixture
def autolabel(capsys):
    """Runs a command: (exit code, standard output, standard error)."""

    def run(*arguments):
        code = main.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def paths_and_rows(root):
    """Paths of the ten pictures in sorted order, and the row of the test split of each."""
    paths = sorted(map(str, root.rglob("*.png")))
    return paths, [int(path.split("/")[-1].removesuffix(".png")) for path in paths]


# --- predict -------------------------------------------------------------------------------------


def test_predict_prints_a_row_for_each_image(autolabel, predictor, pictures, test_split):
    code, out, err = autolabel("predict", f"--model={predictor.folder}", f"--data={pictures}")
    assert (code, err) == (0, "")
    header, *rows = csv.reader(io.StringIO(out))
    assert header == ["path", "class", "probability"] + [
        f"{name}_{k}" for k in (2, 3) for name in ("class", "probability")
    ]
    paths, places = paths_and_rows(pictures)
    assert [row[0] for row in rows] == paths
    probabilities = predictor(test_split.input[places])
    for row, expected in zip(rows, probabilities):
        order = np.argsort(-expected)[:3]
        assert row[1::2] == [predictor.class_names[k] for k in order]
        np.testing.assert_allclose(np.array(row[2::2], float), expected[order], atol=1e-5)


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_predict_writes_the_format_of_the_ending(ending, autolabel, predictor, pictures, tmp_path):
    out = tmp_path / "new" / f"a.{ending}"
    given = ("predict", f"--model={predictor.folder}", f"--data={pictures}", "--top_k=2")
    assert autolabel(*given, f"--out={out}") == (0, "", f"wrote 10 rows to {out}\n")
    _, printed, _ = autolabel(*given)
    expected = list(csv.DictReader(io.StringIO(printed)))
    if ending == "csv":
        assert out.read_text() == printed
    elif ending == "parquet":
        table = parquet.read_table(out)
        assert table.column_names == list(expected[0])
        assert table["path"].to_pylist() == [row["path"] for row in expected]
        assert table["class_2"].to_pylist() == [row["class_2"] for row in expected]
        found, wanted = table["probability_2"], [float(row["probability_2"]) for row in expected]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    else:
        for found, row in zip(json.loads(out.read_text()), expected, strict=True):
            first, second = found["top"]
            assert (found["path"], found["class"]) == (row["path"], row["class"])
            assert first == {"class": found["class"], "probability": found["probability"]}
            assert second["class"] == row["class_2"]
            assert second["probability"] == pytest.approx(float(row["probability_2"]), abs=1e-6)


def test_more_classes_than_there_are_is_all_of_them(autolabel, predictor, pictures):
    given = ("predict", f"--model={predictor.folder}", f"--data={pictures}", "--top_k=99")
    _, out, _ = autolabel(*given, "--format=json")
    for row in json.loads(out):
        assert len(row["top"]) == 10
        assert sum(each["probability"] for each in row["top"]) == pytest.approx(1, abs=1e-5)


def test_patterns_files_and_arrays_are_read_in_order(
    autolabel, predictor, pictures, test_split, tmp_path
):
    paths, _ = paths_and_rows(pictures)
    np.savez(tmp_path / "a.npz", input=test_split.input[:70], label=test_split.label[:70])
    np.save(tmp_path / "b.npy", test_split.input[70:72])
    given = [f"{pictures}/*/*.png", tmp_path / "a.npz", tmp_path / "b.npy", paths[0]]
    code, out, _ = autolabel("predict", "--model", predictor.folder, "--data", *given)
    rows = list(csv.DictReader(io.StringIO(out)))
    names = [f"{tmp_path}/a.npz:{i}" for i in range(70)] + [f"{tmp_path}/b.npy:{i}" for i in (0, 1)]
    assert [
        row["path"] for row in rows
    ] == paths + names  # the path that is named twice is there once
    found = [float(row["probability"]) for row in rows[10:]]
    np.testing.assert_allclose(found, predictor(test_split.input[:72]).max(-1), atol=1e-5)


def test_an_image_that_cannot_be_read_is_named_and_has_no_row(
    autolabel, predictor, pictures, tmp_path
):
    copy = shutil.copytree(pictures, tmp_path / "copy")
    paths, _ = paths_and_rows(copy)
    damaged = pathlib.Path(paths[3])
    damaged.write_bytes(damaged.read_bytes()[:-40])
    (copy / "0.jpg").write_text("no image")
    (copy / ".hidden.jpg").write_text("not asked for")
    (copy / "notes.txt").write_text("no image either")
    code, out, err = autolabel("predict", f"--model={predictor.folder}", f"--data={copy}")
    assert code == 1
    first, second, last = err.splitlines()
    assert first == f"{copy}/0.jpg: not read: no image format that Pillow knows"
    assert second.startswith(f"{paths[3]}: not read: ")
    assert last == "2 of 11 files could not be read; they have no rows"
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in rows] == [path for path in paths if path != paths[3]]


def test_nothing_is_written_if_nothing_can_be_read(autolabel, predictor, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    out = tmp_path / "a.csv"
    given = ("predict", f"--model={predictor.folder}", f"--data={tmp_path}", f"--out={out}")
    code, _, err = autolabel(*given)
    assert code == 1 and not out.exists()
    assert err.splitlines()[-1] == (
        "error: --data: none of 1 files could be read; nothing is written"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=nowhere"], "--data: nowhere: no such file"),
        (["--data=*.nothing"], "--data: *.nothing: no such file"),
        (["--data=EMPTY"], "--data: EMPTY: folder holds no images or arrays"),
        (["--data=wrong.npy"], "wrong.npy: inputs: got float64 [2, 5], expected uint8 [n, 32, 32"),
        (["--data=keys.npz"], "keys.npz: holds a, b; expected one of: input, image"),
        (["--data=text.npz"], "text.npz: cannot be read as arrays (.npz)"),
        (["--data=text.npy"], "text.npy: cannot be read as an array"),
        (["--data=wrong.npy", "--top_k=0"], "--top_k: got 0, must be at least 1"),
        (["--data=wrong.npy", "--format=parquet"], "--format=parquet: cannot be printed; give"),
    ],
)
def test_predict_says_in_one_line_what_is_wrong(
    arguments, message, autolabel, predictor, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    np.save("wrong.npy", np.zeros((2, 5)))
    np.savez("keys.npz", a=1, b=2)
    for name in ("text.npz", "text.npy"):
        (tmp_path / name).write_text("text")
    code, out, err = autolabel("predict", f"--model={predictor.folder}", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


# --- evaluate ------------------------------------------------------------------------------------


def test_evaluate_has_the_metrics_of_the_run(autolabel, predictor, test_split, tmp_path):
    np.savez(tmp_path / "test.npz", image=test_split.input, label=test_split.label)
    given = ("evaluate", f"--model={predictor.folder}", f"--data={tmp_path / 'test.npz'}")
    code, out, err = autolabel(*given, f"--out={tmp_path / 'out'}")
    assert (code, err) == (0, f"wrote {tmp_path / 'out'}\n")
    found = files.read_json(tmp_path / "out" / "metrics.json")
    result = files.read_json(predictor_folders.digits()[0] / "result.json")
    assert found["examples"] == 100 and found["unreadable"] == {}
    for name in ("accuracy", "ece", "ece_equal_mass", "ece_class_wise", "nll", "brier", "auroc"):
        for end, part in (("", "before_calibration"), ("_ts", "after_calibration")):
            assert found[part][name] == pytest.approx(result[f"{name}{end}"], abs=1e-5), name
    low, high = result["nll_ts_interval"]
    assert found["after_calibration"]["nll_interval"] == pytest.approx([low, high], abs=1e-5)
    lines = out.splitlines()
    assert lines[0] == "100 examples, 10 classes"
    (line,) = (line for line in lines if line.startswith("nll"))
    assert line.split()[1] == f"{result['nll']:.4f}"
    assert f"{result['nll_ts']:.4f} [{low:.4f}, {high:.4f}]" in line
    assert Image.open(tmp_path / "out" / "reliability.png").width > 500


def test_evaluate_reads_folders_by_the_names_of_the_classes(
    autolabel, predictor, pictures, test_split, tmp_path
):
    copy = shutil.copytree(pictures, tmp_path / "copy")
    (copy / "7").mkdir(exist_ok=True)
    (copy / "7" / "x.png").write_text("no image")
    code, out, err = autolabel("evaluate", f"--model={predictor.folder}", f"--data={copy}")
    assert code == 1
    right = predictor(test_split.input[:10]).argmax(-1) == test_split.label[:10]
    assert out.startswith("10 examples, 10 classes")
    assert f"accuracy %{'':2}" in out and f" {100 * right.mean():.2f} [" in out
    missing = sorted(set(range(10)) - set(test_split.label[:10].tolist()) - {7})
    names = ", ".join(map(str, missing))
    first, second = err.splitlines()
    assert first == f"{copy}: has no examples of {len(missing)} classes: {names}"
    assert second == f"{copy}/7/x.png: not read, and left out: no image format that Pillow knows"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere", "--data: nowhere: no such file or folder"),
        (
            "classes",
            "--data: classes: expected a folder for each class, with names from: 0, 1, 2, 3",
        ),
        ("EMPTY", "--data: EMPTY: expected a folder for each class, with names from"),
        ("plain.npz", "--data: plain.npz: expected a folder, or a .npz file with integers [n] as "),
        ("many.npz", "--data: many.npz: labels are 3 to 10; the predictor has 10 classes, 0 to 9"),
        ("few.npz", "--data: few.npz: has 1 labels for another number of inputs"),
    ],
)
def test_evaluate_says_in_one_line_what_is_wrong(
    data, message, autolabel, predictor, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    photograph_folders.write(tmp_path, held_name="classes", train=1, held=1)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.savez("plain.npz", input=images, label=np.zeros(2))
    np.savez("many.npz", input=images, label=[3, 10])
    np.savez("few.npz", input=images, label=[3])
    code, out, err = autolabel("evaluate", f"--model={predictor.folder}", f"--data={data}")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


def test_without_matplotlib_there_is_no_diagram(
    autolabel, predictor, pictures, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    given = ("evaluate", f"--model={predictor.folder}", f"--data={pictures}", f"--out={tmp_path}")
    _, _, err = autolabel(*given)
    assert "no reliability.png: it needs matplotlib, pip install 'autolabel-jax[plots]'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


# --- export --------------------------------------------------------------------------------------


def test_export_writes_a_predictor(autolabel, predictor, test_split, tmp_path):
    run, out = predictor_folders.digits()[0], tmp_path / "vector"
    given = ("export", f"--run={run}", f"--out={out}", "--calibrator=vector", "--licence=MIT")
    code, _, err = autolabel(*given, "--format=jax")
    assert code == 0 and err.startswith(f"wrote {out}: 10 classes, calibrator vector, ")
    loaded = autolabel_jax.load_predictor(out)
    assert (loaded.info["licence"], loaded.info["calibrator"]["name"]) == ("MIT", "vector")
    found, other = loaded.outputs(test_split.input), predictor.outputs(test_split.input)
    np.testing.assert_allclose(found.logits, other.logits, rtol=1e-5, atol=1e-5)
    assert np.abs(found.probabilities - other.probabilities).max() > 1e-3


def test_export_says_in_one_line_what_is_wrong(autolabel, tmp_path):
    code, _, err = autolabel("export", f"--run={tmp_path}", f"--out={tmp_path / 'a'}")
    assert code == 1
    assert (
        err == f"error: {tmp_path}: found no config.json there; give the folder of a finished run\n"
    )


# --- the program ---------------------------------------------------------------------------------


def test_help_lists_the_commands_and_their_arguments(capsys):
    for arguments, expected in (
        (["--help"], [*main.COMMANDS, "--version"]),
        (["predict", "--help"], ["--model FOLDER", "--top_k K", "autolabel predict --model=run"]),
        (["evaluate", "--help"], ["--data PATH", "reliability.png"]),
        (["export", "--help"], ["--calibrator NAME", "drift_entropy_trust", "--licence"]),
    ):
        with pytest.raises(SystemExit) as end:
            main.main(arguments)
        out = capsys.readouterr().out
        assert end.value.code == 0 and all(text in out for text in expected)


@pytest.mark.parametrize("arguments", [[], ["predic"], ["predict", "--mode=a"], ["predict"]])
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_warning_is_one_line_without_a_place_in_the_program(autolabel, monkeypatch):
    class Command:
        add_arguments = staticmethod(lambda parser: None)

        @staticmethod
        def run(arguments):
            text = warnings.formatwarning("calibration: is small", UserWarning, "a.py", 7, "x = 1")
            print(text, end="", file=sys.stderr)
            return 0

    before = warnings.formatwarning
    monkeypatch.setattr(main, "_module", lambda name: Command)
    assert autolabel("train") == (0, "", "warning: calibration: is small\n")
    assert warnings.formatwarning is before


def test_every_command_is_a_module():
    for name in main.COMMANDS:
        assert importlib.util.find_spec(f"autolabel_jax.commands.{name}")


def test_predict_imports_nothing_that_trains(predictor, pictures):
    code = (
        "import sys; from autolabel_jax.commands import main; "
        f"main.main(['predict', '--model={predictor.folder}', '--data={pictures}']); "
        "print(*sys.modules)"
    )
    done = helpers.process("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    slow = {"flax", "optax", "orbax", "tensorflow_datasets", "tensorflow", "sklearn", "pyarrow"}
    assert "autolabel_jax.commands.predict" in loaded
    assert not (slow | {"matplotlib", "pandas", "grain", "scipy.optimize"}) & loaded


def test_a_path_that_is_no_utf_8_is_escaped(tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    assert output.printable(name) == r"caf\xe9.png"
    assert output.printable("café.png") == "café.png"
    (tmp_path / name).write_text("")
    assert inputs.find([str(tmp_path)]) == [f"{tmp_path}/{name}"]
