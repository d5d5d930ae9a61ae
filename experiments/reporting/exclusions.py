"""Separates the runs that can be compared from the others, each with the reason."""

import collections
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from autolabel_jax import run_dir
from experiments.reporting import columns, methods, numerics
from experiments.reporting.run_files import CURVES, RESTORE, SIZES, RunRecord, key

TEXTS = ("dataset", "model", "augmentation", "label_rule", "revision")  # of every result
METRICS = ("accuracy", "ece", "nll", "brier")
NUMBERS = ("seed", "epochs", *METRICS)
LISTS = ("_interval", "_by_severity")
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")


def split_comparable(
    runs: Sequence[RunRecord],
) -> tuple[list[RunRecord], list[tuple[RunRecord, str]]]:
    """Separates the runs that can be compared from the others, which get a reason.

    All comparable runs of a folder have the same numerics version, the most common one there or,
    of equally common ones, the newest; folders may differ in it. Of runs with the same settings
    and seed the first one counts.
    """
    reasons = {run.workdir: next(filter(None, _reasons(run)), "") for run in runs}

    def groups(of: Callable[[RunRecord], Any]) -> list[list[RunRecord]]:
        found = collections.defaultdict(list)
        for run in runs:
            if not reasons[run.workdir]:
                found[of(run)].append(run)
        return list(found.values())

    for together in groups(lambda run: run.workdir.resolve().parent):
        versions = [tuple(numerics.identity(run.result).items()) for run in together]
        counts = collections.Counter(versions)
        usual = max(counts, key=lambda one: (counts[one], one))
        for run, own in zip(together, versions, strict=True):
            if own != usual:
                reasons[run.workdir] = f"of {_listed(own)}, the others are of {_listed(usual)}"
    for counted, *repeats in groups(lambda run: key(run.settings | {"seed": run.result["seed"]})):
        for run in repeats:
            same = all(run.result[name] == counted.result[name] for name in METRICS)
            what = f"with {'the same' if same else 'other'} metrics; counted once"
            reasons[run.workdir] = f"repeats config and seed of {counted.workdir}, {what}"
    excluded = [(run, reasons[run.workdir]) for run in runs if reasons[run.workdir]]
    return [run for run in runs if not reasons[run.workdir]], excluded


def _listed(identity: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in identity)


def _reasons(run: RunRecord) -> Iterator[str]:
    """Yields why a run cannot be compared, its numerics version aside; '' for a passed check.

    A check may need that those before it are passed.
    """

    def about(what: str, names: Sequence[str]) -> str:
        return f"{what}{', '.join(dict.fromkeys(names))}; {RESTORE}" if names else ""

    config, result = run.config, run.result or {}
    yield run.fault
    epochs = f"{len(run.lines)} of {(result or config).get('epochs')} epochs in metrics.jsonl"
    unfinished = f"{epochs}; run its command again to finish it"
    yield f"not finished: no result.json; {unfinished}" if run.result is None else ""
    lacking = [name for name in (*TEXTS, *NUMBERS) if name not in result]
    yield about(f"{run_dir.RESULT} lacks ", lacking)
    yield about(f"{run_dir.CONFIG} lacks ", [name for name in NEEDED_CONFIG if name not in config])
    wrong = [n for n in TEXTS if not isinstance(result[n], str)]
    wrong += [n for n, v in result.items() if n.endswith(LISTS) and not isinstance(v, list)]
    usual = {n: v for n, v in methods.DEFAULTS.items() if v is not None and n in config}
    wrong += [n for n, v in usual.items() if _kind(config[n]) is not _kind(v)]
    yield about("of a wrong type: ", wrong)
    wrong = [n for n, v in result.items() if not _is_finite(v, texts=not n.endswith(LISTS))]
    wrong += [n for n in (*NUMBERS, *SIZES) if not _is_number(result.get(n, 0), null=False)]
    wrong += [n for n in columns.HEADERS if not _is_number(result.get(n))]
    yield about("not finite in result.json: ", wrong)
    yield f"not finished: {unfinished}" if len(run.lines) < result["epochs"] else ""
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer stores null, which a curve also has for an empty bucket.
        wrong = [n for n in LINE_METRICS if n in line and not _is_finite(line[n], null=False)]
        curves = {n: line.get(n, []) for n in CURVES}
        wrong += [n for n, v in curves.items() if not (isinstance(v, list) and _is_finite(v))]
        yield about(f"not finite in epoch {i + 1} of metrics.jsonl: ", wrong)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _is_number(value: Any, *, null: bool = True) -> bool:
    return null if value is None else isinstance(value, int | float) and math.isfinite(value)


def _is_finite(value: Any, *, null: bool = True, texts: bool = False) -> bool:
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return all(_is_finite(v, null=null, texts=texts) for v in inside)
    return (texts and isinstance(value, str)) or _is_number(value, null=null)
