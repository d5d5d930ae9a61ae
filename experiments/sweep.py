"""Trains or resumes every run of a sweep, and evaluates each run if asked to.

    python -m experiments.sweep --config=configs/digits_augmix.py --workdir=runs/sweep
        [--sweep=NAME] [--axes="labels.rule=one_hot,autolabel;seed=0..4"]
        [--processes=2] [--ray=ADDRESS] [--search=tpe|random|grid] [--trials=20]
        [--max_minutes=9] [--corruptions] [--attacks=fgsm,pgd20] [--examples=1000]

The runs are those that the config's ``get_sweep(add)`` adds, times the axes. Each run has a folder
in --workdir, named by its settings. Running the same command again skips finished runs and resumes
the others. Several processes need Ray, searches need Optuna: requirements-sweep.txt. Exit code: 0,
all done; 1, some failed; 75, stopped by --max_minutes, run the same command to resume. See
docs/sweeps.md.
"""

import math
import pathlib
import sys
import time

from absl import flags
from ml_collections import ConfigDict, config_flags

from autolabel_jax import files, processes
from autolabel_jax.run_dir import RunDir
from experiments import config_flag, evaluation_flags, launch
from experiments.sweeping import execution, ray_workers
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.board import Board
from experiments.sweeping.execution import DONE, FAILED, SKIPPED
from experiments.sweeping.runs import Run
from experiments.sweeping.search import OBJECTIVES, SAMPLERS, Search

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
_SEARCH = flags.DEFINE_enum("search", None, SAMPLERS, "Search the ranges of --axes with Optuna.")
_TRIALS = flags.DEFINE_integer("trials", 20, "Total number of runs of a search.", lower_bound=1)
_OBJECTIVE = flags.DEFINE_enum(
    "objective", "calibration_nll", OBJECTIVES, "Metric that a search minimises."
)
_MAX_MINUTES = flags.DEFINE_float("max_minutes", math.inf, "Save and stop after this many minutes.")


def make_runs(config: ConfigDict, root: pathlib.Path) -> list[Run] | Search:
    """Makes the runs of get_sweep times the axes, or the search that proposes them.

    If there are axes and no sweep is named, the axes alone give the runs.
    """
    if _SEARCH.value is None:
        settings = sweep_runs.parse_axes(_AXES.value, config)
        if not _AXES.value or _SWEEP.value is not None:
            path = config_flags.get_config_filename(flags.FLAGS["config"])
            swept = sweep_runs.from_config(path, _SWEEP.value)
            settings = [one | other for one in swept for other in settings]
        return sweep_runs.make_runs(config, settings, root)
    if _SWEEP.value is not None:
        raise ValueError(f"--sweep={_SWEEP.value}: a search takes its ranges from --axes")
    return Search(
        config,
        root,
        axes=_AXES.value,
        trials=_TRIALS.value,
        sampler=_SEARCH.value,
        objective=_OBJECTIVE.value,
    )


def sweep(config: ConfigDict, root: pathlib.Path) -> int:
    """Executes the sweep that the flags describe, and returns the exit code."""
    stop = processes.Stop(time.time() + 60 * _MAX_MINUTES.value)
    runs, evaluation = make_runs(config, root), evaluation_flags.keywords()
    board = Board(runs, stop, **{"tell": runs.tell} if isinstance(runs, Search) else {})
    stop.install()
    with board.shown():
        if _RAY.value is None and _PROCESSES.value in (None, 1):
            while (run := board.begin()) is not None:
                board.end(run, execution.attempt(run, evaluation, stop))
        else:
            ray_workers.execute(board, evaluation, stop, _RAY.value, _PROCESSES.value)
    failed = [f"failed: {name}: {o.message}" for name, o in board.outcomes if o.state == FAILED]
    best = [runs.best_line()] if isinstance(runs, Search) else []
    print("\n".join([*failed, f"{board.summary()}; in {root}", *best]))
    if stop.signal is not None:
        return 128 + stop.signal
    if board.count(FAILED):
        return 1
    return 0 if board.count(DONE, SKIPPED) == len(runs) else TRY_AGAIN


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    config, root = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    if RunDir(root).is_claimed:
        raise ValueError(f"--workdir={root} is the folder of one run; a sweep needs another one")
    with files.lock(root / sweep_runs.FILES / "sweep.lock") as holder:
        if holder is not None:
            raise ValueError(
                f"--workdir={root}: another sweep is running there ({holder}); use another one"
            )
        sys.exit(sweep(config, root))


if __name__ == "__main__":
    launch.run(main, required=["config", "workdir"])
