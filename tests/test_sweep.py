"""Sweeps: runs in them are what they are alone, however they are stopped, killed or shared."""

import io
import json
import os
import signal
import sys
import threading
import time

import helpers
import numpy as np
import pytest
from rich.console import Console

from autolabel_jax import files, train, trained
from experiments.sweeping import job as sweep_job
from experiments.sweeping import local as sweep_local
from experiments.sweeping import pool as sweep_pool
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.board import Board
from experiments.sweeping.devices import Place
from experiments.sweeping.job import Job, Outcome, Stop
from experiments.sweeping.local import JobList

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
    sweep_local.run_here(source, board, stop or Stop())
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
    with sweep_job.lock(job) as mine:
        assert mine
        outcome = sweep_job.attempt(job, Stop())
    assert outcome.state == "busy"
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


def test_an_evaluation_is_cut_off_at_the_deadline(tmp_path, evaluated, monkeypatch):
    monkeypatch.setattr(trained, "evaluate", lambda *_, **__: time.sleep(60))
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    began, stop = time.monotonic(), Stop(time.time() + 0.5)
    stop.install()
    try:
        board = run_here([make_job(tmp_path, {"corrupted": True})], stop)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert states(board) == {"base": "stopped"}
    assert time.monotonic() - began < 30
    assert sweep_job.look(make_job(tmp_path, {"corrupted": True})) is None


# --- processes -------------------------------------------------------------------------------


def test_workers_hold_no_core_of_each_other_and_one_that_dies_fails_its_run(tmp_path):
    worker = sweep_pool.Worker(Place(cores=(min(os.sched_getaffinity(0)),)), tmp_path / "log")
    job = make_job(tmp_path, epochs=100000)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(worker.attempt(job)))
    thread.start()
    wait_for(lambda: (job.workdir / "metrics.jsonl").exists())
    assert len(os.sched_getaffinity(worker._process.pid)) == 1
    worker._process.kill()
    thread.join()
    assert outcomes[0].state == "failed" and "SIGKILL" in outcomes[0].message
    # A new process takes the next job, and the end of its input makes it save and stop.
    thread = threading.Thread(target=lambda: outcomes.append(worker.attempt(job)))
    thread.start()
    place = (job.workdir / "checkpoints").iterdir
    newest = max((int(p.name) for p in place() if p.name.isdigit()), default=-1)
    wait_for(lambda: any(p.name.isdigit() and int(p.name) > newest for p in place()))
    worker.close()
    worker.wait()
    thread.join()
    assert outcomes[1].state == "stopped"
    assert "run the same command to resume" in outcomes[1].message


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_command_with_two_processes_and_tables_of_it(tmp_path, alone):
    arguments = ("-m", "experiments.sweep", *helpers.flags(), f"--workdir={tmp_path}")
    done = helpers.command(
        *arguments, "--axes=labels.rule=autolabel,none;seed=3,4", "--processes=2"
    )
    assert done.returncode == 1, done.stderr
    assert "2 of 4 runs done, 2 failed" in done.stdout
    assert "failed: labels.rule=none,seed=3: labels.rule: got 'none'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    there = helpers.read_metrics(tmp_path / "labels.rule=autolabel,seed=3")
    for a, b in zip(helpers.read_metrics(alone), there, strict=True):
        for field in a:
            np.testing.assert_allclose(a[field], b[field], rtol=1e-4, err_msg=field)
    tables = helpers.command("-m", "experiments.tables", tmp_path)
    assert tables.returncode == 0 and "autolabel" in tables.stdout


def test_the_command_stops_when_its_time_is_up_and_tells_mistakes_in_one_line(tmp_path):
    arguments = ("-m", "experiments.sweep", *helpers.flags(), f"--workdir={tmp_path}")
    done = helpers.command(*arguments, "--axes=seed=0,1", "--max_minutes=0")
    assert done.returncode == 75, done.stderr
    assert "0 of 2 runs done, 2 to do" in done.stdout
    done = helpers.command(*arguments, "--axes=seed=0", "--attacks=pgd")
    assert done.returncode == 1 and done.stderr.startswith(
        "error: --attacks: got pgd, expected one of:"
    )


# --- what is shown ---------------------------------------------------------------------------


def write_run(job, epochs=1, **figures):
    job.workdir.mkdir(parents=True)
    line = {"calibration_nll": 0.1234, "calibration_ece": 0.05}
    lines = [json.dumps({"epoch": e, **line}) + "\n" for e in range(epochs)]
    (job.workdir / "metrics.jsonl").write_text("".join(lines) + '{"epoch": 9, "cut o')
    files.write_json(job.workdir / "result.json", figures)


def test_plain_lines_and_a_live_table(tmp_path):
    jobs = [make_job(tmp_path, seed=s) for s in range(3)]
    for job in jobs[:2]:
        write_run(job, accuracy=0.875, ece=0.0312, nll=0.5, seconds=61.2)
    for terminal in (False, True):
        text = io.StringIO()
        board = Board(JobList(jobs), Console(file=text, force_terminal=terminal, width=120))
        with board:
            for job, outcome in zip(jobs, (Outcome("done"), None, Outcome("failed", "why [1]"))):
                board.started(job)
                if outcome:
                    board.finished(job, outcome)
        board.print_end()
        shown = text.getvalue()
        for part in ("seed=0", "87.50", "3.12", "0.1234", "1/2", "61", "running"):
            assert part in shown, (terminal, part)
        assert "failed: seed=2: why [1]" in shown
        assert ("\x1b[" in shown) == terminal
        assert board.summary() == "1 of 3 runs done, 1 failed, 1 running"
    assert sys.stdout is not text
