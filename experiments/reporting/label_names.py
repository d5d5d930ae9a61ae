"""Names the label rule of a run in tables, and orders the rows."""

from typing import Any

from autolabel_jax import registry
from experiments.reporting import methods, run_files
from experiments.reporting.run_files import RunRecord


def name(run: RunRecord) -> str:
    """Returns 'one_hot', 'smoothing .05', 'autolabel, signed gap', 'autolabel, labels.alpha=0.5'.

    The name does not depend on other runs: it holds the options that differ from their defaults.
    """
    own = run_files.settings(run)
    named = {field.removeprefix("labels."): own[field] for field in own}
    text = methods.row_name(run.result["label_rule"], named)
    return ", ".join([text, *(f"{field}={value}" for field, value in options(run).items())])


def smoothing(run: RunRecord) -> str:
    """Returns the weight of the uniform distribution, '.05'."""
    return f"{run_files.settings(run)['labels.smoothing']:g}".removeprefix("0") or "0"


def options(run: RunRecord) -> dict[str, Any]:
    """Returns fields of the label rule that differ from their defaults and are not in its name."""
    named = ("labels.rule", *_in_name(run))
    defaults = run_files.DEFAULTS | _declared_defaults(run)
    return {
        field: value
        for field, value in sorted(run_files.settings(run).items())
        if field.startswith("labels.") and field not in named
        if value != defaults.get(field)
    }


def order(run: RunRecord) -> tuple:
    """Returns the sort key of a row: rule, options (none first), then its other settings."""
    rule, settings = run.result["label_rule"], run_files.settings(run)
    in_name = {field: settings[field] for field in _in_name(run) if field in settings}
    numbers = {f: v for f, v in in_name.items() if isinstance(v, int | float)}
    texts = {f: v for f, v in in_name.items() if f not in numbers}
    own = options(run)
    rest = {field: settings[field] for field in sorted(settings.keys() - own.keys())}
    rank = methods.rank("labels.rule", rule)
    return rank, rule, *map(_sizes, (numbers, own, texts, rest))


def _in_name(run: RunRecord) -> tuple[str, ...]:
    rule = methods.find("labels.rule", run.result["label_rule"])
    return () if rule is None else tuple(f"labels.{field}" for field in rule.in_name)


def _declared_defaults(run: RunRecord) -> dict[str, Any]:
    rule = methods.find("labels.rule", run.result["label_rule"])
    declared = {} if rule is None else registry.settings(rule)
    return {f"labels.{name}": setting.default for name, setting in declared.items()}


def _sizes(values: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Returns a sort key that orders numbers by size and other values by their text."""
    number = (int, float)
    return [(k, v if isinstance(v, number) else 0, str(v)) for k, v in values.items()]
