"""Trains or resumes every run of a sweep, and evaluates each run if asked to.

    python -m experiments.sweep --config=configs/digits_augmix.py --workdir=runs/sweep
        [--sweep=NAME] [--axes="labels.rule=one_hot,autolabel;seed=0..4"] [--processes=N]
        [--max_minutes=9] [--corruptions] [--attacks=fgsm,pgd20] [--examples=1000]
        [--search=random|optuna] [--trials=20] [--ray[=ADDRESS]]

The runs are those that the config's ``get_sweep(add)`` adds, times the axes. Each run has a folder
in --workdir, named by its settings. Running the same command again skips finished runs and resumes
the others. On one device all runs share one process. Exit code: 0, all done; 1, some failed; 75,
stopped by --max_minutes, run the same command to resume. See docs/sweeps.md.
"""

import pathlib
import sys
import time

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import config_flag, launch
from experiments.sweeping import devices as sweep_devices
from experiments.sweeping import evaluation as sweep_evaluation
from experiments.sweeping import local as sweep_local
from experiments.sweeping import pool as sweep_pool
from experiments.sweeping import ray_cluster as sweep_ray
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping import search as sweep_search
from experiments.sweeping.board import Board
from experiments.sweeping.job import BUSY, STOPPED, Job, Stop

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that holds the folders of all runs.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets; sets config.data_dir.")
_SWEEP = flags.DEFINE_string("sweep", None, "Name to pass to the config's get_sweep(add, name).")
_AXES = flags.DEFINE_string(
    "axes", "", "Values by field: 'labels.rule=one_hot,autolabel;seed=0..4'."
)
_PROCESSES = flags.DEFINE_integer(
    "processes", 0, "Number of processes (0 = one per GPU, or one per two cores).", lower_bound=0
)
_RAY = flags.DEFINE_string(
    "ray", None, "Address of a Ray cluster (empty = the local one or a new one)."
)
_SEARCH = flags.DEFINE_enum("search", None, ["random", "optuna"], "Search the ranges of --axes.")
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


def make_source(config: ConfigDict, root: pathlib.Path) -> sweep_local.Source:
    """Makes the list of runs, or the search that proposes them."""
    evaluation = sweep_evaluation.keywords()

    def make_job(run: sweep_runs.SweepRun) -> Job:
        return Job(run.name, str(root), run.settings, run.config.to_json(), evaluation)

    if _SEARCH.value is None:
        settings = all_settings(config)
    else:
        if _SWEEP.value is not None:
            raise ValueError(f"--sweep={_SWEEP.value}: a search takes its ranges from --axes")
        space = sweep_search.parse_space(_AXES.value, config)
        if _SEARCH.value == "optuna":
            arguments = space, _TRIALS.value, _OBJECTIVE.value, config, make_job, root
            return sweep_search.OptunaSource(*arguments)
        settings = sweep_search.random_settings(space, _TRIALS.value, config.seed)
    jobs = [make_job(run) for run in sweep_runs.make_runs(config, settings)]
    return sweep_local.JobList(jobs)


def main(argv: list[str]) -> None:
    minutes = _MAX_MINUTES.value
    stop = Stop(None if minutes is None else time.time() + 60 * minutes)
    launch.no_more(argv)
    config = _CONFIG.value
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    root = pathlib.Path(_WORKDIR.value)
    source = make_source(config, root)
    stop.install()
    with Board(source) as board:
        execute(source, root, board, stop)
    board.print_end()
    print(f"{board.summary()}; in {root}")
    if _SEARCH.value is not None:
        print(sweep_search.best_line(board.jobs, board.outcomes, _OBJECTIVE.value))
    sys.exit(exit_code(board, stop))


def execute(source: sweep_local.Source, root: pathlib.Path, board: Board, stop: Stop) -> None:
    """Runs all jobs: on a cluster, in this process, or in several processes."""
    if _RAY.value is not None:
        sweep_ray.run_on_cluster(_RAY.value, _PROCESSES.value, source, board, stop)
        return
    places = sweep_devices.find_places(_PROCESSES.value)[: board.total]
    if len(places) == 1:
        sweep_local.run_here(source, board, stop)
    else:
        sweep_pool.run_processes(places, root, source, board, stop)


def exit_code(board: Board, stop: Stop) -> int:
    """Returns 0: all done; 1: some failed; 128 + n: signal n; 75: stopped, can be resumed."""
    if stop.signal is not None:
        return 128 + stop.signal
    if board.failures():
        return 1
    cut_off = stop() and len(board.outcomes) < board.total
    return TRY_AGAIN if cut_off or board.count(STOPPED, BUSY) else 0


if __name__ == "__main__":
    # Without this, a bare --ray would take the next argument as its value.
    sys.argv = ["--ray=" if argument == "--ray" else argument for argument in sys.argv]
    launch.run(main, required=["config", "workdir"])
