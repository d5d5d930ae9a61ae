"""The command ``autolabel label``: every label follows from the two files, with NumPy alone."""

import json
import pathlib
import warnings

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from autolabel_jax import files
from autolabel_jax.commands import main

CLASSES, GROUPS = ("ant", "bee", "cat"), ("far", "near")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(examples, labels, statistics, arguments): three moved copies each of 200 examples."""
    root, rng = tmp_path_factory.mktemp("labels"), np.random.default_rng(0)
    clean = rng.integers(0, 3, 200)
    rows = []
    for source, k in enumerate(clean):
        for distance in rng.random(3):
            moved = np.eye(3)[k] + 2 * distance * rng.normal(size=3)
            row = {"input": moved.tolist(), "label": CLASSES[k], "distance": float(distance)}
            rows.append({**row, "source": str(source), "group": GROUPS[source % 2]})
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "moved.parquet")
    given = ["--config.epochs=6", "--config.calibration.exact=True", "--config.labels.alpha=0.5"]
    arguments = [f"--data={root / 'moved.parquet'}", f"--out={root / 'labels.parquet'}", *given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert main.main(["label", "--full", *arguments]) == 0
    tables = (parquet.read_table(root / f"{name}.parquet") for name in ("labels", "bucket_stats"))
    return rows, *tables, arguments


def test_labels_follow_from_the_statistics(written):
    rows, labels, stats, _ = written
    described = {k.decode(): v.decode() for k, v in stats.schema.metadata.items() if k != b"ARROW:"}
    settings = json.loads(described["labels"])
    assert (described["rule"], settings["alpha"], settings["step"]) == ("autolabel", 0.5, "ece")
    table = {name: stats[name].to_numpy() for name in stats.column_names}
    last = table["update"].max()
    intervals = len(json.loads(described["edges"])) - 1
    confidence = np.ones(2 * intervals)
    assert json.loads(described["groups"]) == [*GROUPS]
    for update in range(1, last + 1):
        now = {name: x[table["update"] == update] for name, x in table.items()}
        gap = now["confidence"] - now["accuracy"]
        moved = confidence - settings["alpha"] * now["ece"] * np.sign(gap)
        moved = np.where(now["count"] > 0, np.clip(moved, now["accuracy"], 1), confidence)
        np.testing.assert_allclose(now["label_confidence"], moved, atol=1e-6)
        confidence = now["label_confidence"]
    edges = np.array(json.loads(described["edges"]))
    for row in labels.to_pylist():
        example = rows[row["row"]]
        assert row["class"] == example["label"] == CLASSES[row["label"]]
        assert row["distance"] == np.float32(example["distance"])
        interval = np.searchsorted(edges[1:-1], row["distance"], side="left")
        assert row["group"] == example["group"]
        assert row["bucket"] == GROUPS.index(row["group"]) * intervals + interval
        assert row["confidence"] == pytest.approx(confidence[row["bucket"]], abs=1e-6)
        assert row["update"] == last
        expected = np.full(3, (1 - row["confidence"]) / 2)
        expected[row["label"]] = row["confidence"]
        np.testing.assert_allclose(row["distribution"], expected, atol=1e-6)


def test_the_statistics_count_each_group_by_itself(written):
    _, labels, stats = written[:3]
    held = [row for row in labels.to_pylist() if row["split"] == "calibration"]
    of_last = [row for row in stats.to_pylist() if row["update"] == 6]
    assert [row["group"] for row in of_last] == ["far"] * 3 + ["near"] * 3
    for row in of_last:
        inside = [other for other in held if other["bucket"] == row["bucket"]]
        assert row["count"] == len(inside) > 0
        assert {other["group"] for other in inside} == {row["group"]}


@pytest.mark.slow
def test_labels_are_those_of_the_kept_epoch(written, tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(written[0]), tmp_path / "moved.parquet")
    paths = [f"--data={tmp_path / 'moved.parquet'}", f"--out={tmp_path / 'labels.parquet'}"]
    rough = ["--config.epochs=6", "--config.optimizer.learning_rate=1.0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert main.main(["label", *paths, *rough, "--config.checkpoint.best=True"]) == 0
    kept = files.read_json(tmp_path / "labels_run/result.json")["kept_epoch"]
    lines = files.read_json_lines(tmp_path / "labels_run/metrics.jsonl")
    assert kept == 1 + np.argmin([line["calibration_nll"] for line in lines]) < 6
    for row in parquet.read_table(tmp_path / "labels.parquet").to_pylist():
        assert row["update"] == kept
        expected = lines[kept - 1]["label_confidence"][row["bucket"]]
        assert row["confidence"] == pytest.approx(expected, abs=1e-6)


def test_each_example_outside_the_test_split_has_one_label(written):
    rows, labels, *_ = written
    found = labels["row"].to_pylist()
    assert found == sorted(set(found)) and len(found) == 0.8 * len(rows)
    sides, numbers = {}, {}
    for row in labels.to_pylist():
        name = rows[row["row"]]["source"]
        sides.setdefault(name, set()).add(row["split"])
        numbers.setdefault(name, set()).add(row["source"])
    assert {len(splits) for splits in sides.values()} == {1}
    assert {len(same) for same in numbers.values()} == {1}
    assert len(set.union(*numbers.values())) == len(numbers)


def test_files_of_another_run_are_not_replaced(written, capsys):
    """Else the labels of a run would stand beside the statistics of another."""
    arguments = written[-1]
    out = pathlib.Path(arguments[1].removeprefix("--out="))
    other, before = out.with_name("other.parquet"), out.read_bytes()
    assert main.main(["label", "--full", *arguments]) == 0  # of the same run
    assert out.read_bytes() == before
    for changed, named in (
        ([arguments[0], f"--out={other}"], out.with_name("bucket_stats.parquet")),
        ([*arguments[:2], "--config.seed=1"], out),
    ):
        assert main.main(["label", *changed]) == 1
        message = f"error: {named}: is of a run with other settings or data; give --out in another"
        assert message in capsys.readouterr().err
    assert not other.exists() and not other.with_name("other_run").exists()
    out.with_name("text.parquet").write_text("text")
    assert main.main(["label", arguments[0], f"--out={out.with_name('text.parquet')}"]) == 1
    assert "text.parquet: is no Parquet file; give another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=digits", "--out=a.parquet"], "--data: digits has no column 'distance'"),
        (["--data=digits", "--out=a.csv"], "--out: got a.csv, expected a name that ends in"),
    ],
)
def test_mistakes_are_answered_in_one_line(capsys, arguments, message):
    assert main.main(["label", *arguments]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert message in line
