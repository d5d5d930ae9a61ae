"""Searches over ranges with Optuna, whose study is kept in a file.

The objective is a metric of the calibration set, from the last line of ``metrics.jsonl``. The test
set is never used.
"""

import importlib
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import augment, labels, registry
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.job import DONE, FAILED, FILES, SKIPPED, Job, Outcome
from experiments.sweeping.runs import SweepRun

OBJECTIVES = ("calibration_nll", "calibration_ece")
SAMPLERS = ("tpe", "random")
DIGITS = 4  # of a drawn number, to keep folder names readable

Space = Mapping[str, Any]  # Optuna's distribution of each field


class Search:
    """Supplies the runs that Optuna proposes, and tells it how good each of them was.

    The study in ``.sweep/study.db`` resumes: runs of an earlier command come first, those that were
    cut off among them.

    Args:
      config: config that the runs change.
      make_job: makes the job of a run.
      root: folder of the runs.
      axes: ranges and choices, see ``parse_space``; '' for those of ``default_space``.
      trials: total number of runs.
      sampler: one of ``SAMPLERS``.
      objective: field of metrics.jsonl to minimise.

    Raises:
      ValueError: Optuna is not installed, ``axes`` cannot be read, or the folder holds the study
        of another search.
    """

    def __init__(
        self,
        config: ConfigDict,
        make_job: Callable[[SweepRun], Job],
        root: pathlib.Path,
        *,
        axes: str,
        trials: int,
        sampler: str,
        objective: str,
    ):
        self._config, self._make_job, self._objective = config, make_job, objective
        self._space = parse_space(axes, config)
        self._study = _open_study(config, root, self._space, sampler, objective)
        earlier = self._study.get_trials(states=_states("COMPLETE", "RUNNING"))
        self._earlier = iter(earlier)
        self._new = max(trials - len(self._study.trials), 0)  # number of runs to propose
        self.total = len(earlier) + self._new
        self._trials: dict[str, list[int]] = {}  # trials by the name of their run
        self._done: dict[str, float | None] = {}  # objective by the name of a finished run

    def next(self) -> Job | None:
        """Returns the next run, or None at the end."""
        while (trial := self._next_trial()) is not None:
            params = {k: _rounded(v) for k, v in trial.params.items()}
            run = sweep_runs.make_run(self._config, params)
            known = run.name in self._trials
            self._trials.setdefault(run.name, []).append(trial.number)
            if not known:
                return self._make_job(run)
            self.total -= 1  # the same run was proposed before
            if run.name in self._done:
                self._tell(run.name)
        return None

    def _next_trial(self) -> Any | None:
        if (trial := next(self._earlier, None)) is not None or not self._new:
            return trial
        self._new -= 1
        return self._study.ask(self._space)

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Reports the objective of a run to the study; a run that was stopped is resumed later."""
        if outcome.state in (DONE, SKIPPED, FAILED):
            line = job.run_dir.last_metrics() or {}
            self._done[job.name] = None if outcome.state == FAILED else line.get(self._objective)
            self._tell(job.name)

    def _tell(self, name: str) -> None:
        """Reports the objective of a run to each of its trials; without one they failed."""
        value = self._done[name]
        state = _states("FAIL" if value is None else "COMPLETE")[0]
        for number in self._trials[name]:
            self._study.tell(number, value, state=state, skip_if_finished=True)

    def best_line(self) -> str:
        """Returns a line that names the finished run with the lowest objective."""
        values = {name: value for name, value in self._done.items() if value is not None}
        if not values:
            return "no run is finished yet"
        name = min(values, key=values.get)
        return f"lowest {self._objective}: {values[name]:.4f}, {name}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _states(*names: str) -> tuple[Any, ...]:
    return tuple(_optuna().trial.TrialState[name] for name in names)


def _optuna() -> ModuleType:
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise ValueError(
            "--search: Optuna is not installed; pip install -r requirements-sweep.txt"
        ) from error


def _open_study(
    config: ConfigDict, root: pathlib.Path, space: Space, sampler: str, objective: str
) -> Any:
    """Opens or makes the study of a search; trials that were cut off while drawn count as failed.

    Raises:
      ValueError: the study is that of another search.
    """
    optuna, path = _optuna(), root / FILES / "study.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{path.absolute()}"
    study = optuna.create_study(storage=storage, study_name="sweep", load_if_exists=True)
    asked = {
        "objective": objective,
        "space": {name: repr(part) for name, part in space.items()},
        "config": {**json.loads(config.to_json()), "data_dir": ""},
    }
    if study.user_attrs.get("asked", asked) != asked:
        raise ValueError(
            f"--workdir={root} holds a search with another config, --axes or --objective; "
            "use another --workdir, or the flags it was started with"
        )
    study.set_user_attr("asked", asked)
    for trial in study.get_trials(states=_states("RUNNING")):
        if trial.params.keys() != space.keys():
            study.tell(trial.number, state=_states("FAIL")[0])
    seed = config.seed + len(study.trials)  # a resumed search must not repeat its draws
    study.sampler = (
        # Running trials count as bad, so that processes search in different places.
        optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    return study


def parse_space(text: str, config: ConfigDict) -> Space:
    """Parses ranges and choices by field: 'labels.alpha=log:0.01..10;labels.step=ece,signed_gap'.

    Raises:
      ValueError: a part cannot be read.
    """
    kinds = _optuna().distributions
    axes = sweep_runs.split_axes(text or default_space(config))
    config = sweep_runs.with_external(axes, config)
    space = {}
    for name, values in axes.items():
        ends = re.fullmatch(r"(log:)?(.+?)\.\.(?!\.)(.+)", values[0])
        if ends and len(values) == 1:
            low, high = _ends(name, *ends.groups(), config)
            kind = kinds.IntDistribution if isinstance(low, int) else kinds.FloatDistribution
            space[name] = kind(low, high, log=bool(ends[1]))
        else:
            choices = [sweep_runs.parse_value(name, value, config) for value in values]
            space[name] = kinds.CategoricalDistribution(choices)
    return space


def _ends(name: str, log: str | None, low: str, high: str, config: ConfigDict) -> list[Any]:
    kind = type(sweep_runs.field(name, config))
    if kind not in (int, float):
        raise ValueError(f"--axes: {name} is of type {kind.__name__}, got a range; list values")
    ends = [sweep_runs.parse_value(name, end, config) for end in (low, high)]
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        need = "two positive numbers, the lower one first" if log else "the lower number first"
        raise ValueError(f"--axes: {name}={log or ''}{low}..{high}: expected {need}")
    return ends


def default_space(config: ConfigDict) -> str:
    """Returns the default axes: those that rule and augmentation declare, and the buckets."""
    rule, method = labels.find(config.labels.rule), augment.find(config.augment.name)
    axes = [*_declared("labels", rule), *(["buckets.num=1..20"] if rule.learns else [])]
    axes += _declared("augment", method)
    if not axes:
        raise ValueError(
            f"--axes: {config.labels.rule!r} and {config.augment.name!r} declare no ranges; "
            "expected ranges, such as --axes=optimizer.learning_rate=log:0.001..1"
        )
    return ";".join(axes)


def _declared(group: str, method: type) -> list[str]:
    declared = registry.settings(method).items()
    return [f"{group}.{name}={setting.search}" for name, setting in declared if setting.search]
