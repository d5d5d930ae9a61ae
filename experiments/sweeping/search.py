"""Search over ranges: random draws, or Optuna's optimiser with its study in a file.

The objective is a figure of the calibration set, from the last line of ``metrics.jsonl``. The
test set is never read for it.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.job import DONE, FAILED, FILES, SKIPPED, Job, Outcome
from experiments.sweeping.runs import Settings, SweepRun

OBJECTIVES = ("calibration_nll", "calibration_ece")
DIGITS = 4  # of a drawn number, so that the name of its folder can be read

# How strongly each augmentation moves an image; searched where no axes are given.
STRENGTH = {
    "augmix": "augment.severity=1..10",
    "mixup": "augment.concentration=log:0.1..10",
    "adversarial": "augment.max_epsilon=log:0.004..0.06",
    "randaugment": "augment.max_magnitude=1..15",
}


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from low to high; ``log``: uniform in the logarithm."""

    low: float
    high: float
    log: bool
    integer: bool

    def value(self, share: float) -> float | int:
        """The value at a share of the range in [0, 1)."""
        # Every integer has an interval of its own: [n, n + 1), or [n - 1/2, n + 1/2) in the log.
        low, high = self.low, self.high
        if self.integer:
            low, high = (low - 0.5, high + 0.5) if self.log else (low, high + 1)
        found = low * (high / low) ** share if self.log else low + share * (high - low)
        if self.integer:
            return min(round(found) if self.log else math.floor(found), int(self.high))
        return rounded(found)


def rounded(value: float) -> float:
    """With so many digits as a folder's name has."""
    return float(f"{value:.{DIGITS}g}")


Space = Mapping[str, Range | Sequence[Any]]  # a sequence is a choice


def parse_space(text: str, config: ConfigDict) -> Space:
    """Ranges and choices by field: 'labels.alpha=log:0.01..10;buckets.num=1..20;flip=True,False'.

    Raises:
      ValueError: names the part that cannot be read.
    """
    space: dict[str, Range | list[Any]] = {}
    for name, values in sweep_runs.split_axes(text or default_space(config)).items():
        ranges = re.fullmatch(r"(log:)?(.+?)\.\.(?!\.)(.+)", values[0])
        if ranges and len(values) == 1:
            space[name] = _range(name, *ranges.groups(), config)
        else:
            space[name] = [sweep_runs.parse_value(name, value, config) for value in values]
    return space


def default_space(config: ConfigDict) -> str:
    """AutoLabel's step size and number of buckets, and the strength of the augmentation."""
    fields = ["labels.alpha=log:0.01..10", "buckets.num=1..20"]
    return ";".join([*fields, *filter(None, [STRENGTH.get(config.augment.name)])])


def _range(name: str, log: str | None, low: str, high: str, config: ConfigDict) -> Range:
    kind = type(sweep_runs.field(name, config))
    if kind not in (int, float):
        raise ValueError(f"--axes: {name} is of type {kind.__name__}, which has no ranges")
    ends = [sweep_runs.parse_value(name, end, config) for end in (low, high)]
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        need = "two positive numbers, the lower one first" if log else "the lower number first"
        raise ValueError(f"--axes: {name}={log or ''}{low}..{high}: needs {need}")
    return Range(*ends, log=bool(log), integer=kind is int)


def random_settings(space: Space, trials: int, seed: int) -> list[Settings]:
    """So many independent draws; a longer list begins with the same ones."""
    found = []
    for i in range(trials):
        rng = np.random.default_rng([seed, i])
        settings = {}
        for name, part in space.items():
            share = rng.random()
            settings[name] = (
                part.value(share) if isinstance(part, Range) else part[int(share * len(part))]
            )
        found.append(settings)
    return found


class OptunaSource:
    """Runs that Optuna's TPE asks for; the study is in ``.sweep/study.db`` and outlives a kill.

    Several processes, of one sweep or of several on one folder, may work at one study.

    Args:
      space: what is searched.
      trials: how many in all.
      objective: field of metrics.jsonl, to be small.
      config: that the settings change.
      make_job: of a run.
      root: folder of the runs.

    Raises:
      ValueError: Optuna is not there, or the folder holds the study of another search.
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
        # Those of an earlier command come first, so that the table has them too.
        self._earlier = self._study.get_trials(states=(self._state.COMPLETE,))
        self._repeated = 0
        self._seen: set[int] = set()
        self._numbers: dict[str, list[int]] = {}  # trials of a run under way, by its name

    @property
    def total(self) -> int:
        """Different runs that did not fail in an earlier command."""
        failed = self._study.get_trials(deepcopy=False, states=(self._state.FAIL,))
        before = sum(trial.number not in self._seen for trial in failed)
        return self._trials - before - self._repeated

    def next(self) -> Job | None:
        while (trial := self._trial()) is not None:
            self._seen.add(trial.number)
            if set(trial.params) != set(self._space):  # killed while it was being asked for
                self._tell(trial.number, None)
                continue
            params = {k: rounded(v) if isinstance(v, float) else v for k, v in trial.params.items()}
            run = sweep_runs.make_run(self._config, {name: params[name] for name in self._space})
            numbers = self._numbers.setdefault(run.name, [])
            numbers.append(trial.number)
            if len(numbers) == 1:
                return self._make_job(run)
            self._repeated += 1  # the same run is under way, and its figure will do
        return None

    def finished(self, job: Job, outcome: Outcome) -> None:
        numbers = self._numbers.pop(job.name, [])
        if outcome.state in (DONE, SKIPPED, FAILED):  # others go on later
            failed = outcome.state == FAILED
            for number in numbers:
                self._tell(number, None if failed else objective_of(job, self._objective))

    def _trial(self):
        """An earlier trial, a new one, or at the end one that a process left behind."""
        if self._earlier:
            return self._earlier.pop(0)
        if len(self._study.get_trials(deepcopy=False)) < self._trials:
            return self._study.ask(self._distributions())
        left = self._study.get_trials(states=(self._state.RUNNING,))
        return next((trial for trial in left if trial.number not in self._seen), None)

    def _tell(self, number: int, figure: float | None) -> None:
        with contextlib.suppress(ValueError, RuntimeError):  # told before, here or elsewhere
            if figure is None:
                self._study.tell(number, state=self._state.FAIL)
            else:
                self._study.tell(number, figure)

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        found = {}
        for name, part in self._space.items():
            if isinstance(part, Range):
                kind = kinds.IntDistribution if part.integer else kinds.FloatDistribution
                found[name] = kind(part.low, part.high, log=part.log)
            else:
                found[name] = kinds.CategoricalDistribution(tuple(part))
        return found

    def _open(self, root: pathlib.Path):
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (root / FILES).mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{(root / FILES / 'study.db').absolute()}",
            study_name="sweep",
            # Trials under way count as bad, so that processes look in different places.
            sampler=optuna.samplers.TPESampler(constant_liar=True),
            load_if_exists=True,
        )
        space = {n: str(part) for n, part in self._space.items()}
        config = {**json.loads(self._config.to_json()), "data_dir": ""}
        asked = json.dumps({"objective": self._objective, "space": space, "config": config})
        if study.user_attrs.get("asked", asked) != asked:
            raise ValueError(
                f"--workdir={root} holds a search with another config, --axes or --objective; "
                "take another --workdir, or what it was started with"
            )
        study.set_user_attr("asked", asked)
        return study


def _import_optuna():
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "--search=optuna: Optuna is not installed; `pip install -r requirements-sweep.txt`, or "
            "take --search=random, which needs nothing"
        ) from error
    return optuna


def objective_of(job: Job, objective: str) -> float | None:
    """The calibration figure after the last epoch; None if it is missing or not finite."""
    return (job.run_dir.last_metrics() or {}).get(objective)


def best_line(jobs: Mapping[str, Job], outcomes: Mapping[str, Outcome], objective: str) -> str:
    """Names the finished run with the lowest objective."""
    done = [jobs[name] for name, o in outcomes.items() if o.state in (DONE, SKIPPED)]
    found = {job.name: objective_of(job, objective) for job in done}
    found = {name: figure for name, figure in found.items() if figure is not None}
    if not found:
        return "no run is finished yet"
    name = min(found, key=found.get)
    return f"lowest {objective}: {found[name]:.4f}, {name}"
