"""Finds and reads runs, and separates those that can be compared from the others.

A run is a folder with ``config.json``, ``metrics.jsonl`` and, once it is finished,
``result.json``, or a row of a packed study. Tables, figures and the report are made from these
files alone.
"""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import registry, run_dir
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments.reporting import methods, numerics, packed

NEEDED = ("dataset", "model", "augmentation", "label_rule", "seed", "epochs", "revision")
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
METRICS = ("accuracy", "ece", "nll", "brier")  # every result holds these
# Values that a run uses for fields added after it was made, as JSON stores them.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")

# Fields that describe where a run is stored and what it is called, not what it computes.
BOOKKEEPING = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
BOOKKEEPING += ("checkpoint.every_epochs",)
# Fields that schedule the updates of a rule that learns.
SCHEDULE = ("labels.update_every", "labels.warmup_epochs")


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What the files of one run hold.

    Attributes:
      workdir: the folder that holds them, or held them before they were packed.
      config: flat, with keys such as 'labels.rule'.
      lines: of metrics.jsonl, one per epoch.
      result: None if result.json is missing or cannot be read.
    """

    workdir: pathlib.Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    result: dict[str, Any] | None

    @property
    def full_config(self) -> ConfigDict:
        """The config with all fields; those that were added after the run have their defaults."""
        return ConfigDict(traverse_util.unflatten_dict(DEFAULTS | self.config, sep="."))

    @property
    def dirty(self) -> bool:
        """Whether the code of the run differed from its commit."""
        return str((self.result or {}).get("revision", "")).endswith("-dirty")


def find(arguments: Sequence[str]) -> list[pathlib.Path]:
    """Returns the folders of runs: each given folder that is a run, else all runs below it.

    Packed runs have paths as if they were folders; ``packed.find`` says what names them.

    Raises:
      ValueError: no folder is given, one does not exist, or one holds no run.
    """
    if not arguments:
        raise ValueError("no run given; expected the --workdir of one or more runs, as in runs/*/")
    workdirs = {}
    for argument in arguments:
        folder = pathlib.Path(argument)
        inside = [*run_dir.find(folder), *packed.find(folder)]
        if not inside and not folder.is_dir():
            raise ValueError(
                f"{argument}: no such folder or packed study; expected the --workdir of a run"
            )
        if not inside:
            raise ValueError(
                f"{argument}: found no config.json there nor in any folder below; "
                "expected the --workdir of a run"
            )
        workdirs.update({workdir.resolve(): workdir for workdir in inside})
    return list(workdirs.values())


def read(workdir: pathlib.Path) -> RunRecord:
    """Reads one run, from its folder or, where there is none, from a packed study.

    Raises:
      ValueError: config.json is not a JSON object.
    """
    if not RunDir(workdir).is_claimed and (found := packed.read(workdir)):
        row, lines = found
        config = traverse_util.flatten_dict(row["config"], sep=".")
        return RunRecord(workdir, config, lines, row["result"])
    config = _object(RunDir(workdir).read_config)
    if config is None:
        raise ValueError(f"{workdir}: config.json cannot be read as a JSON object")
    return RunRecord(
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
    reasons = {run.workdir: _exclusion_reason(run) for run in runs}
    folders: dict[pathlib.Path, list[RunRecord]] = {}
    for run in runs:
        if not reasons[run.workdir]:
            folders.setdefault(run.workdir.resolve().parent, []).append(run)
    for together in folders.values():
        identities = [tuple(numerics.identity(run.result).items()) for run in together]
        counts = collections.Counter(identities)
        usual = max(counts, key=lambda identity: (counts[identity], identity))
        for run, own in zip(together, identities, strict=True):
            if own != usual:
                reasons[run.workdir] = f"of {_listed(own)}, the others are of {_listed(usual)}"
    reasons |= _repeats([run for run in runs if not reasons[run.workdir]])
    comparable = [run for run in runs if not reasons[run.workdir]]
    return comparable, [(run, reasons[run.workdir]) for run in runs if reasons[run.workdir]]


def _repeats(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns the runs whose settings and seed another run before them has, with the reason."""
    first: dict[str, RunRecord] = {}
    reasons = {}
    for run in runs:
        key = json.dumps([settings(run), run.result["seed"]], sort_keys=True)
        counted = first.setdefault(key, run)
        if counted is not run:
            same = all(run.result[name] == counted.result[name] for name in METRICS)
            metrics = "the same metrics" if same else "other metrics"
            reasons[run.workdir] = (
                f"repeats config and seed of {counted.workdir}, with {metrics}; counted once"
            )
    return reasons


def _listed(identity: tuple[tuple[str, Any], ...]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in identity)


def _exclusion_reason(run: RunRecord) -> str | None:
    """Returns why a run cannot be compared, its numerics version aside; None if it can."""
    epochs = run.config.get("epochs")
    if run.result is None:
        there = RunDir(run.workdir).is_finished
        what = "its result.json cannot be read" if there else "not finished: no result.json"
        return f"{what}; {len(run.lines)} of {epochs} epochs in metrics.jsonl"
    missing = [name for name in (*NEEDED, *METRICS) if name not in run.result]
    if missing:
        return f"result.json lacks {', '.join(missing)}"
    missing = [name for name in NEEDED_CONFIG if name not in run.config]
    if missing:
        return f"config.json lacks {', '.join(missing)}"
    if len(run.lines) < run.result["epochs"]:
        return f"not finished: {len(run.lines)} of {run.result['epochs']} epochs in metrics.jsonl"
    wrong = [name for name, value in run.result.items() if _not_finite(value)]
    wrong += [name for name in METRICS if run.result[name] is None]
    if wrong:
        return f"not finite in result.json: {', '.join(wrong)}"
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer stores null.
        wrong = [n for n in LINE_METRICS if n in line and _not_finite(line[n], null=True)]
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
    """Returns the model's name and sizes: 'wide_resnet-28-10', 'mlp-256', 'resnet18'."""
    name = config["model.name"]
    fields = methods.fields("model.name", config)
    sizes = [config[f"model.{f}"] for f in fields or () if f"model.{f}" in config]
    return "-".join([methods.title("model.name", name), *map(str, sizes)])


def settings(run: RunRecord) -> dict[str, Any]:
    """Returns what the run computes, without the seed: runs with equal settings may be averaged.

    Fields that the model, augmentation and label rule do not read are left out. Fields that were
    added after the run have their defaults. The sizes of the splits come from the result, because
    a config may ask for all examples. The numerics version is one of the settings.
    """
    config, result = DEFAULTS | run.config, run.result
    kept = {
        name: value
        for name, value in config.items()
        if name not in BOOKKEEPING and _is_read(name, config)
    }
    if config.get("dataset") == "arrays":
        kept["data_dir"] = config.get("data_dir")
    sizes = ("train_examples", "calibration_examples", "test_examples")
    kept |= {name: result[name] for name in sizes if name in result}
    return kept | numerics.identity(result)


def block(run: RunRecord) -> dict[str, Any]:
    """Returns the settings without those of the labels: runs that agree in them form a block."""
    own = ("labels.", "buckets.", "calibration.num_bins")
    return {name: value for name, value in settings(run).items() if not name.startswith(own)}


def _is_read(name: str, config: dict[str, Any]) -> bool:
    """Whether the methods of the run read a field; True if a method cannot be loaded."""
    rule = methods.find("labels.rule", config.get("labels.rule"))
    if name in SCHEDULE or name.startswith("buckets.") or name == "calibration.num_bins":
        return rule is None or rule.learns
    part, _, field = name.partition(".")
    for place in methods.TABLES:
        if name != place and part == registry.GROUPS[place]:
            declared = methods.fields(place, config)
            return declared is None or field in declared
    return True
