"""Sweeps: runs in them are what they are alone, however they are stopped, killed or shared."""

import io
import json
import time

import helpers
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from autolabel_jax import claim, files, processes, train, trained
from experiments.sweeping import board as sweep_board
from experiments.sweeping import execution
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.board import Board
from experiments.sweeping.execution import Outcome

pytestmark = pytest.mark.xdist_group("sweeps")


def make_run(root, **changes) -> sweep_runs.Run:
    """A run of the small config; ``seed`` and the like as in helpers.small_config."""
    settings = {name.replace("__", "."): value for name, value in changes.items()}
    return sweep_runs.make_run(helpers.small_config(), settings, root)


def run_here(runs, stop=lambda: False, evaluation=None) -> dict[str, Outcome]:
    board = Board(runs, stop, console=Console(file=io.StringIO()))
    while (run := board.begin()) is not None:
        board.end(run, execution.attempt(run, evaluation or {}, stop))
    return dict(board.outcomes)


def states(outcomes) -> dict[str, str]:
    return {name: outcome.state for name, outcome in outcomes.items()}


# --- runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Folder of a run outside of any sweep."""
    workdir = tmp_path_factory.mktemp("sweep") / "alone"
    train.train(helpers.small_config(seed=3), workdir, progress=False)
    return workdir


def test_a_run_is_what_it_is_alone_and_is_skipped_afterwards(tmp_path, alone):
    runs = [make_run(tmp_path, labels__rule="none"), make_run(tmp_path, seed=3)]
    outcomes = run_here(runs)
    assert states(outcomes) == {"labels.rule=none": "failed", "seed=3": "done"}
    message = outcomes["labels.rule=none"].message
    assert "labels.rule: got 'none', expected one of: one_hot" in message
    assert "Traceback" in runs[0].log.read_text()
    assert helpers.read_metrics(tmp_path / "seed=3") == helpers.read_metrics(alone)
    result, expected = (
        files.read_json(folder / "result.json") for folder in (tmp_path / "seed=3", alone)
    )
    assert result | {"seconds": 0} == expected | {"seconds": 0}
    before = (tmp_path / "seed=3" / "result.json").stat().st_mtime_ns
    again = run_here(runs)
    assert states(again) == {"labels.rule=none": "failed", "seed=3": "skipped"}
    assert (tmp_path / "seed=3" / "result.json").stat().st_mtime_ns == before
    other = ConfigDict(runs[1].config.to_dict() | {"batch_size": 8})
    outcome = run_here([sweep_runs.Run({"seed": 3}, other, tmp_path)])["seed=3"]
    assert outcome.state == "failed" and "batch_size: 16 there, 8 asked for" in outcome.message


def test_a_damaged_result_is_that_of_its_run_alone(tmp_path):
    runs = [make_run(tmp_path, seed=3), make_run(tmp_path, seed=4)]
    assert set(states(run_here(runs)).values()) == {"done"}
    path = tmp_path / "seed=3" / "result.json"
    path.write_text("{")
    (tmp_path / "seed=4" / "sweep.json").write_text("[]")
    outcomes = run_here(runs)
    assert states(outcomes) == {"seed=3": "failed", "seed=4": "skipped"}
    assert outcomes["seed=3"].message.startswith(f"{path}: cannot be read as a JSON object")


def after(n):
    """Says to stop when asked for the n-th time."""
    answers = iter(range(n + 100))
    return lambda: next(answers) >= n


def test_a_stopped_sweep_goes_on_to_the_same_bits(tmp_path, alone):
    runs = [make_run(tmp_path, seed=3), make_run(tmp_path, seed=4)]
    assert states(run_here(runs, after(3))) == {"seed=3": "stopped"}
    assert not runs[0].run_dir.is_finished
    assert states(run_here(runs[:1])) == {"seed=3": "done"}
    workdir = runs[0].run_dir.path
    assert helpers.read_metrics(workdir) == helpers.read_metrics(alone)
    helpers.assert_same_bits(helpers.last_checkpoint(workdir), helpers.last_checkpoint(alone))


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path):
    run = make_run(tmp_path)
    with claim.locked(run.run_dir):
        outcome = run_here([run])["base"]
    assert outcome.state == "failed" and "trains there" in outcome.message
    assert not run.run_dir.is_claimed


# --- evaluation ------------------------------------------------------------------------------


@pytest.fixture
def evaluated(monkeypatch):
    """What ``trained.evaluate`` was called with; training leaves a result at once."""
    calls = []

    def fake_train(config, workdir, **_):
        workdir.mkdir(parents=True)
        files.write_json(workdir / "config.json", json.loads(config.to_json()))
        files.write_json(workdir / "result.json", {"accuracy": 0.5})
        calls.append("train")

    def fake_evaluate(workdir, config, *, should_stop, **keywords):
        calls.append(keywords)
        if should_stop():
            raise processes.Stopped("in the evaluation")

    monkeypatch.setattr(train, "train", fake_train)
    monkeypatch.setattr(trained, "evaluate", fake_evaluate)
    return calls


def test_each_run_is_evaluated_once_as_asked(tmp_path, evaluated):
    asked = {"corrupted": True, "examples": 10}
    runs = [make_run(tmp_path)]
    assert states(run_here(runs)) == {"base": "done"}
    assert states(run_here(runs, after(1), asked)) == {"base": "stopped"}
    assert states(run_here(runs, evaluation=asked)) == {"base": "done"}
    assert states(run_here(runs, evaluation=asked)) == {"base": "skipped"}
    assert states(run_here(runs)) == {"base": "skipped"}
    assert evaluated == ["train", asked, asked]


# --- the command -----------------------------------------------------------------------------


def sweep(workdir, *arguments):
    return helpers.command(
        "-m", "experiments.sweep", *helpers.flags(), f"--workdir={workdir}", *arguments
    )


def test_the_command_names_failed_runs_and_its_runs_are_tabled(tmp_path):
    done = sweep(tmp_path, "--axes=labels.rule=autolabel,none;seed=3")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[1/2] labels.rule=autolabel,seed=3: done in ")
    assert lines[-2].startswith("failed: labels.rule=none,seed=3: labels.rule: got 'none'")
    assert lines[-1] == f"1 of 2 runs done, 1 failed; in {tmp_path}"
    assert "Traceback" not in done.stdout + done.stderr
    tables = helpers.command("-m", "experiments.tables", tmp_path)
    assert tables.returncode == 0 and "autolabel" in tables.stdout


def test_the_command_stops_when_its_time_is_up(tmp_path):
    done = sweep(tmp_path, "--axes=seed=0,1", "--max_minutes=0")
    assert done.returncode == 75, done.stderr
    assert "0 of 2 runs done, 2 to do" in done.stdout
    done = sweep(tmp_path, "--axes=seed=0", "--attacks=pgd")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --attacks: got pgd, expected one of:")


def test_a_folder_takes_one_sweep_at_a_time_and_none_if_it_is_a_run(tmp_path, alone):
    done = sweep(alone, "--axes=seed=0")
    assert done.returncode == 1
    assert f"--workdir={alone} is the folder of one run" in done.stderr
    (tmp_path / ".sweep").mkdir()
    with files.lock(tmp_path / ".sweep" / "sweep.lock"):
        done = sweep(tmp_path, "--axes=seed=0")
    assert done.returncode == 1
    assert f"--workdir={tmp_path}: another sweep is running there (process " in done.stderr


# --- what is shown ---------------------------------------------------------------------------


def write_run(run, epochs=1, **figures):
    workdir = run.run_dir.path
    workdir.mkdir(parents=True)
    line = {"calibration_nll": 0.1234, "calibration_ece": 0.05}
    lines = [json.dumps({"epoch": e, **line}) + "\n" for e in range(epochs)]
    (workdir / "metrics.jsonl").write_text("".join(lines) + '{"epoch": 9, "cut o')
    files.write_json(workdir / "result.json", figures)


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_of_a_sweep(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr(sweep_board, "EVERY", 0.01)
    runs = [make_run(tmp_path, seed=s) for s in range(4)]
    write_run(runs[0], accuracy=0.875, ece=0.0312, nll=0.5)
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    text, told = io.StringIO(), []
    board = Board(
        runs,
        processes.Stop(),
        tell=lambda *ended: told.append(ended),
        console=Console(file=text, force_terminal=terminal, width=120),
    )
    running = "1 of 4 runs done, 1 failed, 1 running, 1 to do"
    with board.shown():
        for outcome in (Outcome("done"), None, Outcome("failed", "why [1]")):
            run = board.begin()
            if outcome:
                board.end(run, outcome)
        assert board.summary() == running
        deadline = time.monotonic() + 30
        while "epoch 1/2" not in text.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = text.getvalue()
    assert "[1/4] seed=0: done in 0.0 s: accuracy 87.50%, ece 3.12%, nll 0.5000" in shown
    assert "[2/4] seed=2: failed in 0.0 s: why [1]" in shown
    assert "seed=1 (epoch 1/2)" in shown
    assert terminal or f"{running}: seed=1 (epoch 1/2)" in shown.splitlines()
    assert ("\x1b[" in shown) == terminal
    assert told == [(runs[0], Outcome("done")), (runs[2], Outcome("failed", "why [1]"))]
