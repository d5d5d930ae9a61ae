"""Tables as inputs: numbers, categories, missing values, and bad tables by name."""

import csv
import warnings

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from sklearn import datasets as sklearn_datasets
from sklearn.preprocessing import OneHotEncoder

from autolabel_jax import datasets, defaults
from autolabel_jax.datasets import fingerprint, tables

NUMBERS = [1.5, -2.0, 0.25, 4.0, 3.0, 8.0]
COLOURS = ["red", "blue", "red", "green", "blue", "red"]
TRAIN = np.array([True, True, True, True, False, False])


def fit(columns, missing="error", kind="features", train=TRAIN):
    return tables.fit("t.csv", columns, train, kind=kind, missing=missing)


def config_of(path, **fields):
    config = defaults.base()
    config.dataset, config.data_dir, config.calibration.fraction = "manifest", str(path), 0.25
    config.crop_pad, config.flip = 0, False
    config.update_from_flattened_dict(fields)
    return config


def write(path, columns):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([[*columns], *zip(*columns.values())])
    return path


def load(path, **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so few examples lack some classes
        return datasets.load(config_of(path, **fields))


def rows(**columns):
    """Twenty rows of two classes, of which the last five are test rows."""
    label = ["ant", "bee"] * 10
    return {"label": label, "split": ["train"] * 15 + ["test"] * 5, **columns}


def test_numbers_and_categories_are_encoded_like_scikit_learn():
    columns = {"size": NUMBERS, "colour": COLOURS}
    found = tables.encode("t", columns, fit(columns))
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(np.array(COLOURS)[:, None])
    np.testing.assert_array_equal(found, np.c_[NUMBERS, one_hot].astype(np.float32))
    assert found.dtype == np.float32
    assert tables.column_of(fit(columns)) == (0, 1, 1, 1)
    assert tables.column_of(None) == ()


def test_missing_values_become_the_mean_of_the_training_rows_with_an_indicator():
    columns = {
        "size": [1.0, None, 4.0, np.nan, 100.0, 7.0],
        "colour": ["a", "", "b", "a", "b", "a"],
    }
    encoding = fit(columns, missing="mask")
    found = tables.encode("t", columns, encoding)
    np.testing.assert_array_equal(found[:, 0], [1, 2.5, 4, 2.5, 100, 7])
    np.testing.assert_array_equal(found[:, 1], [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(found[:, 2:], [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0],
                                                 [0, 1, 0], [1, 0, 0]])  # fmt: skip
    assert tables.column_of(encoding) == (0, 0, 1, 1, 1)


def test_columns_can_be_the_steps_of_a_series():
    columns = {"t0": NUMBERS, "t1": NUMBERS[::-1]}
    found = tables.encode("t", columns, fit(columns, kind="series"))
    np.testing.assert_array_equal(found[..., 0], np.c_[NUMBERS, NUMBERS[::-1]])
    with pytest.raises(ValueError, match=r"column 'c' holds texts .* must be numbers"):
        fit({"c": COLOURS}, kind="series")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [1.0, None, 2.0, 3.0, 4.0, 5.0],
            r"column 'x' lacks a value in 1 rows, .* row 2; .*='mask'",
        ),
        (
            [None] * 6,
            r"column 'x' lacks a value in 6 rows, the first one is row 1; leave it out .*s$",
        ),
        (["1", "2", "3", "oops", "5", "6"], r"'x' holds numbers, but in row 4 the text 'oops'"),
        ([1.0, np.inf, 2.0, 3.0, 4.0, 5.0], r"'x' must hold finite numbers; got inf in row 2"),
        ([1.0, 1e39, 2.0, 3.0, 4.0, 5.0], r"column 'x' holds a number too large in row 2"),
        ([b"a"] * 6, r"'x' must hold finite numbers; got b'a' in row 1"),
    ],
)
def test_a_bad_column_is_named(column, message):
    with pytest.raises(ValueError, match=message):
        tables.encode("t.csv", {"x": column}, fit({"x": column}))


def test_texts_of_digits_are_categories():
    found = tables.encode("t", {"zip": [10, 20, 10]}, fit({"zip": ["10", "20", "30"] * 2}))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])


def test_a_column_of_names_is_refused():
    names = [f"row {i}" for i in range(300)]
    with pytest.raises(ValueError, match=r"'x' has 300 different texts, must be at most 200"):
        fit({"x": names}, train=np.ones(300, bool))


def test_a_column_with_one_value_is_named():
    with pytest.warns(UserWarning, match=r"t.csv: columns with one value, .*: x$"):
        fit({"x": [2.0] * 6, "size": NUMBERS})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": [1.0]}, r"new.csv: lacks the columns colour; it has size"),
        ({"size": [1.0, 2.0], "colour": ["red", "pink"]}, r"new category 'pink' in row 2; known"),
        ({"size": [None], "colour": ["red"]}, r"'size' has no value in row 1; in training it had"),
        ({"size": ["big"], "colour": ["red"]}, r"'size' must hold finite numbers; got 'big'"),
    ],
)
def test_what_a_predictor_cannot_read_is_named(columns, message):
    encoding = fit({"size": NUMBERS, "colour": COLOURS})
    with pytest.raises(ValueError, match=message):
        tables.encode("new.csv", columns, encoding)


def test_a_table_is_a_data_set(tmp_path):
    size = np.random.default_rng(0).normal(5, 2, 20).astype(np.float32)
    columns = rows(size=size, colour=["red", "blue", "red", "green"] * 5)
    dataset = load(write(tmp_path / "t.csv", columns))
    assert dataset.spec.kind == "features" and dataset.spec.shape == (4,)
    assert (len(dataset.train) + len(dataset.calibration), len(dataset.test)) == (15, 5)
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(np.array(columns["colour"])[:, None])
    whole = np.c_[size, one_hot]
    np.testing.assert_allclose(dataset.test.input, whole[15:], rtol=1e-6)
    # Mean and deviation are those of the training rows.
    np.testing.assert_allclose(dataset.mean, whole[:15].mean(0), rtol=1e-5)
    np.testing.assert_allclose(dataset.std, whole[:15].std(0), rtol=1e-5)
    saved = fingerprint.describe(dataset)["encoding"]
    assert [column["name"] for column in saved["columns"]] == ["size", "colour"]
    assert saved["columns"][1]["categories"] == ["blue", "green", "red"]
    # A Parquet file with the same columns has the same examples.
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    again = load(tmp_path / "t.parquet")
    np.testing.assert_allclose(again.train.input, dataset.train.input, rtol=1e-6)


def test_columns_are_chosen_by_name(tmp_path):
    path = write(tmp_path / "t.csv", rows(a=range(20), b=range(20, 40), path=["x.png"] * 20))
    with pytest.warns(UserWarning, match="columns that are not read: b"):
        dataset = datasets.load(config_of(path, **{"data.columns": "a"}))
    np.testing.assert_array_equal(dataset.test.input[:, 0], range(15, 20))
    with pytest.raises(ValueError, match=r"data.columns: got c, which .* does not have"):
        load(path, **{"data.columns": "a, c"})


def test_lists_of_time_steps_are_series(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
    parquet.write_table(pyarrow.table(rows(input=values.tolist())), tmp_path / "s.parquet")
    dataset = load(tmp_path / "s.parquet", **{"data.kind": "series"})
    assert (dataset.spec.kind, dataset.spec.shape, dataset.std.shape) == ("series", (6, 2), (2,))
    np.testing.assert_array_equal(dataset.test.input, values[15:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.kind": "smell"}, r"data.kind: got 'smell', expected one of: "),
        ({"data.missing": "drop"}, r"data.missing: got 'drop', expected one of: error, mask"),
        ({"dataset": "digits", "data.columns": "a"}, r"data.columns: got 'a' with .*'digits'"),
        ({"stream": True, "data.kind": "series"}, r"data.kind: got 'series' with .*stream=True"),
    ],
)
def test_a_bad_field_is_named(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "t.csv", rows(a=range(20))), **fields)


@pytest.mark.parametrize("columns", [{"label": [0], "a": [1.0]}, {"label": ["x"], "a": [1.0]}])
def test_one_row_is_refused(tmp_path, columns):
    with pytest.raises(ValueError, match=r"t.csv has (one class, 'x'|no train example)"):
        load(write(tmp_path / "t.csv", columns))


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "iris", "digits"])
def test_tables_of_scikit_learn(name):
    dataset = load("", dataset=f"sklearn/{name}")
    found = getattr(sklearn_datasets, f"load_{name}")()
    parts = [dataset.train, dataset.calibration, dataset.test]
    index = np.concatenate([part.index for part in parts])
    np.testing.assert_array_equal(np.sort(index), np.arange(len(found.target)))
    for part in parts:
        np.testing.assert_array_equal(part.input, found.data[part.index].astype(np.float32))
        np.testing.assert_array_equal(part.label, found.target[part.index])
    assert dataset.spec.kind == "features"
    assert dataset.class_names == tuple(map(str, found.target_names))
    share = np.bincount(dataset.test.label) / np.bincount(found.target)
    assert np.abs(share - 1 / 3).max() < 0.02


def test_an_unknown_table_of_scikit_learn():
    with pytest.raises(ValueError, match=r"got 'sklearn/rice', expected one of: sklearn/wine, "):
        load("", dataset="sklearn/rice")
