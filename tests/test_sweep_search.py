"""Search over ranges; skipped where Optuna is not installed."""

import io
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from autolabel_jax import augment
from configs import base
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping import search as sweep_search
from experiments.sweeping.board import Board
from experiments.sweeping.execution import Outcome
from experiments.sweeping.runs import Run
from experiments.sweeping.search import Search

AXES = "labels.alpha=log:.01..10;buckets.num=1..4"


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="Optuna is not installed")


def test_without_optuna_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match="pip install -r requirements-sweep.txt"):
        sweep_search.parse_space(AXES, base.base())


def test_ranges_and_choices_are_read(optuna):
    space = sweep_search.parse_space(AXES + ";augment.severity=1..5;flip=true,false", base.base())
    assert space == {
        "labels.alpha": optuna.distributions.FloatDistribution(0.01, 10.0, log=True),
        "buckets.num": optuna.distributions.IntDistribution(1, 4),
        "augment.severity": optuna.distributions.FloatDistribution(1.0, 5.0),
        "flip": optuna.distributions.CategoricalDistribution([True, False]),
    }


@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels.rule=a..b", "of type str, got a range; list values"),
        ("labels.alpha=3..1", "labels.alpha=3..1: .*low"),
        ("labels.alpha=log:0..1", "labels.alpha=log:0..1: .*low"),
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
        axes = sweep_runs.split_axes(sweep_search.default_space(config))
        assert {"labels.alpha", "buckets.num"} <= set(axes)
        fixed = name in ("none", "given", "auto_augment", "trivial_augment")
        assert len(axes) == (2 if fixed else 3)
        assert all(".." in text for (text,) in axes.values())


def make_search(root, trials, axes=AXES, objective="calibration_nll", sampler="tpe") -> Search:
    settings = {"axes": axes, "trials": trials, "sampler": sampler, "objective": objective}
    return Search(base.base(), root, **settings)


def figure(run: Run) -> float:
    """A bowl with its lowest point at alpha 1 and two buckets."""
    alpha, num = run.settings["labels.alpha"], run.settings["buckets.num"]
    return float(np.log(alpha) ** 2 + (num - 2) ** 2)


def pretend(run: Run) -> Outcome:
    """Leaves what a training would: a calibration figure."""
    workdir = run.run_dir.path
    if workdir.exists():
        return Outcome("skipped")
    workdir.mkdir(parents=True)
    line = {"epoch": 0, "calibration_nll": figure(run), "calibration_ece": 0.1}
    (workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return Outcome("done")


def execute(search: Search, attempt=pretend, stop=lambda: False) -> Board:
    board = Board(search, stop, tell=search.tell, console=Console(file=io.StringIO()))
    while (run := board.begin()) is not None:
        board.end(run, attempt(run))
    return board


def trials_of(optuna, root):
    """As Optuna itself reads the file."""
    storage = f"sqlite:///{root}/.sweep/study.db"
    return optuna.load_study(study_name="sweep", storage=storage).trials


def test_optuna_hears_every_figure_and_goes_on(optuna, tmp_path):
    outcomes = ["failed", "done", "stopped"]

    def first_three(run):
        state = outcomes.pop(0)
        return pretend(run) if state == "done" else Outcome(state)

    board = execute(make_search(tmp_path, 6), first_three, lambda: not outcomes)
    assert [t.state.name for t in trials_of(optuna, tmp_path)] == ["FAIL", "COMPLETE", "RUNNING"]
    assert len(board.outcomes) == 3
    search = make_search(tmp_path, 6)
    board = execute(search)
    trials = trials_of(optuna, tmp_path)
    assert [t.state.name for t in trials] == ["FAIL"] + ["COMPLETE"] * 5
    for trial in trials[1:]:
        alpha, num = trial.params["labels.alpha"], trial.params["buckets.num"]
        assert 0.01 <= alpha <= 10 and 1 <= num <= 4
        assert trial.value == pytest.approx(np.log(alpha) ** 2 + (num - 2) ** 2, rel=0.02, abs=2e-3)
    assert len({trial.params["labels.alpha"] for trial in trials}) == 6  # no draw is repeated
    # The finished run of the first command counts too; the failed one does not.
    assert len(board.outcomes) == len(search) == 5
    lowest = min(trial.value for trial in trials[1:])
    assert search.best_line().startswith(f"lowest calibration_nll: {lowest:.4f}, buckets.num=")


def test_a_search_of_one_seed_proposes_the_same_runs(optuna, tmp_path):
    for folder in ("a", "b"):
        execute(make_search(tmp_path / folder, 4, sampler="random"))
    first, second = ([t.params for t in trials_of(optuna, tmp_path / f)] for f in ("a", "b"))
    assert first == second


def test_on_a_space_of_two_runs_each_is_trained_once(optuna, tmp_path):
    search = make_search(tmp_path, 8, "labels.alpha=1.0;buckets.num=1..2")
    board = execute(search)
    trials = trials_of(optuna, tmp_path)
    assert len(trials) == 8 and all(trial.state.name == "COMPLETE" for trial in trials)
    assert {t.value for t in trials} == {0.0, 1.0}
    assert board.count("done") == 2 and board.count("skipped") == 6
    assert len(board.outcomes) == len(search) == 8


def test_a_grid_runs_every_combination_once_and_resumes(optuna, tmp_path):
    axes = "labels.alpha=0.1,1.0;buckets.num=1,2,3"
    left = [False, False, True]
    execute(make_search(tmp_path, 1, axes, sampler="grid"), stop=lambda: left.pop(0))
    search = make_search(tmp_path, 1, axes, sampler="grid")
    execute(search)
    pairs = [
        (t.params["labels.alpha"], t.params["buckets.num"]) for t in trials_of(optuna, tmp_path)
    ]
    assert sorted(pairs) == [(alpha, num) for alpha in (0.1, 1.0) for num in (1, 2, 3)]
    assert "0.0000, buckets.num=2,labels.alpha=1.0" in search.best_line()


@pytest.mark.usefixtures("optuna")
def test_a_grid_of_a_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match="labels.alpha is a range; --search=grid needs a list"):
        make_search(tmp_path, 1, sampler="grid")


def test_two_trials_of_a_run_that_is_running_get_its_figure(optuna, tmp_path):
    search = make_search(tmp_path, 2, "labels.alpha=1.0;buckets.num=2,2")
    runs = iter(search)
    run = next(runs)
    assert next(runs, None) is None and len(search) == 1
    search.tell(run, pretend(run))
    assert [trial.value for trial in trials_of(optuna, tmp_path)] == [0.0, 0.0]


def test_a_trial_that_was_cut_off_while_it_was_drawn_is_left_out(optuna, tmp_path):
    study = make_search(tmp_path, 2)._study
    study.ask({"buckets.num": optuna.distributions.IntDistribution(1, 4)})
    board = execute(make_search(tmp_path, 2))
    assert [t.state.name for t in trials_of(optuna, tmp_path)] == ["RUNNING", "COMPLETE"]
    assert len(board.outcomes) == 1


@pytest.mark.usefixtures("optuna")
def test_the_study_of_another_search_is_refused(tmp_path):
    make_search(tmp_path, 1)
    make_search(tmp_path, 5)
    for changes in ({"axes": AXES + ";seed=1"}, {"objective": "calibration_ece"}):
        with pytest.raises(ValueError, match="holds a search with another config"):
            make_search(tmp_path, 1, **changes)
