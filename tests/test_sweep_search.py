"""Search over ranges, and sweeps on a Ray cluster; skipped where Optuna or Ray is not installed."""

import io
import json

import helpers
import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from autolabel_jax import augment
from configs import base
from experiments.sweeping import pool as sweep_pool
from experiments.sweeping import search as sweep_search
from experiments.sweeping.board import Board
from experiments.sweeping.job import Job, Outcome, Stop
from experiments.sweeping.search import OptunaSource, Range

pytestmark = pytest.mark.xdist_group("sweeps")

AXES = "labels.alpha=log:.01..10;buckets.num=1..4"


def test_ranges_and_choices_are_read():
    space = sweep_search.parse_space(AXES + ";augment.severity=1..5;flip=true,false", base.base())
    assert space == {
        "labels.alpha": Range(0.01, 10.0, log=True, integer=False),
        "buckets.num": Range(1, 4, log=False, integer=True),
        "augment.severity": Range(1.0, 5.0, log=False, integer=False),
        "flip": [True, False],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels.rule=a..b", "of type str, got a range; list values"),
        ("labels.alpha=3..1", "the lower number first"),
        ("labels.alpha=log:0..1", "two positive numbers"),
        ("buckets.num=1..2.5", "buckets.num: got '2.5'"),
    ],
)
def test_ranges_that_cannot_be(text, message):
    with pytest.raises(ValueError, match=message):
        sweep_search.parse_space(text, base.base())


def test_every_augmentation_has_a_default_space_that_can_be_read():
    for name in augment.TABLE:
        config = base.base()
        config.augment.name = name
        space = sweep_search.parse_space("", config)
        assert {"labels.alpha", "buckets.num"} <= set(space)
        assert len(space) == (2 if name in ("none", "given") else 3)


def test_random_draws_have_their_distributions():
    space = {
        "alpha": Range(0.01, 10.0, log=True, integer=False),
        "num": Range(1, 4, log=False, integer=True),
        "lognum": Range(1, 3, log=True, integer=True),
        "rule": ["a", "b"],
    }
    drawn = sweep_search.random_settings(space, 4000, seed=0)
    alpha = [settings["alpha"] for settings in drawn]
    assert stats.kstest(alpha, stats.loguniform(0.01, 10).cdf).pvalue > 1e-3
    for name, shares in (
        ("num", [0.25] * 4),
        # n has the share of [n - 1/2, n + 1/2) in the logarithm.
        ("lognum", np.diff(np.log([0.5, 1.5, 2.5, 3.5])) / np.log(7)),
        ("rule", [0.5, 0.5]),
    ):
        values, counts = np.unique([settings[name] for settings in drawn], return_counts=True)
        assert len(values) == len(shares)
        assert stats.chisquare(counts, 4000 * np.array(shares)).pvalue > 1e-3
    assert sweep_search.random_settings(space, 10, seed=0) == drawn[:10]
    assert sweep_search.random_settings(space, 10, seed=1) != drawn[:10]


# --- Optuna ----------------------------------------------------------------------------------


def source_of(root, trials, axes=AXES, objective="calibration_nll") -> OptunaSource:
    def make_job(run):
        return Job(run.name, str(root), run.settings, run.config.to_json(), {})

    config = base.base()
    space = sweep_search.parse_space(axes, config)
    return OptunaSource(space, trials, objective, config, make_job, root)


def figure(job: Job) -> float:
    """A bowl with its lowest point at alpha 1 and two buckets."""
    alpha, num = job.settings["labels.alpha"], job.settings["buckets.num"]
    return float(np.log(alpha) ** 2 + (num - 2) ** 2)


def pretend(job: Job) -> Outcome:
    """Leaves what a training would: a calibration figure."""
    job.workdir.mkdir(parents=True, exist_ok=True)
    line = {"epoch": 0, "calibration_nll": figure(job), "calibration_ece": 0.1}
    (job.workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return Outcome("done")


def search(source, attempts, stop=None) -> Board:
    board = Board(source, Console(file=io.StringIO()))
    sweep_pool.run_threads(attempts, source, board, stop or Stop(), on_stop=lambda: None)
    return board


def trials_of(root):
    """As Optuna itself reads the file."""
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{root}/.sweep/study.db"
    return optuna.load_study(study_name="sweep", storage=storage).trials


def test_optuna_hears_every_figure_and_goes_on(tmp_path):
    pytest.importorskip("optuna")
    stop = Stop()

    def third_stops(job):
        if len(board_jobs) == 2:
            stop.tell()
            return Outcome("stopped")
        board_jobs.append(job)
        return Outcome("failed") if len(board_jobs) == 1 else pretend(job)

    board_jobs = []
    search(source_of(tmp_path, 6), [third_stops], stop)
    assert [t.state.name for t in trials_of(tmp_path)] == ["FAIL", "COMPLETE", "RUNNING"]
    board = search(source_of(tmp_path, 6), [pretend, pretend])
    trials = trials_of(tmp_path)
    assert [t.state.name for t in trials] == ["FAIL"] + ["COMPLETE"] * 5
    for trial in trials[1:]:
        alpha, num = trial.params["labels.alpha"], trial.params["buckets.num"]
        assert 0.01 <= alpha <= 10 and 1 <= num <= 4
        assert trial.value == pytest.approx(np.log(alpha) ** 2 + (num - 2) ** 2, rel=0.02, abs=2e-3)
    # The finished run of the first command is in the table too; the failed one is not.
    assert len(board.outcomes) == 5 and board.total == 5
    lowest = min(trial.value for trial in trials[1:])
    line = sweep_search.best_line(board.jobs, board.outcomes, "calibration_nll")
    assert line.startswith(f"lowest calibration_nll: {lowest:.4f}, buckets.num=")


def test_optuna_on_a_space_of_two_runs_trains_each_once(tmp_path):
    pytest.importorskip("optuna")
    axes = "labels.alpha=1.0;buckets.num=1..2"
    source = source_of(tmp_path, 8, axes)
    board = search(source, [pretend, pretend])
    assert all(trial.state.name == "COMPLETE" for trial in trials_of(tmp_path))
    assert len(trials_of(tmp_path)) == 8
    assert set(board.outcomes) <= {f"buckets.num={n},labels.alpha=1.0" for n in (1, 2)}


def test_the_study_of_another_search_is_refused(tmp_path):
    pytest.importorskip("optuna")
    source_of(tmp_path, 1)
    source_of(tmp_path, 5)
    for changes in ({"axes": AXES + ";seed=1"}, {"objective": "calibration_ece"}):
        with pytest.raises(ValueError, match="holds a search with another config"):
            source_of(tmp_path, 1, **changes)


# --- Ray -------------------------------------------------------------------------------------


def test_a_ray_cluster_of_two_workers(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # One core a node, and a worker needs one: two workers are on two nodes.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        done = helpers.command(
            *("-m", "experiments.sweep", *helpers.flags(), f"--workdir={tmp_path}"),
            *("--axes=labels.rule=one_hot,none;seed=0,1", f"--ray={cluster.address}"),
        )
    finally:
        cluster.shutdown()
    assert done.returncode == 1, done.stderr
    assert "2 of 4 runs done, 2 failed" in done.stdout
    assert "failed: labels.rule=none,seed=1: labels.rule: got 'none'" in done.stdout
    for seed in (0, 1):
        lines = helpers.read_metrics(tmp_path / f"labels.rule=one_hot,seed={seed}")
        assert [line["epoch"] for line in lines] == [0, 1]
