"""Trains or resumes every run of a sweep, and evaluates each run if asked to.

    python -m experiments.sweep --config=configs/digits_augmix.py --workdir=runs/sweep
        [--sweep=NAME] [--axes="labels.rule=one_hot,autolabel;seed=0..4"]
        [--processes=2] [--ray=ADDRESS] [--search=tpe|random] [--trials=20]
        [--max_minutes=9] [--corruptions] [--attacks=fgsm,pgd20] [--examples=1000]

The runs are those that the config's ``get_sweep(add)`` adds, times the axes. Each run has a folder
in --workdir, named by its settings. Running the same command again skips finished runs and resumes
the others. Several processes need Ray, searches need Optuna: requirements-sweep.txt. Exit code: 0,
all done; 1, some failed; 75, stopped by --max_minutes, run the same command to resume. See
docs/sweeps.md.
"""

import pathlib
import sys
import time

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import config_flag, launch
from experiments.sweeping import evaluation as sweep_evaluation
from experiments.sweeping import job as sweep_job
from experiments.sweeping import local as sweep_local
from experiments.sweeping import ray_workers
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping import search as sweep_search
from experiments.sweeping.board import Board
from experiments.sweeping.job import DONE, FAILED, SKIPPED, Job, Stop

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that holds the folders of all runs.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets; sets config.data_dir.")
_SWEEP = flags.DEFINE_string("sweep", None, "Name to pass to the config's get_sweep(add, name).")
_AXES = flags.DEFINE_string(
    "axes", "", "Values by field: 'labels.rule=one_hot,autolabel;seed=0..4'."
)
_PROCESSES = flags.DEFINE_integer(
    "processes",
    None,
    "Number of processes. Default: 1, or with --ray one per GPU or per two cores.",
    lower_bound=1,
)
_RAY = flags.DEFINE_string("ray", None, "Address of a Ray cluster to run on.")
_SEARCH = flags.DEFINE_enum(
    "search", None, sweep_search.SAMPLERS, "Search the ranges of --axes with Optuna."
)
_TRIALS = flags.DEFINE_integer("trials", 20, "Total number of runs of a search.", lower_bound=1)
_OBJECTIVE = flags.DEFINE_enum(
    "objective", "calibration_nll", sweep_search.OBJECTIVES, "Metric that a search minimises."
)
_MAX_MINUTES = flags.DEFINE_float("max_minutes", None, "Save and stop after this many minutes.")


def all_settings(config: ConfigDict) -> list[sweep_runs.Settings]:
    """Returns the settings of get_sweep times the axes; the axes alone if no sweep is named."""
    axes = sweep_runs.grid(sweep_runs.parse_axes(_AXES.value, config))
    if _AXES.value and _SWEEP.value is None:
        return axes
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    module = sweep_runs.load_module(path)
    return sweep_runs.product(sweep_runs.from_module(module, _SWEEP.value), axes)


def make_source(config: ConfigDict, root: pathlib.Path) -> sweep_job.Source:
    """Makes the list of runs, or the search that proposes them."""
    evaluation = sweep_evaluation.keywords()

    def make_job(run: sweep_runs.SweepRun) -> Job:
        return Job(run.name, str(root), run.settings, run.config.to_json(), evaluation)

    if _SEARCH.value is None:
        runs = sweep_runs.make_runs(config, all_settings(config))
        return sweep_job.JobList([make_job(run) for run in runs])
    if _SWEEP.value is not None:
        raise ValueError(f"--sweep={_SWEEP.value}: a search takes its ranges from --axes")
    return sweep_search.Search(
        config,
        make_job,
        root,
        axes=_AXES.value,
        trials=_TRIALS.value,
        sampler=_SEARCH.value,
        objective=_OBJECTIVE.value,
    )


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    config, root = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    with sweep_job.exclusive(root):
        sys.exit(sweep(config, root))


def sweep(config: ConfigDict, root: pathlib.Path) -> int:
    """Runs the sweep that the flags describe, and returns the exit code."""
    minutes = _MAX_MINUTES.value
    deadline = float("inf") if minutes is None else time.time() + 60 * minutes
    stop = Stop(lambda: time.time() >= deadline)
    source = make_source(config, root)
    stop.install()
    with Board(source) as board:
        if _RAY.value is None and _PROCESSES.value in (None, 1):
            sweep_local.run(source, board, stop)
        else:
            ray_workers.run(_RAY.value, _PROCESSES.value, source, board, stop)
    for line in (*board.failures(), f"{board.summary()}; in {root}"):
        print(line)
    if isinstance(source, sweep_search.Search):
        print(source.best_line())
    if stop.signal is not None:
        return 128 + stop.signal
    if board.count(FAILED):
        return 1
    return 0 if board.count(DONE, SKIPPED) == source.total else TRY_AGAIN


if __name__ == "__main__":
    launch.run(main, required=["config", "workdir"])
