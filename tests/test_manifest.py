"""A user's own examples: manifests in three formats, folders, splits, copies of one source."""

import csv
import json

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from autolabel_jax import datasets, defaults
from autolabel_jax.datasets import (
    StreamedSplit,
    fingerprint,
    manifest,
    manifest_rows,
    photographs,
    tables,
)

CLASSES = ("ant", "bee")


def config_of(path, **fields):
    config = defaults.base()
    config.dataset, config.data_dir, config.calibration.fraction = "manifest", str(path), 0.25
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture
def pictures(tmp_path):
    """Twenty 6 × 5 PNG files below tmp_path, and their pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    (tmp_path / "img").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"img/{i:02}.png")
    return pixels


def rows_of(n=20, **columns):
    rows = [{"path": f"img/{i:02}.png", "label": CLASSES[i % 2]} for i in range(n)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def write(path, rows):
    if path.suffix in (".csv", ".tsv"):
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


SPLIT = ["train"] * 12 + ["calibration"] * 3 + ["test"] * 5


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_the_formats_hold_the_same(tmp_path, pictures, ending):
    path = write(tmp_path / f"m{ending}", rows_of(split=SPLIT))
    dataset = datasets.load(config_of(path))
    assert dataset.class_names == CLASSES and dataset.num_classes == 2
    for name, rows in {
        "train": range(12),
        "calibration": range(12, 15),
        "test": range(15, 20),
    }.items():
        split = getattr(dataset, name)
        np.testing.assert_array_equal(split.input, pictures[list(rows)])  # PNG keeps every pixel
        np.testing.assert_array_equal(split.label, [i % 2 for i in rows])
        np.testing.assert_array_equal(split.index, list(rows))


def test_without_test_rows_a_fifth_is_drawn_alike_for_all_seeds(tmp_path, pictures, capfd):
    path = write(tmp_path / "m.csv", rows_of())
    first, second = (datasets.load(config_of(path, seed=seed)) for seed in (0, 1))
    assert len(first.test) == 4 and len(first.train) + len(first.calibration) == 16
    np.testing.assert_array_equal(first.test.index, second.test.index)
    assert "no test rows; 4 of 20" in capfd.readouterr().err
    parts = [set(getattr(first, name).index.tolist()) for name in manifest_rows.SPLITS]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 20


def test_copies_of_a_source_never_lie_on_both_sides(tmp_path):
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(60), 5)
    rows = [
        {"input": [float(x)], "label": int(s % 3), "source": f"s{s}", "distance": float(d)}
        for x, s, d in zip(rng.normal(size=300), source, rng.random(300), strict=True)
    ]
    path = write(tmp_path / "m.parquet", [rows[i] for i in rng.permutation(300)])
    for seed in range(5):
        dataset = datasets.load(config_of(path, seed=seed))
        held = [set(getattr(dataset, name).source.tolist()) for name in manifest_rows.SPLITS]
        assert sum(map(len, held)) == len(set.union(*held)) == 60
        assert 0.25 * 240 - 5 < len(dataset.calibration) <= 0.25 * 240
        assert dataset.train.distance.dtype == np.float32


MOVED = {"distance": [0.1, 0.9] * 10, "split": SPLIT}


@pytest.mark.parametrize("values", [["tilt", "blur", "noise"], [10, 2, 3]])
def test_groups_are_numbered_by_sorted_name(tmp_path, pictures, values):
    group = [values[i % 3] for i in range(19)] + [values[0]]
    path = write(tmp_path / "m.parquet", rows_of(group=group, **MOVED))
    dataset = datasets.load(config_of(path))
    assert dataset.group_names == tuple(map(str, sorted(values)))
    for name, rows in {"train": range(12), "calibration": range(12, 15)}.items():
        expected = [sorted(values).index(group[i]) for i in rows]
        np.testing.assert_array_equal(getattr(dataset, name).group, expected)
    assert dataset.test.group is None


def test_groups_of_test_rows_alone_do_not_count(tmp_path, pictures):
    path = write(tmp_path / "m.csv", rows_of(group=["a"] * 15 + ["b"] * 5, **MOVED))
    dataset = datasets.load(config_of(path))
    assert dataset.group_names == ("a",) and not dataset.train.group.any()


def test_a_group_without_held_out_examples_is_named(tmp_path, pictures):
    path = write(tmp_path / "m.csv", rows_of(group=["a"] * 11 + ["b"] + ["a"] * 8, **MOVED))
    with pytest.warns(UserWarning, match="no calibration example of 1 of 2 groups: b; their labe"):
        datasets.load(config_of(path))


def test_groups_without_distances_are_not_read(tmp_path, pictures):
    path = write(tmp_path / "m.csv", rows_of(group=["a"] * 20))
    with pytest.warns(UserWarning, match="'group' is not read without a column 'distance'"):
        assert datasets.load(config_of(path)).group_names == ()


def test_too_many_groups_are_refused(tmp_path):
    rows = [{"input": [1.0], "label": i % 2, "distance": 0.5, "group": i} for i in range(200)]
    with pytest.raises(ValueError, match=r"column 'group' has 160 values, must be at most 100"):
        manifest.read(str(write(tmp_path / "m.jsonl", rows)), image_size=32)


def test_a_folder_with_and_without_splits(tmp_path, pictures):
    for i in range(20):
        for root in ("plain", "train" if i < 15 else "test"):
            top = tmp_path / "plain" if root == "plain" else tmp_path / "cut" / root
            folder = top / CLASSES[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[i]).save(folder / f"{i}.png")
    (tmp_path / "plain/ant/notes.txt").write_text("no image")
    assert len(manifest.read(str(tmp_path / "plain"), image_size=32).train) == 16
    cut = manifest.read(str(tmp_path / "cut"), image_size=32)
    assert (len(cut.train), len(cut.test)) == (15, 5) and cut.class_names == CLASSES


def test_images_of_several_sizes_become_squares(tmp_path, pictures):
    Image.fromarray(pictures[0]).resize((40, 30)).save(tmp_path / "img/00.png")
    path = write(tmp_path / "m.csv", rows_of())
    read = manifest.read(str(path), image_size=8)
    assert read.train.input.shape[1:] == (8, 8, 3)


def test_unreadable_images_are_named_or_left_out(tmp_path, pictures):
    (tmp_path / "img/03.png").write_bytes(b"no image")
    path = write(tmp_path / "m.csv", rows_of(split=["train"] * 15 + ["test"] * 5))
    with pytest.raises(ValueError, match=r"1 of 20 images cannot be decoded: .*03\.png"):
        manifest.read(str(path), image_size=32)
    with pytest.warns(UserWarning, match=r"03\.png .*left out"):
        found = manifest.read(str(path), image_size=32, skip_unreadable=True)
    assert found.train.index.tolist() == [0, 1, 2, *range(4, 15)]
    np.testing.assert_array_equal(found.train.input[3], pictures[4])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": ["train"] * 19 + ["dev"]}, "column 'split' has dev, expected one of: train"),
        ({"distance": [0.5] * 19 + [1.5]}, r"'distance' must be in \[0, 1\]; got 1.5 in row 20"),
        ({"distance": [0.5] * 19 + [None]}, "column 'distance' is empty in row 20"),
        ({"group": [0.5] * 20}, "column 'group' must hold names, or whole numbers; got float"),
        ({"label": ["a"] * 20}, "has one class, 'a'"),
        ({"label": [0.5] * 20}, "column 'label' must hold names, or whole numbers"),
        ({"source": ["x"] * 20, "split": SPLIT}, "copies of source 'x' are in the splits"),
        ({"split": ["test"] * 20}, "has no train example"),
    ],
)
def test_bad_columns_are_named(tmp_path, pictures, columns, message):
    path = write(tmp_path / "m.jsonl", rows_of(**columns))
    with pytest.raises(ValueError, match=message):
        manifest.read(str(path), image_size=32)


def test_bad_files_are_named(tmp_path, pictures):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        manifest.read(str(tmp_path / "none.csv"), image_size=32)
    (tmp_path / "m.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"ends in '.xlsx', expected one of: .csv"):
        manifest.read(str(tmp_path / "m.xlsx"), image_size=32)
    (tmp_path / "m.parquet").write_text("x")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        manifest.read(str(tmp_path / "m.parquet"), image_size=32)
    with pytest.raises(ValueError, match=r"has the columns path; expected label and one of"):
        manifest.read(str(write(tmp_path / "m.csv", [{"path": "a.png"}])), image_size=32)
    ragged = [{"input": [1.0], "label": 0}, {"input": [1.0, 2.0], "label": 1}]
    with pytest.raises(ValueError, match="'input' must hold lists of numbers of one shape"):
        manifest.read(str(write(tmp_path / "m.jsonl", ragged)), image_size=32)


def test_unknown_columns_are_said(tmp_path, pictures):
    path = write(tmp_path / "m.csv", rows_of(weight=range(20)))
    with pytest.warns(UserWarning, match="columns that are not read: weight"):
        manifest.read(str(path), image_size=32)


# --- streamed ------------------------------------------------------------------------------------

STREAMED = {"stream": True, "crop_pad": 0, "image_size": 8}


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_streamed_splits_are_those_in_memory(tmp_path, pictures, name):
    path = write(tmp_path / name, rows_of(split=SPLIT))
    memory, streamed = datasets.load(config_of(path)), datasets.load(config_of(path, **STREAMED))
    assert streamed.class_names == CLASSES and isinstance(streamed.train, StreamedSplit)
    for part in manifest_rows.SPLITS:
        one, other = getattr(memory, part), getattr(streamed, part)
        order = np.argsort(other.index)
        np.testing.assert_array_equal(other.index[order], one.index)
        np.testing.assert_array_equal(other.label[order], one.label)
        expected = [
            photographs.evaluation_square(str(tmp_path / f"img/{row:02}.png"), 8)
            for row in other.index
        ]
        np.testing.assert_array_equal(other.input[:], expected)
    described = fingerprint.describe(streamed)["splits"]
    assert [described[part]["examples"] for part in manifest_rows.SPLITS] == [12, 3, 5]
    again = datasets.load(config_of(path, **STREAMED))
    np.testing.assert_array_equal(again.train.index, streamed.train.index)
    assert streamed.train.index.tolist() != sorted(streamed.train.index)


def test_a_streamed_cut_keeps_sources_together(tmp_path, pictures):
    path = write(tmp_path / "m.csv", rows_of(source=[i // 2 for i in range(20)]))
    dataset = datasets.load(config_of(path, **STREAMED))
    held = [{row // 2 for row in getattr(dataset, n).index.tolist()} for n in manifest_rows.SPLITS]
    assert sum(map(len, held)) == len(set.union(*held)) == 10 and all(held)


def test_a_streamed_folder_needs_no_splits(tmp_path, pictures):
    for i in range(20):
        (tmp_path / "plain" / CLASSES[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(tmp_path / f"plain/{CLASSES[i % 2]}/{i}.png")
    (tmp_path / "plain/ant/bad.png").write_bytes(b"no image")
    config = config_of(tmp_path / "plain", **STREAMED)
    with pytest.raises(ValueError, match=r"1 of 21 images cannot be decoded: .*bad\.png"):
        datasets.load(config)
    config.data.skip_unreadable = True
    with pytest.warns(UserWarning, match=r"bad\.png .*left out"):
        dataset = datasets.load(config)
    assert sum(len(getattr(dataset, part)) for part in manifest_rows.SPLITS) == 20
    assert (tmp_path / "plain/autolabel_jax_cache").is_dir()
    assert manifest.read(config.data_dir, image_size=8, skip_unreadable=True).class_names == CLASSES


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(distance=[0.5] * 20), "stream: got True, but .* has a column 'distance', which"),
        ([{"input": [1.0], "label": 0}] * 9, "stream: got True, but the examples of .* are no fil"),
    ],
)
def test_what_cannot_be_streamed_is_named(tmp_path, pictures, rows, message):
    path = write(tmp_path / "m.jsonl", rows)
    with pytest.raises(ValueError, match=message):
        datasets.load(config_of(path, **STREAMED))
