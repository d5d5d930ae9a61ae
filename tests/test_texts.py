"""Texts as inputs: words, vocabulary and tokens, by plain Python, and bad texts by name."""

import collections
import csv
import json
import warnings

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from autolabel_jax import datasets, defaults
from autolabel_jax.datasets import Dataset, Split, fingerprint, texts

TEXTS = [
    "The film is good, the film is long.",
    "The film is bad!",
    "Good film.",
    "bad acting, BAD sound",
]
TRAIN = np.array([True, True, True, False])


def fit(values=TEXTS, train=TRAIN, name="text", **sizes):
    sizes = {"max_words": 100, "max_tokens": 50, **sizes}
    return texts.fit("t.csv", {name: values}, train, **sizes)


def encode(values, encoding):
    return texts.encode("new.csv", {"text": values}, encoding)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The FILM's end,I don't -- know!", "the|film's|end|,|i|don't|-|-|know|!"),
        ("it 's n't here", "it|'|s|n't|here"),
        ("Straße ÉTÉ 東京 1,5 snake_case", "straße|été|東京|1|,|5|snake_case"),
        ("ﬁne\u00a0film\u2026 It\u2019s", "fine|film|.|.|.|it\u2019s"),
        (" \t\n", ""),
    ],
)
def test_words(text, words):
    assert "|".join(texts.split(text)) == words


def test_the_vocabulary_is_of_training_words_that_occur_twice():
    found = fit()
    words = "the|film|is|good|,|the|film|is|long|.|the|film|is|bad|!|good|film|."
    counts = collections.Counter(words.split("|"))
    expected = sorted((w for w, n in counts.items() if n > 1), key=lambda w: (-counts[w], w))
    assert found["vocabulary"] == expected == ["film", "is", "the", ".", "good"]
    assert (found["length"], texts.size(found)) == (10, 7)
    assert fit(max_words=2, max_tokens=4) == found | {"vocabulary": expected[:2], "length": 4}


def test_tokens_are_places_in_the_vocabulary():
    encoding = fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = encode(["The film is GOOD .", "bad film"], encoding)
    # film is the is . good → 2 3 4 5 6; 1 is unknown, and 0 is padding.
    expected = [[4, 2, 3, 6, 5, 0, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_long_texts_and_texts_of_unknown_words_are_named():
    encoding = fit(max_tokens=3)
    with pytest.warns(UserWarning, match=r"new.csv: 1 of 2 texts are longer than 3 tokens.* row 2"):
        found = encode(["film", "film is film is film"], encoding)
    np.testing.assert_array_equal(found, [[2, 0, 0], [2, 3, 2]])
    with pytest.warns(UserWarning, match=r"2 of 3 texts are without a known word; .* row 1"):
        np.testing.assert_array_equal(encode(["dull", "film", "?"], encoding)[::2, 0], [1, 1])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"column 'text' has no words in row 2: ''"),
        (" \n ", r"column 'text' has no words in row 2: "),
        (None, r"column 'text' has no text in row 2"),
        (float("nan"), r"column 'text' has no text in row 2"),
        (3, r"column 'text' must hold texts; got 3 in row 2"),
    ],
)
def test_a_bad_text_is_named(value, message):
    with pytest.raises(ValueError, match=f"data_dir: t.csv: {message}"):
        fit(["the film the film", value, "film", "film"])
    with pytest.raises(ValueError, match=f"new.csv: {message}"):
        encode(["the film", value], fit())


def test_bad_columns_are_named():
    with pytest.raises(ValueError, match="t.csv: column 'text' has no word that occurs twice"):
        fit(["one", "two", "three", "one one"])
    with pytest.raises(ValueError, match="has 2 columns for data.kind='text': a, b; name the one"):
        texts.fit("t", {"a": TEXTS, "b": TEXTS}, TRAIN, max_words=9, max_tokens=9)
    with pytest.raises(ValueError, match="new.csv: lacks the column 'text'; it has review"):
        texts.encode("new.csv", {"review": TEXTS}, fit())


# Manifests.


def config_of(path, **fields):
    config = defaults.base()
    config.dataset, config.data_dir, config.calibration.fraction = "manifest", str(path), 0.25
    config.crop_pad, config.flip = 0, False
    config.update_from_flattened_dict(fields)
    return config


def load(path, **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so few examples lack some classes
        return datasets.load(config_of(path, **fields))


def columns(**others):
    """Twenty rows of two classes, of which the last five are test rows."""
    words = [f"film {'good' if i % 2 else 'bad'} w{i}" for i in range(20)]
    return {
        "label": ["bad", "good"] * 10,
        "split": ["train"] * 15 + ["test"] * 5,
        **{name: words if values is None else values for name, values in others.items()},
    }


def write(path, table):
    rows = [[*table], *zip(*table.values(), strict=True)]
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.table(table), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(table, row))) + "\n" for row in rows[1:]))
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_a_column_of_texts_is_a_data_set(tmp_path, ending):
    dataset = load(write(tmp_path / f"t.{ending}", columns(text=None)))
    assert (dataset.spec.kind, dataset.spec.shape, dataset.spec.dtype) == ("text", (3,), "int32")
    assert dataset.encoding["vocabulary"] == ["film", "bad", "good"]
    assert (dataset.spec.low, dataset.spec.high) == (0, 4)
    test = [[2, 4 if i % 2 else 3, 1] for i in range(15, 20)]
    np.testing.assert_array_equal(dataset.test.input, test)
    assert fingerprint.describe(dataset)["encoding"] == dataset.encoding


@pytest.mark.parametrize(
    ("others", "fields", "kind"),
    [
        ({"text": None, "stars": range(20)}, {}, "text"),  # the others are not read
        ({"review": None}, {}, "text"),
        ({"review": None, "stars": range(20)}, {"data.columns": "review"}, "text"),
        ({"a": ["one"] * 9 + ["two"] * 11}, {"data.kind": "text"}, "text"),
        ({"a": ["one"] * 9 + ["two"] * 11}, {}, "features"),
        ({"review": None, "stars": range(20)}, {}, "features"),
    ],
)
def test_which_column_is_read(tmp_path, others, fields, kind):
    assert load(write(tmp_path / "t.csv", columns(**others)), **fields).spec.kind == kind


def test_quotes_and_line_ends(tmp_path):
    values = ['he said "film", and\nleft'] * 20
    dataset = load(write(tmp_path / "t.csv", columns(text=values)))
    assert {*dataset.encoding["vocabulary"]} == {*["he", "said", '"', "film", ",", "and", "left"]}
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + 'a "film\tx\nthe "film"\ty\n' * 10)
    dataset = load(path)
    assert {*dataset.encoding["vocabulary"]} == {"a", '"', "film", "the"}


@pytest.mark.parametrize(
    ("others", "fields", "message"),
    [
        ({"text": range(20)}, {}, r"t.csv: column 'text' must hold texts; got 0 in row 1"),
        ({"text": ["film bad"] * 19 + [""]}, {}, r"column 'text' has no words in row 20: ''"),
        ({"text": None}, {"data.missing": "mask"}, r"data.missing: got 'mask' with texts"),
        ({"text": None}, {"data.max_words": 0}, r"data.max_words: got 0, must be between 1"),
        ({"text": None}, {"data.max_tokens": 5000}, r"data.max_tokens: got 5000, must be between"),
        ({"text": None}, {"dataset": "digits", "data.max_words": 9}, r"data.max_words: got 9 with"),
    ],
)
def test_a_bad_table_of_texts_is_named(tmp_path, others, fields, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "t.csv", columns(**others)), **fields)


def test_a_column_of_many_words_says_how_to_read_it_as_text(tmp_path):
    table = {"label": ["a", "b"] * 150, "name": [f"n{i}" for i in range(300)]}
    with pytest.raises(ValueError, match=r"by data.kind='text' and data.columns='name'$"):
        load(write(tmp_path / "t.csv", table))


def test_sizes_of_vocabulary_and_inputs_are_fields(tmp_path):
    path = write(tmp_path / "t.csv", columns(text=None))
    dataset = load(path, **{"data.max_words": 1, "data.max_tokens": 2})
    assert dataset.encoding["vocabulary"] == ["film"]
    np.testing.assert_array_equal(dataset.test.input, [[2, 1]] * 5)


@pytest.mark.parametrize("bad", [-1.0, 1.5, 2e7])
def test_stored_tokens_are_whole_numbers(tmp_path, bad):
    tokens = np.full((8, 4), 3, np.float32)
    for name, values in (("train", tokens), ("test", np.where(np.eye(8, 4), bad, tokens))):
        label = np.arange(8) % 2
        np.savez(
            tmp_path / f"{name}.npz", input=values.astype(np.float32), label=label, kind="text"
        )
    with pytest.raises(
        ValueError, match=r"test split: texts must be whole numbers from 0 to 9,999"
    ):
        load(tmp_path, dataset="arrays")
    split = Split(tokens, np.zeros(8, np.int32), None, np.arange(8))
    assert Dataset("d", split, split, split, 2, None, 0, 1, kind="text").spec.high == 3
