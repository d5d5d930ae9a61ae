"""--vmap_seeds: which runs share a program, and what the sweep says of each."""

import io

import helpers
import pytest
from rich.console import Console

from autolabel_jax import metric_writer, train, train_seeds
from experiments.sweeping import job as sweep_job
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping import seeds as sweep_seeds
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, Stop
from experiments.sweeping.local import JobList

pytestmark = pytest.mark.xdist_group("sweeps")


def make_jobs(root, evaluation=None, **axes):
    settings = sweep_runs.grid({name.replace("__", "."): axis for name, axis in axes.items()})
    runs = sweep_runs.make_runs(helpers.small_config(epochs=1), settings)
    return [Job(r.name, str(root), r.settings, r.config.to_json(), evaluation or {}) for r in runs]


def run_here(jobs, stop=None):
    source = JobList(jobs)
    board = Board(source, Console(file=io.StringIO()))
    sweep_seeds.run_here(source, board, stop or Stop())
    return {name: outcome.state for name, outcome in board.outcomes.items()}


@pytest.fixture
def seeds_of_programs(monkeypatch):
    """The seeds of each call of train_seeds, which trains nothing; the last of a call diverges."""
    calls = []

    def leave_result(config, workdir, **_):
        workdir.mkdir(parents=True)
        (workdir / "config.json").write_text(config.to_json())
        metric_writer.write_json(workdir / "result.json", {"seed": config.seed})
        return {"seed": config.seed}

    def fake(configs, workdirs, **_):
        calls.append([config.seed for config in configs])
        pairs = list(zip(configs, workdirs, strict=True))
        found = [leave_result(*pair) for pair in pairs[:-1]]
        return [*found, train.NonFiniteLossError("the loss is nan")]

    def alone(config, workdir, **_):
        calls.append(config.seed)
        return leave_result(config, workdir)

    monkeypatch.setattr(train_seeds, "train_seeds", fake)
    monkeypatch.setattr(train, "train", alone)
    return calls


def test_runs_that_differ_in_the_seed_alone_are_a_group(tmp_path):
    jobs = make_jobs(tmp_path, seed=[0, 1], labels__rule=["autolabel", "one_hot"])
    names = [[job.name for job in group] for group in sweep_seeds.groups(jobs)]
    assert names == [
        [f"labels.rule={r},seed={s}" for s in (0, 1)] for r in ("autolabel", "one_hot")
    ]
    evaluated = make_jobs(tmp_path, {"corrupted": True}, seed=[2])
    assert len(sweep_seeds.groups(make_jobs(tmp_path, seed=[0, 1]) + evaluated)) == 2


def test_finished_runs_are_skipped_and_one_that_is_left_trains_alone(tmp_path, seeds_of_programs):
    jobs = make_jobs(tmp_path, seed=[0, 1, 2])
    assert run_here(jobs) == {"seed=0": "done", "seed=1": "done", "seed=2": "failed"}
    assert seeds_of_programs == [[0, 1, 2]]
    assert metric_writer.read_json(jobs[0].workdir / "sweep.json")["settings"] == {"seed": 0}
    assert not (jobs[2].workdir / "sweep.json").exists()
    assert run_here(jobs) == {"seed=0": "skipped", "seed=1": "skipped", "seed=2": "done"}
    assert seeds_of_programs == [[0, 1, 2], 2]


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path, seeds_of_programs, monkeypatch):
    monkeypatch.setattr(sweep_job, "PATIENCE", 0.1)
    jobs = make_jobs(tmp_path, seed=[0, 1, 2])
    with sweep_job.lock(jobs[1]) as mine:
        assert mine
        found = run_here(jobs)
    assert found == {"seed=0": "done", "seed=1": "busy", "seed=2": "failed"}
    assert seeds_of_programs == [[0, 2]]


def test_a_group_that_stops_or_fails_says_so_of_each_run(tmp_path):
    stop = Stop()
    jobs = make_jobs(tmp_path, seed=[0, 1], labels__rule=["none"])
    assert set(run_here(jobs).values()) == {"failed"}
    assert "labels.rule: got 'none'" in jobs[1].log.read_text()
    stop.tell()
    assert run_here(jobs, stop) == {}
    assert sweep_seeds.attempt(jobs[:0], stop) == []


def test_the_command_trains_evaluates_and_refuses_what_does_not_go_with_it(tmp_path):
    command = ("-m", "experiments.sweep", *helpers.flags(epochs=1), f"--workdir={tmp_path}")
    done = helpers.command(*command, "--vmap_seeds", "--axes=seed=3,4", "--attacks=fgsm")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs done" in done.stdout
    for seed in (3, 4):
        found = metric_writer.read_json(tmp_path / f"seed={seed}" / "result.json")
        assert found["seed"] == seed and 0 <= found["adversarial_accuracy"] <= 1
    done = helpers.command(*command, "--vmap_seeds", "--search=random")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --vmap_seeds: got it with --search, but seeds share")
