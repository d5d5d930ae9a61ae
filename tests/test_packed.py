"""Packed studies against the run folders that they were made of, and read by pyarrow alone."""

import json
import math
import shutil

import helpers
import pytest
import run_folders
from pyarrow import parquet

from experiments import packing
from experiments.reporting import catalogue, run_files, summary
from experiments.reporting import frame as frames

NAMES = ("one_hot_0", "autolabel_0", "autolabel_1")
# Floats that a float32 or a decimal text cut short would not keep.
LINES = [
    run_folders.line(0, train_loss=0.1 + 0.2, label_confidence=[1.0, math.pi / 4, 1 / 3]),
    run_folders.line(1, train_loss=5e-324, bucket_accuracy=[0.9, None, 2 / 3]),
]


@pytest.fixture
def runs(tmp_path):
    """Folders of three runs, with label curves of other lengths and fields."""
    for name in NAMES:
        rule, seed = name.rsplit("_", 1)
        more = {"label_temperature": [1.5, 2.5]} if seed == "1" else {}
        lines = [line | more for line in LINES]
        folder = tmp_path / "runs" / name
        run_folders.write(folder, rule=rule, seed=int(seed), lines=lines, nll=math.sqrt(0.1))
    return tmp_path / "runs"


@pytest.fixture
def study(runs, tmp_path):
    """The same runs packed, without the folders."""
    path = tmp_path / "results" / "study.jsonl"
    assert packing.pack(sorted(runs.iterdir()), path) == 3
    return path


def records(*arguments):
    return {run.workdir.name: run for run in run_files.load([str(a) for a in arguments])}


def text(run):
    """Everything in a record but its place, with types and all digits."""
    return json.dumps([run.config, run.lines, run.result], sort_keys=True)


def test_packed_runs_are_those_of_the_folders(runs, study):
    before, after = records(runs), records(study.parent / "study")
    assert before.keys() == after.keys() == set(NAMES)
    assert {n: text(r) for n, r in before.items()} == {n: text(r) for n, r in after.items()}
    assert after["one_hot_0"].workdir == study.parent / "study" / "one_hot_0"
    assert "label_temperature" not in after["autolabel_0"].lines[0]
    assert after["one_hot_0"].lines[1]["bucket_accuracy"] == [0.9, None, 2 / 3]


def test_folders_of_this_machine_are_left_out(tmp_path):
    settings = {"data_dir": "/home/me/data", "model__init_from": "/home/me/w.safetensors"}
    folder = run_folders.write(tmp_path / "runs" / "a", settings=settings)
    packing.pack([folder], tmp_path / "study.jsonl")
    (run,) = records(tmp_path / "study").values()
    own = run_files.read(folder).config
    assert own | {"data_dir": "", "model.init_from": "w.safetensors"} == run.config
    assert "/home/me" not in (tmp_path / "study.jsonl").read_text()


def test_fields_that_only_some_lines_have_stay_so(tmp_path):
    lines = [run_folders.line(e) for e in range(3)]
    lines[1] |= {"beyond_family": ["clean", "noise"], "beyond_temperature": [1.5, 2.5]}
    folder = run_folders.write(tmp_path / "runs" / "a", lines=lines, settings={"epochs": 3})
    assert packing.pack([folder], tmp_path / "study.jsonl") == 1
    (run,) = records(tmp_path / "study").values()
    assert run.lines == run_files.read(folder).lines
    assert ["beyond_family" in line for line in run.lines] == [False, True, False]


def test_the_files_hold_sorted_rows_and_exact_numbers(runs, study):
    rows = [json.loads(line) for line in study.read_text().splitlines()]
    assert [row["name"] for row in rows] == sorted(NAMES)
    assert set(rows[0]) == {"name", "config", "result", "epochs", "checksum"}
    assert rows[0]["config"] == json.loads((runs / "autolabel_0" / "config.json").read_text())
    table = parquet.read_table(study.parent / "curves.parquet").to_pydict()
    assert table["study"] == ["study"] * 6 and table["epoch"] == [0, 1] * 3
    assert table["train_loss"] == [0.1 + 0.2, 5e-324] * 3
    assert table["label_confidence"][0] == [1.0, math.pi / 4, 1 / 3]
    assert table["label_temperature"] == [None] * 2 + [[1.5, 2.5]] * 2 + [None] * 2
    assert not list(study.parent.glob(".*"))


def test_an_exact_repeat_changes_nothing(runs, study):
    before = {path: path.read_bytes() for path in study.parent.iterdir()}
    assert packing.pack([runs / NAMES[0]], study) == 0
    assert {path: path.read_bytes() for path in study.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["result.json", "config.json", "metrics.jsonl"])
def test_another_run_of_a_name_is_refused(runs, study, name):
    path = runs / "autolabel_1" / name
    path.write_text(path.read_text().replace("0.9", "0.91").replace('"seed": 1', '"seed": 2'))
    before = {path: path.read_bytes() for path in study.parent.iterdir()}
    with pytest.raises(ValueError, match=f"{runs}/autolabel_1: {study} has another run of the nam"):
        packing.pack(sorted(runs.iterdir()), study)
    assert {path: path.read_bytes() for path in study.parent.iterdir()} == before


def test_runs_and_studies_are_added_to_what_is_there(runs, study):
    run_folders.write(runs / "smoothing_0", rule="smoothing")
    other = study.with_name("other.jsonl")
    assert packing.pack([runs / "smoothing_0"], other) == 1
    assert packing.pack([runs / "smoothing_0", runs / "one_hot_0"], study) == 1
    assert set(records(study)) == {*NAMES, "smoothing_0"}
    assert text(records(other)["smoothing_0"]) == text(records(runs)["smoothing_0"])
    assert text(records(study)["autolabel_1"]) == text(records(runs)["autolabel_1"])
    assert parquet.ParquetFile(study.with_name("curves.parquet")).num_row_groups == 2


def test_what_a_kill_left_between_the_two_files_is_replaced(runs, study):
    study.unlink()
    assert packing.pack([runs / NAMES[0]], study) == 1
    assert parquet.read_table(study.with_name("curves.parquet"))["name"].to_pylist() == (
        [NAMES[0]] * 2
    )


@pytest.mark.parametrize("value", [None, {"a": 1}, "text", [[1.0]]])
def test_lines_come_back_or_are_refused(tmp_path, value):
    folder = run_folders.write(tmp_path / "a", lines=[run_folders.line(i) for i in (0, 1)])
    lines = [run_folders.line(epoch, extra=value) for epoch in (0, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    study = tmp_path / "study.jsonl"
    if value is None:  # like a field that is not there
        with pytest.raises(ValueError, match=r"a line of metrics\.jsonl cannot be stored exactly"):
            packing.pack([folder], study)
        assert not list(tmp_path.glob("*.*")) and not list(tmp_path.glob(".*"))
    else:
        packing.pack([folder], study)
        assert records(tmp_path / "study" / "a")["a"].lines == lines


def test_what_names_packed_runs(runs, study):
    root = study.parent
    for argument in (root, root / "study", study):
        assert set(records(argument)) == set(NAMES), argument
    assert set(records(root / "study" / "autolabel_1")) == {"autolabel_1"}
    assert set(records(root / "study" / "autolabel_*")) == {"autolabel_0", "autolabel_1"}
    assert len(run_files.load([str(root), str(study), str(root / "study" / "one_hot_0")])) == 3
    run_folders.write(root / "below" / "smoothing_0", rule="smoothing")
    assert set(records(root)) == {*NAMES, "smoothing_0"}
    # metrics.jsonl of a run is no study.
    assert set(records(root / "below" / "smoothing_0")) == {"smoothing_0"}
    for argument in (root / "none", root / "study" / "none", root / "none.jsonl"):
        with pytest.raises(ValueError, match="no such folder or packed study"):
            run_files.load([str(argument)])


BROKEN = ('{"a": 1}\n', '{"name": "a", "con', "\xff\n", "[]\n", '{"config": 3}')


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_cannot_be_read_is_named(study, line):
    study.write_bytes((study.read_text() + line).encode("latin-1"))
    with pytest.raises(ValueError, match=r"study\.jsonl:4: expected a file of experiments\.res"):
        run_files.load([str(study.parent)])


def test_tables_and_documents_are_those_of_the_folders(runs, study, tmp_path):
    shutil.copytree(runs, tmp_path / "folders" / "study")
    marker = (
        '# T\n\n<!-- tables study show="figures differences labels" -->\n<!-- end of tables -->\n'
    )
    made = [run_folders.regenerated(marker, "d.md", tmp_path / f) for f in ("folders", "results")]
    assert made[0] == made[1] and "| autolabel | 2 |" in made[0]
    path = tmp_path / "d.md"
    for name in ("study", "study.jsonl"):
        path.write_text(marker.replace("study", name))
        asked = [str(path)], [str(tmp_path / "results")], study.parent
        assert summary.update(*asked, check=False) == []
    assert frames.load([str(study)])[1].empty


def test_figures_are_those_of_the_folders_but_for_files_that_are_not_packed(runs, study):
    run_folders.write_logits(runs / "one_hot_0")

    def names(folder):
        return {drawing.name for drawing in catalogue.everything(*frames.load([str(folder)]))}

    assert names(runs) - names(study) == {"reliability_one_hot_0"}
    assert names(study) < names(runs)
    run = records(study)["one_hot_0"]
    assert run.full_config.labels.rule == "one_hot" and "momentum" in run.full_config.labels


def test_the_command_leaves_out_what_is_not_finished(runs, tmp_path):
    run_folders.write(runs / "begun", finished=False)
    out = tmp_path / "packed.jsonl"
    done = helpers.command("-m", "experiments.results", "pack", runs, f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert f"{out}: 3 new runs, 0 there before" in done.stdout
    assert f"left out: {runs}/begun: not finished" in done.stderr
    assert set(records(out)) == set(NAMES)
    assert (runs / NAMES[0] / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "--out=a.jsonl"], "expected: pack FOLDER … --out=results/STUDY.jsonl"),
        (["unpack", "x", "--out=a.jsonl"], "expected: pack FOLDER"),
        (["pack", "x", "--out=a.json"], "--out=a.json: expected a name that ends in .jsonl"),
        (["pack", "/nowhere", "--out=a.jsonl"], "/nowhere: found no finished run there"),
    ],
)
def test_the_command_says_what_would_do(arguments, message):
    done = helpers.command("-m", "experiments.results", *arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
