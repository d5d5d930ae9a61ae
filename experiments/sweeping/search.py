"""Searches over ranges, by random draws or by Optuna's optimiser with its study in a file.

The objective is a metric of the calibration set, from the last line of ``metrics.jsonl``. The test
set is never used.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import augment, labels, registry
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.job import DONE, FAILED, FILES, SKIPPED, Job, Outcome
from experiments.sweeping.runs import Settings, SweepRun

OBJECTIVES = ("calibration_nll", "calibration_ece")
DIGITS = 4  # of a drawn number, to keep folder names readable


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from low to high, drawn uniformly, or in the logarithm if ``log`` is set."""

    low: float
    high: float
    log: bool
    integer: bool

    def value(self, share: float) -> float | int:
        """Returns the value at a fraction of the range, in [0, 1)."""
        # Every integer has its own interval: [n, n + 1), or [n - 1/2, n + 1/2) in the log.
        low, high = self.low, self.high
        if self.integer:
            low, high = (low - 0.5, high + 0.5) if self.log else (low, high + 1)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        if self.integer:
            return min(round(value) if self.log else math.floor(value), int(self.high))
        return rounded(value)


def rounded(value: float) -> float:
    """Rounds a value to the digits that folder names show."""
    return float(f"{value:.{DIGITS}g}")


Space = Mapping[str, Range | Sequence[Any]]  # a sequence is a choice


def parse_space(text: str, config: ConfigDict) -> Space:
    """Parses ranges and choices by field: 'labels.alpha=log:0.01..10;labels.step=ece,signed_gap'.

    Raises:
      ValueError: a part cannot be read.
    """
    space: dict[str, Range | list[Any]] = {}
    axes = sweep_runs.split_axes(text or default_space(config))
    config = sweep_runs.with_external(axes, config)
    for name, values in axes.items():
        ranges = re.fullmatch(r"(log:)?(.+?)\.\.(?!\.)(.+)", values[0])
        if ranges and len(values) == 1:
            space[name] = _range(name, *ranges.groups(), config)
        else:
            space[name] = [sweep_runs.parse_value(name, value, config) for value in values]
    return space


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


def _range(name: str, log: str | None, low: str, high: str, config: ConfigDict) -> Range:
    kind = type(sweep_runs.field(name, config))
    if kind not in (int, float):
        raise ValueError(f"--axes: {name} is of type {kind.__name__}, got a range; list values")
    ends = [sweep_runs.parse_value(name, end, config) for end in (low, high)]
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        need = "two positive numbers, the lower one first" if log else "the lower number first"
        raise ValueError(f"--axes: {name}={log or ''}{low}..{high}: expected {need}")
    return Range(*ends, log=bool(log), integer=kind is int)


def random_settings(space: Space, trials: int, seed: int) -> list[Settings]:
    """Returns independent random draws; a longer list begins with the same ones."""
    draws = []
    for i in range(trials):
        rng = np.random.default_rng([seed, i])
        settings = {}
        for name, part in space.items():
            share = rng.random()
            settings[name] = (
                part.value(share) if isinstance(part, Range) else part[int(share * len(part))]
            )
        draws.append(settings)
    return draws


class OptunaSource:
    """Supplies the runs that Optuna's TPE proposes; the study is kept in ``.sweep/study.db``.

    Several processes, of one sweep or of several on one folder, may share a study.

    Args:
      space: ranges and choices to search.
      trials: total number of trials.
      objective: field of metrics.jsonl to minimise.
      config: config that the settings change.
      make_job: makes the job of a run.
      root: folder of the runs.

    Raises:
      ValueError: Optuna is not installed, or the folder holds the study of another search.
    """

    def __init__(
        self,
        space: Space,
        trials: int,
        objective: str,
        config: ConfigDict,
        make_job: Callable[[SweepRun], Job],
        root: pathlib.Path,
    ):
        self._space, self._trials, self._objective = space, trials, objective
        self._config, self._make_job = config, make_job
        self._optuna = _import_optuna()
        self._state = self._optuna.trial.TrialState
        self._study = self._open(root)
        # Trials of an earlier command come first, so that the table shows them too.
        self._earlier = self._study.get_trials(states=(self._state.COMPLETE,))
        self._repeated = 0
        self._seen: set[int] = set()
        self._numbers: dict[str, list[int]] = {}  # name of a running run → its trials

    @property
    def total(self) -> int:
        """Number of different runs that did not fail in an earlier command."""
        failed = self._study.get_trials(deepcopy=False, states=(self._state.FAIL,))
        before = sum(trial.number not in self._seen for trial in failed)
        return self._trials - before - self._repeated

    def next(self) -> Job | None:
        """Returns the next run, or None at the end."""
        while (trial := self._trial()) is not None:
            self._seen.add(trial.number)
            if set(trial.params) != set(self._space):  # its process was killed while it was created
                self._tell(trial.number, None)
                continue
            params = {k: rounded(v) if isinstance(v, float) else v for k, v in trial.params.items()}
            run = sweep_runs.make_run(self._config, {name: params[name] for name in self._space})
            numbers = self._numbers.setdefault(run.name, [])
            numbers.append(trial.number)
            if len(numbers) == 1:
                return self._make_job(run)
            self._repeated += 1  # the same run is running already, and its result is used
        return None

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Reports the objective of a run to the study."""
        numbers = self._numbers.pop(job.name, [])
        if outcome.state in (DONE, SKIPPED, FAILED):  # others are resumed later
            failed = outcome.state == FAILED
            for number in numbers:
                self._tell(number, None if failed else objective_of(job, self._objective))

    def _trial(self) -> Any | None:
        """Returns an earlier trial, a new one, or at the end one left behind by a process."""
        if self._earlier:
            return self._earlier.pop(0)
        if len(self._study.get_trials(deepcopy=False)) < self._trials:
            return self._study.ask(self._distributions())
        left = self._study.get_trials(states=(self._state.RUNNING,))
        return next((trial for trial in left if trial.number not in self._seen), None)

    def _tell(self, number: int, value: float | None) -> None:
        with contextlib.suppress(ValueError, RuntimeError):  # already reported
            if value is None:
                self._study.tell(number, state=self._state.FAIL)
            else:
                self._study.tell(number, value)

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        distributions = {}
        for name, part in self._space.items():
            if isinstance(part, Range):
                kind = kinds.IntDistribution if part.integer else kinds.FloatDistribution
                distributions[name] = kind(part.low, part.high, log=part.log)
            else:
                distributions[name] = kinds.CategoricalDistribution(tuple(part))
        return distributions

    def _open(self, root: pathlib.Path) -> Any:
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (root / FILES).mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{(root / FILES / 'study.db').absolute()}",
            study_name="sweep",
            # Running trials count as bad, so that processes search in different places.
            sampler=optuna.samplers.TPESampler(constant_liar=True),
            load_if_exists=True,
        )
        space = {n: str(part) for n, part in self._space.items()}
        config = {**json.loads(self._config.to_json()), "data_dir": ""}
        asked = json.dumps({"objective": self._objective, "space": space, "config": config})
        if study.user_attrs.get("asked", asked) != asked:
            raise ValueError(
                f"--workdir={root} holds a search with another config, --axes or --objective; "
                "use another --workdir, or the flags it was started with"
            )
        study.set_user_attr("asked", asked)
        return study


def _import_optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "--search=optuna: Optuna is not installed; `pip install -r requirements-sweep.txt`, or "
            "use --search=random, which needs no package"
        ) from error
    return optuna


def objective_of(job: Job, objective: str) -> float | None:
    """Returns the objective after the last epoch; None if it is missing or not finite."""
    return (job.run_dir.last_metrics() or {}).get(objective)


def best_line(jobs: Mapping[str, Job], outcomes: Mapping[str, Outcome], objective: str) -> str:
    """Returns a line that names the finished run with the lowest objective."""
    done = [jobs[name] for name, o in outcomes.items() if o.state in (DONE, SKIPPED)]
    values = {job.name: objective_of(job, objective) for job in done}
    values = {name: value for name, value in values.items() if value is not None}
    if not values:
        return "no run is finished yet"
    name = min(values, key=values.get)
    return f"lowest {objective}: {values[name]:.4f}, {name}"
