"""A run's folder: its files come back as they were written, and nobody else names them."""

import ast
import json
import pathlib

import helpers
import pytest

from autolabel_jax import claim as claim_lib
from autolabel_jax import metric_writer, run_dir, train
from autolabel_jax.run_dir import RunDir


def claim(folder, config):
    claim_lib.claim(RunDir(folder), config, helpers.make_dataset())


def test_a_run_from_before_a_field_existed_takes_its_default(tmp_path):
    config = helpers.small_config(seed=3)
    claim(tmp_path, config)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    del saved["accumulate"], saved["labels"]["power"]
    path.write_text(json.dumps(saved))
    defaults = helpers.small_config(seed=9, accumulate=2, labels__power=7.0, labels__alpha=0.1)
    loaded = RunDir(tmp_path).load_config(defaults)
    assert (loaded.accumulate, loaded.labels.power) == (2, 7.0)
    assert (loaded.seed, loaded.labels.alpha) == (3, config.labels.alpha)


def test_the_config_comes_back(tmp_path):
    config = helpers.small_config(labels__rule="smoothing")
    claim(tmp_path, config)
    assert json.loads(RunDir(tmp_path).load_config().to_json()) == json.loads(config.to_json())


def test_no_config_names_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no config.json") as caught:
        RunDir(tmp_path / "nothing").load_config()
    assert str(tmp_path / "nothing") in str(caught.value)


def test_finds_runs_in_and_below_a_folder(tmp_path):
    for name in ("b", "a/c"):
        claim(tmp_path / name, helpers.small_config())
    assert run_dir.find(tmp_path) == [tmp_path / "a" / "c", tmp_path / "b"]
    assert run_dir.find(tmp_path / "b") == [tmp_path / "b"]
    assert run_dir.find(tmp_path / "a" / "c" / "checkpoints") == []


def test_a_checkpoint_with_its_config_is_no_run(tmp_path):
    for name in ("a", "b/c"):
        train.train(helpers.small_config(epochs=1), tmp_path / name, progress=False)
        saved = sorted((tmp_path / name / "checkpoints").glob("*/config.json"))
        assert saved
    assert run_dir.find(tmp_path) == [tmp_path / "a", tmp_path / "b" / "c"]


def test_the_last_line_is_read_from_the_end_of_the_file(tmp_path):
    run = RunDir(tmp_path)
    assert run.last_metrics() is None
    for epoch in range(3):
        run.write_metrics({"epoch": epoch, "padding": "x" * 40_000})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "cut o')
    assert run.last_metrics()["epoch"] == 2
    metric_writer.restore_metrics(run, 1, [])
    assert [line["epoch"] for line in run.read_metrics()] == [0]


def test_a_result_keeps_what_training_knew_and_what_others_added(tmp_path):
    run = RunDir(tmp_path)
    assert run.result() is None and not run.is_finished
    first = {"accuracy": 0.5, "seconds": 7.0, "revision": "a", "noisy_ece": 0.1}
    assert run.write_result(first) == first
    again = run.write_result(
        {"accuracy": 0.6, "seconds": 1.0, "revision": "b", "numerics_version": 9}
    )
    assert again == {**first, "accuracy": 0.6} == run.read_result()


def test_the_last_checkpoint_is_the_highest_whole_one(tmp_path):
    run = RunDir(str(tmp_path))
    assert run.last_checkpoint() is None
    for name in ("9", "10", "12.orbax-checkpoint-tmp"):
        (run.checkpoints / name).mkdir(parents=True)
    assert run.last_checkpoint() == tmp_path / "checkpoints" / "10"


ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("config.json", "metrics.jsonl", "result.json", "evaluation.jsonl", "test_logits.npz")
NAMES += ("dataset.json", "diagnosis.json", "checkpoints", "tensorboard")


def strings(path):
    """String literals of a file that are whole file names."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & set(NAMES)


@pytest.mark.parametrize("folder", ["autolabel_jax", "experiments", "benchmarks"])
def test_no_other_file_names_those_of_a_run(folder):
    naming = {p.name: strings(p) for p in (ROOT / folder).rglob("*.py") if p.name != "run_dir.py"}
    assert not {name: found for name, found in naming.items() if found}
