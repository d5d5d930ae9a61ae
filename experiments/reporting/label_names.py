"""Names the label rule of a run in tables, and orders the rows."""

from typing import Any

from autolabel_jax import registry
from experiments.reporting import methods, run_files
from experiments.reporting.run_files import RunRecord


def name(run: RunRecord) -> str:
    """Returns 'one_hot', 'smoothing .05', 'autolabel, signed gap', 'autolabel, labels.alpha=0.5'.

    The name does not depend on other runs: it holds the options that differ from their defaults.
    """
    named = {field.removeprefix("labels."): value for field, value in run.settings.items()}
    text = methods.row_name(run.result["label_rule"], named)
    return ", ".join([text, *(f"{field}={value}" for field, value in options(run).items())])


def options(run: RunRecord) -> dict[str, Any]:
    """Returns fields of the label rule that differ from their defaults and are not in its name."""
    rule = methods.find("labels.rule", run.result["label_rule"])
    declared = {} if rule is None else registry.settings(rule)
    defaults = run_files.DEFAULTS | {f"labels.{n}": s.default for n, s in declared.items()}
    named = ("labels.rule", *_in_name(run))
    return {
        field: value
        for field, value in sorted(run.settings.items())
        if field.startswith("labels.") and field not in named and value != defaults.get(field)
    }


def order(run: RunRecord) -> tuple:
    """Returns the sort key of a row: rule, options (none first), then its other settings."""
    rule, own = run.result["label_rule"], options(run)
    in_name = {f: run.settings[f] for f in _in_name(run) if f in run.settings}
    numbers = {f: v for f, v in in_name.items() if isinstance(v, int | float)}
    texts = {f: v for f, v in in_name.items() if f not in numbers}
    rest = {field: run.settings[field] for field in sorted(run.settings.keys() - own.keys())}
    rank = methods.rank("labels.rule", rule)
    return rank, rule, *map(_sizes, (numbers, own, texts, rest))


def _in_name(run: RunRecord) -> list[str]:
    rule = methods.find("labels.rule", run.result["label_rule"])
    return [] if rule is None else [f"labels.{field}" for field in rule.in_name]


def _sizes(values: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Returns a sort key that orders numbers by size and other values by their text."""
    number = (int, float)
    return [(k, v if isinstance(v, number) else 0, str(v)) for k, v in values.items()]
