"""Searches over ranges with Optuna, whose study is kept in a file.

The objective is a metric of the calibration set, from the last line of ``metrics.jsonl``. The test
set is never used.
"""

import itertools
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import augment, labels, losses, registry
from experiments.sweeping import runs as sweep_runs
from experiments.sweeping.execution import FAILED, STOPPED, Outcome
from experiments.sweeping.runs import Run

OBJECTIVES = ("calibration_nll", "calibration_ece")
SAMPLERS = ("tpe", "random", "grid")
DIGITS = 4  # of a drawn number, to keep folder names readable


class Search:
    """The runs that Optuna proposes; it is told how good each of them was.

    The study in ``.sweep/study.db`` resumes: runs of an earlier command come first, those that were
    cut off among them.

    Args:
      axes: ranges and choices, see ``parse_space``; '' for those of ``default_space``.
      trials: number of runs; a grid has as many as combinations.
      objective: field of metrics.jsonl to minimise.

    Raises:
      ValueError: Optuna is not installed, ``axes`` cannot be read, or the folder holds the study
        of another search.
    """

    def __init__(
        self,
        config: ConfigDict,
        root: pathlib.Path,
        *,
        axes: str,
        trials: int,
        sampler: str,
        objective: str,
    ):
        self._config, self._root, self._objective = config, root, objective
        self._space = parse_space(axes, config)
        combinations = _grid(self._space) if sampler == "grid" else []
        trials = len(combinations) or trials
        self._study = _open_study(config, root, self._space, sampler, objective)
        for combination in combinations:
            self._study.enqueue_trial(combination, skip_if_exists=True)
        self._states = sweep_runs.import_extra("optuna", "--search").trial.TrialState
        kept = self._study.get_trials(states=[self._states.COMPLETE, self._states.RUNNING])
        # A command that was killed while it drew leaves a trial with some of its values.
        self._earlier = [trial for trial in kept if trial.params.keys() == self._space.keys()]
        queued = len(self._study.get_trials(states=[self._states.WAITING]))
        # Number of runs to propose.
        self._new = max(trials - len(self._study.trials) + queued, 0)
        self._repeated = 0  # number of proposals of a run that was running already
        self._numbers: dict[str, list[int]] = {}  # of the trials of each running run

    def __len__(self) -> int:
        """Returns the number of runs, as far as it is known."""
        return len(self._earlier) + self._new - self._repeated

    def __iter__(self) -> Iterator[Run]:
        """Yields the runs."""
        new = (self._study.ask(self._space) for _ in range(self._new))
        for trial in itertools.chain(self._earlier, new):
            run = self._run(trial)
            self._numbers.setdefault(run.name, []).append(trial.number)
            if len(self._numbers[run.name]) == 1:
                yield run
            else:
                self._repeated += 1

    def _run(self, trial: Any) -> Run:
        settings = {
            name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
            for name, value in trial.params.items()
        }
        return sweep_runs.make_run(self._config, settings, self._root)

    def tell(self, run: Run, outcome: Outcome) -> None:
        """Reports how good a run is; one that was stopped is resumed by the next command."""
        numbers = self._numbers.pop(run.name)
        if outcome.state == STOPPED:
            return
        line = None if outcome.state == FAILED else run.run_dir.last_metrics()
        value = (line or {}).get(self._objective)
        state = self._states.FAIL if value is None else self._states.COMPLETE
        for number in numbers:
            self._study.tell(number, value, state=state, skip_if_finished=True)

    def best_line(self) -> str:
        """Returns a line that names the finished run with the lowest objective."""
        finished = self._study.get_trials(states=[self._states.COMPLETE])
        if not finished:
            return "no run is finished yet"
        best = min(finished, key=lambda trial: trial.value)
        return f"lowest {self._objective}: {best.value:.4f}, {self._run(best).name}"


def _open_study(
    config: ConfigDict, root: pathlib.Path, space: dict[str, Any], sampler: str, objective: str
) -> Any:
    """Opens or makes the study of a search.

    Raises:
      ValueError: the study is that of another search.
    """
    optuna = sweep_runs.import_extra("optuna", "--search")
    path = root / sweep_runs.FILES / "study.db"
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
    seed = config.seed + len(study.trials)  # a resumed search must not repeat its draws
    if sampler != "tpe":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:  # running trials count as bad, so that processes search in different places
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def parse_space(text: str, config: ConfigDict) -> dict[str, Any]:
    """Parses ranges and choices by field: 'labels.alpha=log:0.01..10;labels.step=ece,signed_gap'.

    Raises:
      ValueError: a part cannot be read.
    """
    kinds = sweep_runs.import_extra("optuna", "--search").distributions
    axes = sweep_runs.split_axes(text or default_space(config))
    config = sweep_runs.with_external(axes, config)
    space = {}
    for name, values in axes.items():
        ends = re.fullmatch(r"(log:)?(.+?)\.\.(?!\.)(.+)", values[0])
        if ends is None or len(values) > 1:
            choices = [sweep_runs.parse_value(name, value, config) for value in values]
            space[name] = kinds.CategoricalDistribution(choices)
            continue
        of_type = {int: kinds.IntDistribution, float: kinds.FloatDistribution}
        if (kind := type(sweep_runs.field(name, config))) not in of_type:
            raise ValueError(f"--axes: {name} is of type {kind.__name__}, got a range; list values")
        low, high = (sweep_runs.parse_value(name, end, config) for end in ends.group(2, 3))
        try:
            space[name] = of_type[kind](low, high, log=bool(ends[1]))
        except ValueError as error:
            raise ValueError(f"--axes: {name}={values[0]}: {error}") from error
    return space


def _grid(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns all combinations of the values of a space of choices."""
    for name, part in space.items():
        if not hasattr(part, "choices"):
            raise ValueError(f"--axes: {name} is a range; --search=grid needs a list of values")
    values = itertools.product(*(part.choices for part in space.values()))
    return [dict(zip(space, row, strict=True)) for row in values]


def default_space(config: ConfigDict) -> str:
    """Returns the default axes: those that rule and augmentation declare, and the buckets."""
    rule, method = labels.find(config.labels.rule), augment.find(config.augment.name)
    loss = losses.find(config.loss.name)
    declared = {
        "labels": {name: setting.search for name, setting in registry.settings(rule).items()},
        "loss": {name: setting.search for name, setting in registry.settings(loss).items()},
        "buckets": {"num": "1..20" if rule.learns else ""},
        "augment": {name: setting.search for name, setting in registry.settings(method).items()},
    }
    axes = [f"{g}.{name}={ends}" for g in declared for name, ends in declared[g].items() if ends]
    if not axes:
        raise ValueError(
            f"--axes: {config.labels.rule!r} and {config.augment.name!r} declare no ranges; "
            "expected ranges, such as --axes=optimizer.learning_rate=log:0.001..1"
        )
    return ";".join(axes)
