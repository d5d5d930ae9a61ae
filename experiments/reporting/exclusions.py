"""Separates the runs that can be compared from the others, each with the reason."""

import collections
import math
from collections.abc import Sequence
from typing import Any

from autolabel_jax import run_dir
from experiments.reporting import columns, numerics
from experiments.reporting.run_files import CURVES, DEFAULTS, RESTORE, SIZES, RunRecord, key

TEXTS = ("dataset", "model", "augmentation", "label_rule", "revision")  # of every result
METRICS = ("accuracy", "ece", "nll", "brier")
NUMBERS = ("seed", "epochs", *METRICS)
LISTS = ("_interval", "_by_severity")
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")
RESUME = "run its command again to finish it"


def split_comparable(
    runs: Sequence[RunRecord],
) -> tuple[list[RunRecord], list[tuple[RunRecord, str]]]:
    """Separates the runs that can be compared from the others.

    All comparable runs of a folder have the same numerics version, the most common one there or,
    of equally common ones, the newest; folders may differ in it. Of runs with the same settings
    and seed the first one counts.

    Returns:
      The comparable runs, and the excluded ones, each with the reason.
    """
    reasons = {run.workdir: _reason(run) for run in runs}
    folders = collections.defaultdict(list)
    for run in runs:
        if not reasons[run.workdir]:
            folders[run.workdir.resolve().parent].append(run)
    for together in folders.values():
        identities = [tuple(numerics.identity(run.result).items()) for run in together]
        counts = collections.Counter(identities)
        usual = max(counts, key=lambda identity: (counts[identity], identity))
        for run, own in zip(together, identities, strict=True):
            if own != usual:
                reasons[run.workdir] = f"of {_listed(own)}, the others are of {_listed(usual)}"
    first: dict[str, RunRecord] = {}
    for run in runs:
        if not reasons[run.workdir]:
            counted = first.setdefault(key(run.settings | {"seed": run.result["seed"]}), run)
            reasons[run.workdir] = _repeat_reason(run, counted) if counted is not run else ""
    comparable = [run for run in runs if not reasons[run.workdir]]
    return comparable, [(run, reasons[run.workdir]) for run in runs if reasons[run.workdir]]


def _repeat_reason(run: RunRecord, counted: RunRecord) -> str:
    same = all(run.result[name] == counted.result[name] for name in METRICS)
    metrics = "the same metrics" if same else "other metrics"
    return f"repeats config and seed of {counted.workdir}, with {metrics}; counted once"


def _listed(identity: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in identity)


def _reason(run: RunRecord) -> str:
    """Returns why a run cannot be compared, its numerics version aside; '' if it can."""
    if run.fault:
        return run.fault
    if run.result is None:
        epochs = f"{len(run.lines)} of {run.config.get('epochs')} epochs in metrics.jsonl"
        return f"not finished: no result.json; {epochs}; {RESUME}"
    lacking = {
        run_dir.RESULT: [n for n in (*TEXTS, *NUMBERS) if n not in run.result],
        run_dir.CONFIG: [n for n in NEEDED_CONFIG if n not in run.config],
    }
    for file, names in lacking.items():
        if names:
            return f"{file} lacks {', '.join(names)}; {RESTORE}"
    result = run.result.items()
    wrong = [n for n in TEXTS if not isinstance(run.result[n], str)]
    wrong += [n for n, v in result if n.endswith(LISTS) and not isinstance(v, list)]
    if wrong := wrong + _wrong_types(run.config):
        return f"of a wrong type: {', '.join(wrong)}; {RESTORE}"
    wrong = [n for n, value in result if not _is_finite(value, other=not n.endswith(LISTS))]
    wrong += [n for n in (*NUMBERS, *SIZES) if not _is_number(run.result.get(n, 0))]
    wrong += [n for n in columns.COLUMNS if not _is_number(run.result.get(n), null=True)]
    if wrong:
        return f"not finite in result.json: {', '.join(dict.fromkeys(wrong))}; {RESTORE}"
    if len(run.lines) < run.result["epochs"]:
        epochs = f"{len(run.lines)} of {run.result['epochs']} epochs in metrics.jsonl"
        return f"not finished: {epochs}; {RESUME}"
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer stores null, which a curve also has for an empty bucket.
        wrong = [n for n in LINE_METRICS if n in line and not _is_finite(line[n], null=False)]
        wrong += [n for n in CURVES if not isinstance(line.get(n, []), list)]
        if wrong := wrong + [n for n in CURVES if not _is_finite(line.get(n, []))]:
            return f"not finite in epoch {i + 1} of metrics.jsonl: {', '.join(wrong)}; {RESTORE}"
    return ""


def _wrong_types(config: dict[str, Any]) -> list[str]:
    """Returns the fields of a config that are of another type than their defaults."""

    def kind(value: Any) -> type:
        return float if type(value) is int else type(value)

    both = [name for name in config if DEFAULTS.get(name) is not None]
    return [name for name in both if kind(config[name]) is not kind(DEFAULTS[name])]


def _is_number(value: Any, *, null: bool = False) -> bool:
    if value is None:
        return null
    return isinstance(value, int | float) and math.isfinite(value)


def _is_finite(value: Any, *, null: bool = True, other: bool = False) -> bool:
    """Whether all numbers in a value are finite; texts are allowed if ``other``."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return all(_is_finite(v, null=null, other=other) for v in inside)
    return (other and isinstance(value, str)) or _is_number(value, null=null)
