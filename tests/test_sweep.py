"""Sweeps: runs in them are what they are alone, however they are stopped, killed or shared."""

import io
import json
import os
import signal
import socket
import time

import helpers
import pytest
from rich.console import Console

from autolabel_jax import files, train, trained
from experiments.sweeping import board as sweep_board
from experiments.sweeping import job as sweep_job
from experiments.sweeping import local as sweep_local
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, JobList, Outcome, Stop

pytestmark = pytest.mark.xdist_group("sweeps")


def make_job(root, evaluation=None, **changes) -> Job:
    """A job of the small config; ``seed`` and the like as in helpers.small_config."""
    settings = {name.replace("__", "."): value for name, value in changes.items()}
    run = sweep_runs.make_run(helpers.small_config(), settings)
    return Job(run.name, str(root), run.settings, run.config.to_json(), evaluation or {})


def quiet_board(source) -> Board:
    return Board(source, Console(file=io.StringIO()))


def run_here(jobs, stop=None) -> Board:
    source = JobList(jobs)
    board = quiet_board(source)
    sweep_local.run(source, board, stop or Stop())
    return board


def states(board) -> dict:
    return {name: outcome.state for name, outcome in board.outcomes.items()}


# --- runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Folder of a run outside of any sweep."""
    workdir = tmp_path_factory.mktemp("sweep") / "alone"
    train.train(helpers.small_config(seed=3), workdir, progress=False)
    return workdir


def test_a_run_is_what_it_is_alone_and_is_skipped_afterwards(tmp_path, alone):
    jobs = [make_job(tmp_path, labels__rule="none"), make_job(tmp_path, seed=3)]
    board = run_here(jobs)
    assert states(board) == {"labels.rule=none": "failed", "seed=3": "done"}
    message = board.outcomes["labels.rule=none"].message
    assert "labels.rule: got 'none', expected one of: one_hot" in message
    assert helpers.read_metrics(tmp_path / "seed=3") == helpers.read_metrics(alone)
    result, expected = (
        files.read_json(folder / "result.json") for folder in (tmp_path / "seed=3", alone)
    )
    assert result | {"seconds": 0} == expected | {"seconds": 0}
    before = (tmp_path / "seed=3" / "result.json").stat().st_mtime_ns
    again = run_here(jobs)
    assert states(again) == {"labels.rule=none": "failed", "seed=3": "skipped"}
    assert (tmp_path / "seed=3" / "result.json").stat().st_mtime_ns == before
    other = json.loads(jobs[1].config) | {"batch_size": 8}
    changed = Job("seed=3", str(tmp_path), {}, json.dumps(other), {})
    outcome = run_here([changed]).outcomes["seed=3"]
    assert outcome.state == "failed" and "batch_size: 16 there, 8 asked for" in outcome.message


def test_a_damaged_result_is_that_of_its_run_alone(tmp_path):
    jobs = [make_job(tmp_path, seed=3), make_job(tmp_path, seed=4)]
    assert set(states(run_here(jobs)).values()) == {"done"}
    path = tmp_path / "seed=3" / "result.json"
    path.write_text("{")
    (tmp_path / "seed=4" / "sweep.json").write_text("[]")
    board = run_here(jobs)
    assert states(board) == {"seed=3": "failed", "seed=4": "skipped"}
    assert board.outcomes["seed=3"].message.startswith(f"{path}: cannot be read as a JSON object")


class After(Stop):
    """Stops when asked for the n-th time."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def __call__(self):
        self.n -= 1
        return self.n < 0


def test_a_stopped_sweep_goes_on_to_the_same_bits(tmp_path, alone):
    jobs = [make_job(tmp_path, seed=3), make_job(tmp_path, seed=4)]
    assert states(run_here(jobs, After(4))) == {"seed=3": "stopped"}
    assert not (jobs[0].workdir / "result.json").exists()
    assert states(run_here(jobs[:1])) == {"seed=3": "done"}
    assert helpers.read_metrics(jobs[0].workdir) == helpers.read_metrics(alone)
    helpers.assert_same_bits(
        helpers.last_checkpoint(jobs[0].workdir), helpers.last_checkpoint(alone)
    )


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_job, "PATIENCE", 0.1)
    job = make_job(tmp_path)
    with sweep_job.lock(job):
        outcome = sweep_job.attempt(job, Stop())
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert outcome == Outcome("failed", f"another process trains this run (held by {holder})")
    assert not job.workdir.exists()


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

    def fake_evaluate(workdir, config, **keywords):
        calls.append(keywords)

    monkeypatch.setattr(train, "train", fake_train)
    monkeypatch.setattr(trained, "evaluate", fake_evaluate)
    return calls


def test_each_run_is_evaluated_once_as_asked(tmp_path, evaluated):
    asked = {"corrupted": True, "examples": 10}
    assert states(run_here([make_job(tmp_path)])) == {"base": "done"}
    assert states(run_here([make_job(tmp_path, asked)])) == {"base": "done"}
    assert states(run_here([make_job(tmp_path, asked)])) == {"base": "skipped"}
    assert states(run_here([make_job(tmp_path)])) == {"base": "skipped"}
    assert evaluated == ["train", asked]


def test_an_evaluation_is_cut_off_when_the_sweep_stops(tmp_path, evaluated, monkeypatch):
    monkeypatch.setattr(trained, "evaluate", lambda *_, **__: time.sleep(60))
    before, began = signal.getsignal(signal.SIGALRM), time.monotonic()
    stop = Stop(lambda: time.monotonic() > began + 0.7)
    board = run_here([make_job(tmp_path, {"corrupted": True})], stop)
    assert states(board) == {"base": "stopped"}
    assert time.monotonic() - began < 30
    assert sweep_job.look(make_job(tmp_path, {"corrupted": True})) is None
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_signal_is_a_reason_to_stop():
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    stop = Stop()
    stop.install()
    try:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.signal == signal.SIGTERM
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


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
    with pytest.raises(ValueError, match=f"--workdir={alone} is the folder of one run"):
        sweep_job.exclusive(alone)
    with (
        sweep_job.exclusive(tmp_path),
        pytest.raises(ValueError, match=f"--workdir={tmp_path}: another sweep is running"),
        sweep_job.exclusive(tmp_path),
    ):
        pass
    with sweep_job.exclusive(tmp_path):
        pass


# --- what is shown ---------------------------------------------------------------------------


def write_run(job, epochs=1, **figures):
    job.workdir.mkdir(parents=True)
    line = {"calibration_nll": 0.1234, "calibration_ece": 0.05}
    lines = [json.dumps({"epoch": e, **line}) + "\n" for e in range(epochs)]
    (job.workdir / "metrics.jsonl").write_text("".join(lines) + '{"epoch": 9, "cut o')
    files.write_json(job.workdir / "result.json", figures)


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_of_a_sweep(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr(sweep_board, "EVERY", 0.01)
    jobs = [make_job(tmp_path, seed=s) for s in range(4)]
    write_run(jobs[0], accuracy=0.875, ece=0.0312, nll=0.5)
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    text = io.StringIO()
    board = Board(JobList(jobs), Console(file=text, force_terminal=terminal, width=120))
    running = "1 of 4 runs done, 1 failed, 1 running, 1 to do"
    with board:
        for job, outcome in zip(jobs, (Outcome("done"), None, Outcome("failed", "why [1]"))):
            board.started(job)
            if outcome:
                board.finished(job, outcome)
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
    assert board.failures() == ["failed: seed=2: why [1]"]
