"""Folders of Hugging Face's ``save_to_disk``, written by pyarrow and by the package itself."""

import functools
import importlib.util
import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import ipc
from sklearn.datasets import load_digits

import autolabel_jax
from autolabel_jax import datasets, defaults, files
from autolabel_jax.commands import main
from autolabel_jax.datasets import hugging_face, manifest, manifest_rows

# Not in order of name: the numbers of the classes are those of the list.
CLASSES = ["wasp", "ant", "bee"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LABEL = {"names": CLASSES, "_type": "ClassLabel"}
IMAGE = {"_type": "Image"}


@functools.cache
def pixels():
    return np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def number(dtype):
    return {"dtype": dtype, "_type": "Value"}


def write(folder, columns, features, parts=2):
    """One split in the layout of ``Dataset.save_to_disk``, in so many Arrow files."""
    folder.mkdir(parents=True)
    table = pyarrow.table(columns)
    names = [f"data-{i:05}-of-{parts:05}.arrow" for i in range(parts)]
    cuts = np.linspace(0, len(table), parts + 1, dtype=int)
    for name, start, end in zip(names, cuts, cuts[1:], strict=False):
        with ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table.slice(start, end - start))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def write_splits(root, rows, columns, features):
    """``DatasetDict.save_to_disk`` of splits with the rows of each."""
    for name, chosen in rows.items():
        taken = {column: [values[i] for i in chosen] for column, values in columns.items()}
        write(root / name, taken, features)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(rows)}))
    return root


def images():
    cells = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(pixels())]
    return {"image": cells, "label": [i % 3 for i in range(30)]}


ROWS = {"train": range(20), "validation": range(20, 24), "test": range(24, 30)}


def assert_is_pictures(dataset, rows):
    assert dataset.class_names == tuple(CLASSES)
    for name, chosen in rows.items():
        split = getattr(dataset, name)
        np.testing.assert_array_equal(split.input, pixels()[list(chosen)])
        np.testing.assert_array_equal(split.label, [i % 3 for i in chosen])


def config_of(root):
    config = defaults.base()
    config.dataset, config.data_dir, config.calibration.fraction = "manifest", str(root), 0.25
    return config


def test_splits_of_images(tmp_path):
    root = write_splits(tmp_path / "d", ROWS, images(), {"image": IMAGE, "label": LABEL})
    names = {"train": "train", "calibration": "validation", "test": "test"}
    dataset = datasets.load(config_of(root))
    assert_is_pictures(dataset, {name: ROWS[own] for name, own in names.items()})


def test_without_a_test_split_validation_is_it(tmp_path):
    rows = {"train": range(20), "validation": range(20, 30)}
    root = write_splits(tmp_path / "d", rows, images(), {"image": IMAGE, "label": LABEL})
    dataset = datasets.load(config_of(root))
    assert_is_pictures(dataset, {"test": range(20, 30)})
    assert len(dataset.calibration) == 5


def test_one_split_is_cut(tmp_path, capfd):
    columns = images() | {"note": ["x"] * 30}
    features = {"image": IMAGE, "label": LABEL, "note": number("string")}
    with pytest.warns(UserWarning, match="columns that are not read: note"):
        found = manifest.read(str(write(tmp_path / "d", columns, features)), image_size=32)
    assert (len(found.train), len(found.test)) == (24, 6)
    for split in (found.train, found.test):
        np.testing.assert_array_equal(split.input, pixels()[split.index])
    assert "no test rows; 6 of 30" in capfd.readouterr().err


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("fixed", [False, True])
def test_arrays_keep_their_shape(tmp_path, dtype, fixed):
    values = pixels()[..., 0].astype(dtype)
    inner = pyarrow.from_numpy_dtype(dtype)
    kind = (
        pyarrow.list_(pyarrow.list_(inner, 5), 6) if fixed else pyarrow.list_(pyarrow.list_(inner))
    )
    columns = {"x": pyarrow.array(values.tolist(), kind), "label": [i % 3 for i in range(30)]}
    features = {"x": {"shape": [6, 5], "_type": "Array2D"}, "label": number("int64")}
    rows = manifest_rows.list_rows(str(write(tmp_path / "d", columns, features)))
    assert rows.input.dtype == dtype and rows.class_names is None
    np.testing.assert_array_equal(rows.input, values)


def test_columns_of_numbers_are_one_input(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"a": rng.random(12), "b": rng.integers(0, 9, 12), "label": ["x", "y"] * 6}
    columns["distance"] = np.linspace(0, 1, 12)
    features = {name: number("float64") for name in columns}
    rows = manifest_rows.list_rows(str(write(tmp_path / "d", columns, features)))
    np.testing.assert_array_equal(rows.input, np.float32([columns["a"], columns["b"]]).T)
    np.testing.assert_allclose(rows.distance, columns["distance"], rtol=1e-6)
    assert rows.label == ["x", "y"] * 6


LISTS = {"x": [[1.0]] * 30, "label": [0, 1] * 15}


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        (LISTS | {"y": [[1.0]] * 30}, {}, "columns x, label, y; expected one of type Image or of"),
        ({"label": [0, 1], "note": ["a", "b"]}, {}, "columns label, note; expected one of type Im"),
        (
            {"x": [[1.0]], "fine": [0], "coarse": [0]},
            {"fine": LABEL, "coarse": LABEL},
            "ClassLabel",
        ),
        ({"x": [{"bytes": None, "path": None}], "label": [0]}, {"x": IMAGE}, "an image is empty"),
        ({"x": [[1.0], [1.0, 2.0]], "label": [0, 1]}, {}, "'x' must hold lists of one shape"),
        ({"x": [["a"], ["b"]], "label": [0, 1]}, {}, "'x' must hold lists of numbers"),
        (LISTS | {"label": [0, None] * 15}, {}, "column 'label' is empty in row 2"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path, columns, features, message):
    kinds = {name: features.get(name, number("float64")) for name in columns}
    with pytest.raises(ValueError, match=message):
        manifest_rows.list_rows(str(write(tmp_path / "d", columns, kinds, parts=1)))


def test_a_damaged_folder_is_named(tmp_path):
    root = write(tmp_path / "d", images(), {"image": IMAGE, "label": LABEL})
    path = next(root.glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"d cannot be read as a data set \("):
        hugging_face.read(root)
    path.unlink()
    with pytest.raises(ValueError, match=r"d cannot be read as a data set \(.*data-0000"):
        hugging_face.read(root)


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    root = write(tmp_path / "d", images(), {"image": IMAGE, "label": LABEL})
    state = json.loads((root / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../other.arrow"
    (root / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"d names '../other.arrow', which is not in it"):
        hugging_face.read(root)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": [".."]}))
    with pytest.raises(ValueError, match=r"d names '..', which is not in it"):
        hugging_face.read(root)


def test_an_image_that_cannot_be_decoded_is_named_by_its_row(tmp_path):
    columns = images()
    columns["image"][4]["bytes"] = b"no image"
    root = write(tmp_path / "d", columns, {"image": IMAGE, "label": LABEL})
    with pytest.raises(ValueError, match=r"1 of 30 images cannot be decoded: row 5 \(no image"):
        manifest.read(str(root), image_size=32)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folder of 300 digits with the names of numbers, of which 100 are the test split."""
    root, data = tmp_path_factory.mktemp("digits"), load_digits()
    pictures = (data.images[:300] * 15).astype(np.uint8)
    columns = {
        "img": [{"bytes": png(image), "path": None} for image in pictures],
        "digit": data.target[:300].tolist(),
    }
    features = {"img": IMAGE, "digit": {"names": NUMBERS, "_type": "ClassLabel"}}
    return write_splits(
        root / "d", {"train": range(200), "test": range(200, 300)}, columns, features
    )


@pytest.mark.slow
def test_names_of_classes_reach_every_command(digits, tmp_path, capsys):
    short = ["--config.epochs=4", "--config.model.width=8", "--config.augment.name=none"]
    run, csv_file = tmp_path / "run", tmp_path / "m.csv"
    assert main.main(["train", f"--data={digits}", f"--out={run}", *short]) == 0
    out, err = capsys.readouterr()
    assert "has no test rows" not in err and "--config.stream" not in err
    assert files.read_json(run / "dataset.json")["class_names"] == NUMBERS
    model = [f"--model={run / 'predictor'}"]
    assert autolabel_jax.load_predictor(run / "predictor").class_names == tuple(NUMBERS)
    assert main.main(["evaluate", *model, f"--data={digits}"]) == 0
    out, err = capsys.readouterr()
    assert "takes its 100 test rows of 300" in err and out.startswith("100 examples, 10 classes")
    result = files.read_json(run / "result.json")
    (accuracy,) = (line for line in out.splitlines() if line.startswith("accuracy"))
    assert float(accuracy.split()[2]) == pytest.approx(100 * result["accuracy"], abs=0.005)
    rows = manifest_rows.list_rows(str(digits))
    lines = ["path,label"]
    for i in range(200, 300):
        (tmp_path / f"{i}.png").write_bytes(rows.paths[i])
        lines.append(f"{i}.png,{NUMBERS[rows.label[i]]}")
    csv_file.write_text("\n".join(lines))
    assert main.main(["evaluate", *model, f"--data={csv_file}"]) == 0
    assert capsys.readouterr().out == out  # the same images as files of a manifest
    assert main.main(["predict", *model, f"--data={tmp_path / '200.png'}"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[1] in NUMBERS
    csv_file.write_text("path,label\n200.png,eleven\n201.png,one")
    assert main.main(["evaluate", *model, f"--data={csv_file}"]) == 1
    assert (
        "has classes that the predictor lacks: eleven; it has zero, one" in capsys.readouterr().err
    )


# Writes folders with the package itself.
WRITER = """
import pathlib, sys
import numpy as np
from datasets import Array3D, ClassLabel, Dataset, DatasetDict, Features, Image, Value
root, pixels = pathlib.Path(sys.argv[1]), np.load(sys.argv[2])
label = ClassLabel(names=sys.argv[3].split(","))
columns = {"image": [], "label": [i % 3 for i in range(len(pixels))]}
import PIL.Image
columns["image"] = [PIL.Image.fromarray(x) for x in pixels]
made = Dataset.from_dict(columns, features=Features({"image": Image(), "label": label}))
made.shuffle(seed=0).save_to_disk(root / "plain", num_shards=3)
parts = {"train": range(20), "validation": range(20, 24), "test": range(24, 30)}
DatasetDict({name: made.select(rows) for name, rows in parts.items()}).save_to_disk(root / "dict")
kinds = Features({"pixels": Array3D((6, 5, 3), "uint8"), "label": label})
rows = {"pixels": pixels, "label": columns["label"]}
Dataset.from_dict(rows, features=kinds).save_to_disk(root / "arrays")
kinds = Features({"a": Value("float64"), "b": Value("int32"), "label": Value("string")})
rows = {"a": [0.5, 1.5], "b": [1, 2], "label": ["x", "y"]}
Dataset.from_dict(rows, features=kinds).save_to_disk(root / "table")
"""


@pytest.mark.slow
def test_what_the_package_writes_is_read(tmp_path):
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("Hugging Face's datasets is not installed")
    np.save(tmp_path / "pixels.npy", pixels())
    arguments = [str(tmp_path), str(tmp_path / "pixels.npy"), ",".join(CLASSES)]
    cache = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", WRITER, *arguments], check=True, env=os.environ | cache)
    found = datasets.load(config_of(tmp_path / "dict"))
    names = {"train": "train", "calibration": "validation", "test": "test"}
    assert_is_pictures(found, {name: ROWS[own] for name, own in names.items()})
    plain = manifest.read(str(tmp_path / "plain"), image_size=32)
    shuffled = [*plain.train.input, *plain.test.input]
    assert sorted(x.tobytes() for x in shuffled) == sorted(x.tobytes() for x in pixels())
    for x, k in zip(plain.train.input, plain.train.label, strict=True):
        (row,) = np.flatnonzero((pixels() == x).all((1, 2, 3)))
        assert k == row % 3
    rows = manifest_rows.list_rows(str(tmp_path / "arrays"))
    assert rows.input.dtype == np.uint8 and rows.class_names == tuple(CLASSES)
    np.testing.assert_array_equal(rows.input, pixels())
    rows = manifest_rows.list_rows(str(tmp_path / "table"))
    np.testing.assert_array_equal(rows.input, [[0.5, 1], [1.5, 2]])
    assert rows.label == ["x", "y"]
