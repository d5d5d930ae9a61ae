"""Texts of one's own: train, export, predict, evaluate, serve and corrupt them."""

import csv
import json
import warnings

import numpy as np
import predictor_folders
import pytest
from fastapi import HTTPException

import autolabel_jax
from autolabel_jax import corruptions, defaults, files, trained
from autolabel_jax.commands import main
from autolabel_jax.predictor import exporting
from autolabel_jax.run_dir import RunDir
from autolabel_jax.serving import uploads

GOOD, BAD = ("good", "great", "fine"), ("bad", "dull", "poor")
FIELDS = {"epochs": 6, "model.width": 16, "batch_size": 16, "optimizer.learning_rate": 0.02}


def autolabel(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run has few of each class
        return main.main([str(argument) for argument in arguments])


def reviews(num, seed=0):
    """Rows of a text and its class, which one word of the text shows."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(num):
        words = [str(word) for word in rng.choice(["a", "the", "film", "plot", ","], 4)]
        words[rng.integers(4)] = str(rng.choice((GOOD, BAD)[i % 2]))
        rows.append([" ".join(words).capitalize(), ("good", "bad")[i % 2]])
    return rows


def write(path, rows, names=("review", "label")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    data = write(folder / "reviews.csv", reviews(200))
    given = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    assert autolabel("train", f"--data={data}", f"--out={folder / 'run'}", *given) == 0
    return folder


@pytest.fixture(scope="module")
def model(run):
    return autolabel_jax.load_predictor(run / "run/predictor")


def predict(run, *given):
    out = run / "predictions.json"
    code = autolabel("predict", f"--model={run / 'run/predictor'}", f"--out={out}", *given)
    return json.loads(out.read_text()) if code == 0 else code


def tokens(model, text):
    """Tokens of a text of words between spaces, by hand."""
    words = model.encoding["vocabulary"]
    found = [2 + words.index(w) if w in words else 1 for w in text.lower().split()]
    return found + [0] * (model.shape[0] - len(found))


def test_settings_follow_the_texts(run):
    config = RunDir(run / "run").load_config(defaults.base())
    assert (config.dataset, config.model.name) == ("manifest", "text_mean")
    assert (config.augment.name, config.optimizer.name) == ("word_masking", "adamw")


def test_texts_of_a_table_and_of_the_command_are_classified(run, model):
    rows = reviews(30, seed=1)
    path = write(run / "new.csv", [row[:1] for row in rows], ("review",))
    found = predict(run, f"--data={path}")
    assert [row["path"] for row in found] == [f"{path}:{i}" for i in range(30)]
    expected = model(np.array([tokens(model, text) for text, _ in rows], np.int32))
    np.testing.assert_allclose([row["probability"] for row in found], expected.max(1), rtol=1e-5)
    assert np.mean([row["class"] == label for row, (_, label) in zip(found, rows)]) > 0.9
    texts = [rows[0][0], "good.csv", rows[1][0], rows[0][0]]
    found = predict(run, "--text", *texts)
    assert [row["path"] for row in found] == texts[:3]  # each once
    np.testing.assert_allclose(
        [row["probability"] for row in found][::2], expected.max(1)[:2], rtol=1e-5
    )
    assert found[1]["class"] == "good"  # a text may look like the name of a file


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--text", "a film", ""], "--text: column 'review' has no words in row 2: ''"),
        (["--data=empty.csv"], "empty.csv: column 'review' has no words in row 1: '  '"),
        (["--data=number.csv"], "number.csv: column 'review' must hold texts; got 3 in row 1"),
        (["--data=other.csv"], "other.csv: lacks the column 'review'; it has text"),
    ],
)
def test_what_cannot_be_predicted_is_named(run, capfd, monkeypatch, given, message):
    monkeypatch.chdir(run)
    for name, value, column in (
        ("empty", "  ", "review"), ("number", 3, "review"), ("other", "a film", "text"),
    ):  # fmt: skip
        write(run / f"{name}.csv", [[value]], (column,))
    capfd.readouterr()
    assert predict(run, *given) == 1
    err = capfd.readouterr().err
    assert message in err and "Traceback" not in err


def test_unknown_words_are_named_and_unknown_tokens_refused(run, model):
    with pytest.warns(UserWarning, match="--text: 1 of 2 texts are without a known word; .* row 2"):
        main.main(["predict", f"--model={run / 'run/predictor'}", "--text", "film", "zxqv"])
    for bad in (-1, len(model.encoding["vocabulary"]) + 2):
        with pytest.raises(ValueError, match="inputs: got unknown tokens, expected int32 "):
            model(np.full((1, *model.shape), bad, np.int32))


def test_predictors_of_other_inputs_take_no_text(model, monkeypatch):
    monkeypatch.setitem(model.info, "encoding", None)
    with pytest.raises(ValueError, match="--text: .*predictor takes int32 .*, and no texts"):
        model.encode_texts("--text", ["a film"])


SAID = [
    "A good FILM, the film\u2026",
    "dull \u5317 d\u2019\u00c9t\u00e9 \ufb01ne\tplot",
    "zxqv \u0130I",
]


def test_predict_py_splits_texts_as_the_library_does(run, model, capsys):
    data = write(run / "said.csv", [[text, "x"] for text in SAID])
    for given, names in ((["--text", *SAID], SAID), ([data], 3 * [str(data)])):
        assert predictor_folders.predict_here(model.folder, *given) == 0
        found = predictor_folders.rows_of(capsys.readouterr().out)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of texts without a known word
            expected = model(model.encode_texts("--text", SAID))
        assert [row[0] for row in found] == names
        assert [row[1] for row in found] == [model.class_names[k] for k in expected.argmax(-1)]
        np.testing.assert_allclose([row[2] for row in found], expected.max(-1), atol=6e-5)


def test_predict_py_names_texts_that_it_cannot_use(run, model, capsys):
    other, ragged = write(run / "none.csv", [["a film"]], ("text",)), run / "ragged.csv"
    ragged.write_text("review,label\na film\n")
    given = [("--text", "zxqv", " "), (other, ragged, run / "nowhere.csv")]
    assert [predictor_folders.predict_here(model.folder, *each) for each in given] == [1, 1]
    said = capsys.readouterr()
    assert [row[0] for row in predictor_folders.rows_of(said.out)] == ["zxqv"]
    for line, start in zip(
        said.err.splitlines(),
        (
            "zxqv: warning: text: 1 of 1 texts are without a known word",
            " : text: column 'review' has no words in row 1: ' '",
            f"{other}: table: lacks the column 'review'; it has text",
            f"{ragged}: has rows without 2 values",
            f"{run / 'nowhere.csv'}: [Errno 2] No such file",
        ),
        strict=True,
    ):
        assert line.startswith(start)


@pytest.mark.slow
def test_predict_py_classifies_texts_alone(run, model, tmp_path):
    given = ("--text", "a good film", "the dull plot")
    found = predictor_folders.predict_alone(model.folder, *given, packages=tmp_path / "only")
    assert [row[:2] for row in found] == [(given[1], "good"), (given[2], "bad")]


def test_texts_are_evaluated(run):
    data = write(run / "test.csv", reviews(40, seed=2))
    out = run / "evaluation"
    assert autolabel("evaluate", f"--model={run / 'run/predictor'}", f"--data={data}",
                     f"--out={out}") == 0  # fmt: skip
    found = predict(run, f"--data={data}")
    right = [row["class"] == label for row, (_, label) in zip(found, reviews(40, seed=2))]
    measured = files.read_json(out / "metrics.json")
    assert measured["after_calibration"]["accuracy"] == pytest.approx(np.mean(right))


def test_requests_hold_a_text_or_tokens(model):
    rows = [uploads.decode({"text": "the good FILM"}, model, 1)]
    rows.append(uploads.decode({"input": tokens(model, "the good film")}, model, 1))
    for row in rows:
        np.testing.assert_array_equal(row, tokens(model, "the good film"))
    for content, message in (
        ({"text": " "}, "text: column 'review' has no words in row 1: ' '"),
        ({"text": 3}, "text: Input should be a valid string"),
        ({"text": "film", "more": 1}, "more: Extra inputs are not permitted"),
        ({"input": [10**6] * model.shape[0]}, "inputs: got unknown tokens, expected int32"),
    ):
        with pytest.raises(HTTPException) as caught:
            uploads.decode(content, model, 1)
        assert caught.value.status_code == 422 and caught.value.detail.startswith(message)
    schemas = uploads.described(model)["content"]["application/json"]["schema"]["anyOf"]
    assert [list(schema["properties"]) for schema in schemas] == [["text"], ["input"]]


def test_a_run_is_evaluated_on_typos_and_masks(run):
    config = RunDir(run / "run").load_config(defaults.base())
    result = trained.evaluate(run / "run", config, corrupted=True)
    by_severity = result["corrupted_ece_by_severity"]
    assert len(by_severity) == 5 and result["corrupted_accuracy"] < result["accuracy"]
    lines = RunDir(run / "run").ledger.done()
    assert {line["name"] for line in lines} == {*corruptions.OTHERS["text"]}
    for asked, flag in (
        ({"extra_corrupted": True}, "--extra_corruptions"),
        ({"attack_names": ["fgsm"]}, "--attacks"),
    ):
        with pytest.raises(ValueError, match=f"{flag}: the data are inputs of kind 'text'"):
            trained.evaluate(run / "run", config, **asked)


def test_a_calibrator_is_fitted_on_moves_of_texts(run):
    config = RunDir(run / "run").load_config(defaults.base())
    restored = trained.restore(run / "run", config)
    info = exporting.export(restored, run / "calibrated", calibrator="pooled_temperature")
    assert info["calibrator"]["name"] == "pooled_temperature"
    assert info["encoding"] == restored.dataset.encoding


@pytest.mark.slow
def test_a_transformer_learns_from_mixtures_and_is_exported(run):
    fields = {"model.name": "text_transformer", "model.width": 64, "augment.name": "mixup"}
    fields = FIELDS | fields | {"optimizer.learning_rate": 0.003, "epochs": 15}
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    out = run / "transformer"
    assert autolabel("train", f"--data={run / 'reviews.csv'}", f"--out={out}", *given) == 0
    assert RunDir(out).read_result()["accuracy"] > 0.9
    loaded = autolabel_jax.load_predictor(out / "predictor")
    assert (
        loaded.class_names[loaded(loaded.encode_texts("", ["a great film"]))[0].argmax()] == "good"
    )
