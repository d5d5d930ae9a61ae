"""Summarises finished units as metrics of all corrupted sets and of each attack."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from autolabel_jax import attacks, calibration, corruptions
from autolabel_jax.evaluation.ledger import Ledger, Line
from autolabel_jax.metrics import HEADLINE, bootstrap
from autolabel_jax.types import BucketStats

PREFIX = {"corruption": "corrupted", "extra": "extra_corrupted"}  # of the metrics' names
ATTACKED = "attacked_examples"
VIEWS = "views"  # key of the views' names, and prefix of the metrics of their mean
BY_SEVERITY = ("accuracy", "ece", "ece_ts", "accuracy_vs", "ece_vs")


def summarise(lines: Sequence[Line], ledger: Ledger) -> dict[str, Any]:
    """Computes the metrics for ``result.json``.

    Corrupted metrics are computed per set and averaged over the 75 sets, because errors of opposite
    sign would cancel in the ECE of pooled sets. The mCE of CIFAR is 1 - corrupted_accuracy. The
    extra corruptions have separate metrics and are in no average. ``adversarial_…`` is under the
    strongest attack, which leaves the lowest accuracy, of all attacks on the same images.

    Args:
      lines: from ``run.run``.
      ledger: ledger with the resamples.
    """
    summary: dict[str, Any] = {}
    for kind, prefix in PREFIX.items():
        sets = [line for line in lines if line["kind"] == kind]
        if sets:
            summary |= {f"{prefix}_{k}": value for k, value in _averages(sets, ledger).items()}
    chunks = [line for line in lines if line["kind"] == "attack"]
    names = dict.fromkeys(line["name"] for line in chunks)
    by_attack = {n: _pooled([line for line in chunks if line["name"] == n]) for n in names}
    for name, metrics in by_attack.items():
        summary |= {f"{name}_{k}": value for k, value in metrics.items()}
    if by_attack:
        strongest = min(by_attack.values(), key=lambda metrics: metrics["accuracy"])
        summary |= {f"adversarial_{k}": value for k, value in strongest.items()}
        summary[ATTACKED] = chunks[0]["examples"]
    return summary


def is_replaced(name: str, kinds: Collection[str]) -> bool:
    """Whether an earlier entry of a result gives way to a new evaluation of these kinds.

    Kinds are those of ``run.Unit``, and VIEWS.

    A result holds one evaluation of each kind, so that all its metrics are of the same images.
    """
    prefixes = [f"{prefix}_" for kind, prefix in PREFIX.items() if kind in kinds]
    if VIEWS in kinds:
        prefixes.append(VIEWS)
    if "attack" in kinds:
        prefixes += [ATTACKED, "adversarial_", *(f"{attack}_" for attack in attacks.TABLE)]
    return name.startswith(tuple(prefixes))


def _averages(sets: Sequence[Line], ledger: Ledger) -> dict[str, Any]:
    """Computes means over sets, also by severity, and intervals over the images."""
    names = [f"{name}{end}" for end in ("", "_ts", "_vs") for name in HEADLINE]
    names = [name for name in names if all(name in line for line in sets)]
    averages: dict[str, Any] = {"examples": sets[0]["examples"]}
    averages |= {name: float(np.mean([line[name] for line in sets])) for name in names}
    whole = {line["place"] for line in sets} == set(corruptions.SEVERITIES)
    for name in (n for n in BY_SEVERITY if n in names and whole):
        averages[f"{name}_by_severity"] = [
            float(np.mean([line[name] for line in sets if line["place"] == severity]))
            for severity in corruptions.SEVERITIES
        ]
    if len({(line["examples"], line["labels"]) for line in sets}) == 1:
        averages |= _joint_intervals(sets, names, ledger)
    return averages


def _joint_intervals(sets, names, ledger):
    """Computes intervals of means over sets; resample s has the same images in every set."""
    totals: dict[str, Any] = dict.fromkeys(names, 0.0)
    for line in sets:
        resamples = ledger.resamples(line, names)
        for name in names:
            totals[name] = totals[name] + resamples[name].astype(np.float64)
    return {
        f"{name}_interval": bootstrap.percentiles(total / len(sets))
        for name, total in totals.items()
    }


def _pooled(chunks: Sequence[Line]) -> dict[str, Any]:
    """Computes metrics of all images under one attack from the sums of its chunks."""
    num = sum(line["attacked"] for line in chunks)
    correct = sum(line["correct"] for line in chunks)
    pooled = {
        "accuracy": correct / num,
        "accuracy_interval": bootstrap.share_interval(correct, num),
    }
    for end in ("", "_ts"):
        sums = {
            field: np.sum([line[f"bins{end}"][field] for line in chunks], axis=0)
            for field in ("count", "correct", "confidence")
        }
        pooled[f"ece{end}"] = float(calibration.ece(BucketStats(**sums)))
        pooled[f"nll{end}"] = sum(line[f"nll_sum{end}"] for line in chunks) / num
    return pooled
