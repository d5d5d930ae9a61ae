"""Names the label rule of a run in tables, and orders the rows."""

from typing import Any

from experiments.reporting import printing, run_files
from experiments.reporting.run_files import RunRecord

# Rules that are not named here come before bucket_accuracy.
BEFORE, AFTER = ("one_hot", "smoothing", "autolabel"), ("bucket_accuracy", "polynomial", "ccat")
IN_THE_NAME = {"smoothing": "labels.smoothing", "autolabel": "labels.step"}


def name(run: RunRecord) -> str:
    """Returns 'one_hot', 'smoothing .05', 'autolabel, signed gap', 'autolabel, labels.alpha=0.5'.

    The name does not depend on other runs: it holds the options that differ from their defaults.
    """
    text = printing.rule_name(run.result)
    if run.result["label_rule"] == "smoothing":
        text += f" {smoothing(run)}"
    return ", ".join([text, *(f"{field}={value}" for field, value in options(run).items())])


def smoothing(run: RunRecord) -> str:
    """Returns the weight of the uniform distribution, '.05'."""
    return f"{run_files.settings(run)['labels.smoothing']:g}".removeprefix("0") or "0"


def options(run: RunRecord) -> dict[str, Any]:
    """Returns fields of the label rule that differ from their defaults and are not in its name."""
    named = ("labels.rule", IN_THE_NAME.get(run.result["label_rule"]))
    return {
        field: value
        for field, value in sorted(run_files.settings(run).items())
        if field.startswith("labels.") and field not in named
        if value != run_files.DEFAULTS.get(field)
    }


def order(run: RunRecord) -> tuple:
    """Returns the sort key of a row: rule, options (none first), step, then buckets."""
    rule, settings = run.result["label_rule"], run_files.settings(run)
    ranks = [*BEFORE, None, *AFTER]
    rank = ranks.index(rule if rule in ranks else None)
    share = settings["labels.smoothing"] if rule == "smoothing" else 0
    own = options(run)
    rest = {field: settings[field] for field in sorted(settings.keys() - own.keys())}
    step = run.result.get("label_step")
    return rank, rule, share, _sizes(own), step not in (None, "ece"), step or "", _sizes(rest)


def _sizes(values: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Returns a sort key that orders numbers by size and other values by their text."""
    number = (int, float)
    return [(k, v if isinstance(v, number) else 0, str(v)) for k, v in values.items()]
