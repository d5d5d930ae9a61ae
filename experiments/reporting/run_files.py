"""Finding and reading runs, and telling those that count from those that do not.

A run is a folder with ``config.json``, ``metrics.jsonl`` and, once it is finished,
``result.json``. Tables, figures and the report are made from these files alone.
"""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from flax import traverse_util

from autolabel_jax import augment, labels, models, run_dir
from autolabel_jax.run_dir import RunDir
from configs import base

NEEDED = ("dataset", "model", "augmentation", "label_rule", "seed", "epochs", "revision")
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
FIGURES = ("accuracy", "ece", "nll", "brier")  # that every result has
# What a run from before a field existed did; as JSON has it.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")
LINE_FIGURES = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")

# Fields that say where a run lies and how it is called, not what it computes.
ELSEWHERE = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
ELSEWHERE += ("checkpoint.every_epochs",)
# Rules that read buckets and the calibration set.
LEARNED = ("autolabel", "bucket_accuracy", "bucket_temperature")


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of one run; ``result`` is None where there is none that can be read."""

    workdir: pathlib.Path
    config: dict[str, Any]  # flat, 'labels.rule'
    lines: list[dict[str, Any]]  # of metrics.jsonl, one an epoch
    result: dict[str, Any] | None

    @property
    def dirty(self) -> bool:
        """Made from files that no commit holds."""
        return str((self.result or {}).get("revision", "")).endswith("-dirty")


def find(arguments: Sequence[str]) -> list[pathlib.Path]:
    """The folders of runs: each one given, or those below it.

    Raises:
      ValueError: nothing given, no such folder, or one with no run in or below it.
    """
    if not arguments:
        raise ValueError("no run given; name the --workdir of one or more runs, as in runs/*/")
    found = {}
    for argument in arguments:
        folder = pathlib.Path(argument)
        if not folder.is_dir():
            raise ValueError(f"{argument}: there is no such folder; give the --workdir of a run")
        workdirs = run_dir.find(folder)
        if not workdirs:
            raise ValueError(
                f"{argument}: found no config.json there nor in any folder below; "
                "give the --workdir of a run"
            )
        found.update({workdir.resolve(): workdir for workdir in workdirs})
    return list(found.values())


def read(workdir: pathlib.Path) -> Run:
    """The files of one run.

    Raises:
      ValueError: config.json is no JSON object.
    """
    config = _object(RunDir(workdir).read_config)
    if config is None:
        raise ValueError(f"{workdir}: config.json cannot be read as a JSON object")
    return Run(
        workdir=workdir,
        config=traverse_util.flatten_dict(config, sep="."),
        lines=RunDir(workdir).read_metrics(),
        result=_object(RunDir(workdir).read_result),
    )


def _object(read: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        value = read()
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def sort_out(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, str]]]:
    """The runs that count, and each of the others with the reason why it does not.

    In a folder all that count are of one revision; another folder may be of another one.

    Raises:
      ValueError: as many runs of one revision as of another in a folder.
    """
    reasons = {run.workdir: _fault(run) for run in runs}
    folders: dict[pathlib.Path, list[Run]] = {}
    for run in runs:
        if not reasons[run.workdir]:
            folders.setdefault(run.workdir.resolve().parent, []).append(run)
    for folder, together in folders.items():
        revision = _majority(folder, [run.result["revision"] for run in together])
        for run in together:
            own = run.result["revision"]
            if own != revision:
                reasons[run.workdir] = f"of revision {own}, most are of {revision}"
    good = [run for run in runs if not reasons[run.workdir]]
    return good, [(run, reasons[run.workdir]) for run in runs if reasons[run.workdir]]


def _majority(folder: pathlib.Path, revisions: Sequence[str]) -> str:
    """The commonest revision; of two equally common ones the one without -dirty."""
    counts = collections.Counter(revisions)
    ranked = sorted(counts, key=lambda r: (-counts[r], r.endswith("-dirty")))
    if len(ranked) > 1:
        first, second = ranked[:2]
        tied = counts[first] == counts[second]
        if tied and first.endswith("-dirty") == second.endswith("-dirty"):
            raise ValueError(
                f"revision: as many runs ({counts[first]}) of {first} as of {second} in {folder}, "
                "and runs of different code are not compared; give the runs of one of them"
            )
    return ranked[0]


def _fault(run: Run) -> str | None:
    """Why a run does not count, its revision aside; None if it does."""
    epochs = run.config.get("epochs")
    if run.result is None:
        there = RunDir(run.workdir).is_finished
        what = "its result.json cannot be read" if there else "not finished: no result.json"
        return f"{what}; {len(run.lines)} of {epochs} epochs in metrics.jsonl"
    missing = [name for name in (*NEEDED, *FIGURES) if name not in run.result]
    if missing:
        return f"result.json lacks {', '.join(missing)}"
    missing = [name for name in NEEDED_CONFIG if name not in run.config]
    if missing:
        return f"config.json lacks {', '.join(missing)}"
    if len(run.lines) < run.result["epochs"]:
        return f"not finished: {len(run.lines)} of {run.result['epochs']} epochs in metrics.jsonl"
    wrong = [name for name, value in run.result.items() if _not_finite(value)]
    wrong += [name for name in FIGURES if run.result[name] is None]
    if wrong:
        return f"not finite in result.json: {', '.join(wrong)}"
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer leaves null.
        wrong = [n for n in LINE_FIGURES if n in line and _not_finite(line[n], null=True)]
        if wrong:
            return f"not finite in epoch {i + 1} of metrics.jsonl: {', '.join(wrong)}"
    return None


def _not_finite(value: Any, null: bool = False) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(_not_finite(v, null) for v in value)
    if value is None:
        return null
    return isinstance(value, float) and not math.isfinite(value)


def model_name(config: dict[str, Any]) -> str:
    """The model with the sizes that it has: 'wide_resnet-28-10', 'mlp-256', 'resnet18'."""
    name = config["model.name"]
    fields = models.TABLE[name][1] if name in models.TABLE else ("depth", "width")
    sizes = [config[f"model.{f}"] for f in fields if f"model.{f}" in config]
    return "-".join([name, *map(str, sizes)])


def settings(run: Run) -> dict[str, Any]:
    """What the run computes, seed aside: runs with equal settings may be averaged.

    Fields that this model, augmentation and label rule do not read are left out, and those that
    came after the run have their defaults; the sizes of the splits come from the result, as a
    config may say 'all'. The revision is one of the settings.
    """
    config, result = DEFAULTS | run.config, run.result
    kept = {
        name: value
        for name, value in config.items()
        if name not in ELSEWHERE and _is_read(name, config)
    }
    if config.get("dataset") == "arrays":
        kept["data_dir"] = config.get("data_dir")
    sizes = ("train_examples", "calibration_examples", "test_examples", "revision")
    return kept | {name: result[name] for name in sizes if name in result}


def block(run: Run) -> dict[str, Any]:
    """Settings without those of the labels: within a block, rules may be compared."""
    own = ("labels.", "buckets.", "calibration.num_bins")
    return {name: value for name, value in settings(run).items() if not name.startswith(own)}


def _is_read(name: str, config: dict[str, Any]) -> bool:
    part, _, field = name.partition(".")
    rule, method = config.get("labels.rule"), config.get("augment.name")
    if part == "model" and config.get("model.name") in models.TABLE:
        return field in ("name", *models.TABLE[config["model.name"]][1])
    if part == "augment" and method in augment.TABLE:
        return field in ("name", *augment.TABLE[method][1])
    if part == "labels" and rule in labels.TABLE:
        schedule = ("update_every", "warmup_epochs") if rule in LEARNED else ()
        return field in ("rule", *labels.fields(rule), *schedule)
    if part == "buckets" or name == "calibration.num_bins":
        return rule in LEARNED or rule not in labels.TABLE
    return True
