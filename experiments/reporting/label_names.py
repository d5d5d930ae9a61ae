"""What tables call the label rule of a run, and in which order its rows stand."""

from typing import Any

from experiments.reporting import printing, run_files
from experiments.reporting.run_files import Run

# Rules that are not named here stand before bucket_accuracy.
BEFORE, AFTER = ("one_hot", "smoothing", "autolabel"), ("bucket_accuracy", "polynomial", "ccat")
IN_THE_NAME = {"smoothing": "labels.smoothing", "autolabel": "labels.step"}


def name(run: Run) -> str:
    """'one_hot', 'smoothing .05', 'autolabel, signed gap', 'autolabel, labels.alpha=0.5'.

    The same whatever other runs there are: only options that differ from their defaults are told.
    """
    text = printing.rule_name(run.result)
    if run.result["label_rule"] == "smoothing":
        text += f" {smoothing(run)}"
    return ", ".join([text, *(f"{field}={value}" for field, value in options(run).items())])


def smoothing(run: Run) -> str:
    """The share of the uniform distribution, '.05'."""
    return f"{run_files.settings(run)['labels.smoothing']:g}".removeprefix("0") or "0"


def options(run: Run) -> dict[str, Any]:
    """Fields of the label rule that have no default value, but for those in its name."""
    told = ("labels.rule", IN_THE_NAME.get(run.result["label_rule"]))
    return {
        field: value
        for field, value in sorted(run_files.settings(run).items())
        if field.startswith("labels.") and field not in told
        if value != run_files.DEFAULTS.get(field)
    }


def order(run: Run) -> tuple:
    """Sorts runs as their rows stand: by rule, options (none first), step, and then buckets."""
    rule, settings = run.result["label_rule"], run_files.settings(run)
    ranks = [*BEFORE, None, *AFTER]
    rank = ranks.index(rule if rule in ranks else None)
    share = settings["labels.smoothing"] if rule == "smoothing" else 0
    own = options(run)
    rest = {field: settings[field] for field in sorted(settings.keys() - own.keys())}
    step = run.result.get("label_step")
    return rank, rule, share, _sizes(own), step not in (None, "ece"), step or "", _sizes(rest)


def _sizes(values: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Numbers by size, all else by its text."""
    number = (int, float)
    return [(k, v if isinstance(v, number) else 0, str(v)) for k, v in values.items()]
