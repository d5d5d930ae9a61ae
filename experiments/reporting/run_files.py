"""Finds and reads runs, and separates those that can be compared from the others.

A run is a folder with ``config.json``, ``metrics.jsonl`` and, once it is finished,
``result.json``, or a row of a packed study. Tables, figures and the report are made from these
files alone, see ``frame``.
"""

import collections
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import registry, run_dir
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments.reporting import columns, methods, numerics, packed

TEXTS = ("dataset", "model", "augmentation", "label_rule", "revision")  # of every result
METRICS = ("accuracy", "ece", "nll", "brier")
NUMBERS = ("seed", "epochs", *METRICS)
LISTS = ("_interval", "_by_severity")
NEEDED_CONFIG = ("dataset", "epochs", "model.name", "augment.name", "labels.rule")
# Values that a run uses for fields added after it was made, as JSON stores them.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")
LINE_METRICS = ("train_loss", "calibration_accuracy", "calibration_ece", "label_confidence")
CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")

# Fields that describe where a run is stored and what it is called, not what it computes.
BOOKKEEPING = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
BOOKKEEPING += ("checkpoint.every_epochs",)
OF_LABELS = ("labels.", "buckets.", "calibration.num_bins")
# Fields that only a rule that learns reads.
OF_LEARNING = ("labels.update_every", "labels.warmup_epochs", *OF_LABELS[1:])

RESUME = "run its command again to finish it"
RESTORE = "restore the file, or move the folder away"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What the files of one run hold.

    Attributes:
      workdir: the folder that holds them, or held them before they were packed.
      config: flat, with keys such as 'labels.rule'.
      lines: of metrics.jsonl, one per epoch.
      result: None if the run is not finished.
      fault: which file cannot be read, and why; '' if all can.
    """

    workdir: pathlib.Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    result: dict[str, Any] | None
    fault: str = ""

    @property
    def full_config(self) -> ConfigDict:
        """The config with all fields; those that were added after the run have their defaults."""
        return ConfigDict(traverse_util.unflatten_dict(DEFAULTS | self.config, sep="."))

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What a finished run computes, without the seed: equal settings may be averaged.

        Fields that the model, augmentation and label rule do not read are left out. Fields that
        were added after the run have their defaults. The sizes of the splits come from the result,
        because a config may ask for all examples. The numerics version is one of the settings.
        """
        config, result = DEFAULTS | self.config, self.result or {}
        declared = {registry.GROUPS[p]: methods.fields(p, config) for p in methods.TABLES}
        rule = methods.find("labels.rule", config["labels.rule"])

        def is_read(name: str) -> bool:
            group, _, field = name.partition(".")
            if name in BOOKKEEPING:
                return name == "data_dir" and config["dataset"] == "arrays"
            if name.startswith(OF_LEARNING):
                return rule is None or rule.learns
            fields = declared.get(group)
            return fields is None or name in methods.TABLES or field in fields

        sizes = ("train_examples", "calibration_examples", "test_examples")
        kept = {name: value for name, value in config.items() if is_read(name)}
        kept |= {name: result[name] for name in sizes if name in result}
        return kept | numerics.identity(result)

    @property
    def block(self) -> dict[str, Any]:
        """The settings without those of the labels: runs that agree in them are compared."""
        return {n: value for n, value in self.settings.items() if not n.startswith(OF_LABELS)}


def key(settings: Mapping[str, Any]) -> str:
    """Returns a text that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True)


def find(arguments: Sequence[str]) -> list[pathlib.Path]:
    """Returns the folders of runs: each given folder that is a run, else all runs below it.

    Packed runs have paths as if they were folders; ``packed.find`` says what names them.

    Raises:
      ValueError: no folder is given, one does not exist, or one holds no run.
    """
    expected = "expected the --workdir of one or more runs, as in runs/*/"
    if not arguments:
        raise ValueError(f"no run given; {expected}")
    workdirs = {}
    for argument in arguments:
        folder = pathlib.Path(argument)
        inside = [*run_dir.find(folder), *packed.find(folder)]
        if not inside:
            found = "found no config.json there nor in any folder below"
            found = found if folder.is_dir() else "no such folder or packed study"
            raise ValueError(f"{argument}: {found}; {expected}")
        workdirs.update({workdir.resolve(): workdir for workdir in inside})
    return list(workdirs.values())


def read(workdir: pathlib.Path) -> RunRecord:
    """Reads one run, from its folder or, where there is none, from a packed study.

    A file that cannot be read is named in ``fault``.
    """
    files, faults = RunDir(workdir), []
    if not files.is_claimed and (found := packed.read(workdir)):
        row, lines = found
        return RunRecord(workdir, _flat(row["config"]), lines, row["result"])

    def try_read(name: str, read: Callable[[], Any], kind: type, nothing: Any) -> Any:
        try:
            value = read()
        except FileNotFoundError:
            return nothing
        except (ValueError, OSError) as error:
            value = error
        if isinstance(value, kind):
            return value
        what = "a JSON object" if kind is dict else "JSON lines"
        faults.append(f"its {name} cannot be read as {what}; {RESTORE}")
        return nothing

    config = try_read(run_dir.CONFIG, files.read_config, dict, {})
    lines = try_read("metrics.jsonl", files.read_metrics, list, [])
    if not all(isinstance(line, dict) for line in lines):
        faults.append(f"its metrics.jsonl cannot be read as JSON lines; {RESTORE}")
    result = None
    if files.is_finished:
        result = try_read(run_dir.RESULT, files.read_result, dict, None)
    lines = [line for line in lines if isinstance(line, dict)]
    return RunRecord(workdir, _flat(config), lines, result, "; ".join(dict.fromkeys(faults)))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(config, sep=".")


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


def _exclusion_reason(run: RunRecord) -> str:
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
    wrong = [n for n in TEXTS if not isinstance(run.result[n], str)]
    wrong += [n for n, v in run.result.items() if n.endswith(LISTS) and not isinstance(v, list)]
    if wrong := wrong + _wrong_types(run.config):
        return f"of a wrong type: {', '.join(wrong)}; {RESTORE}"
    numbers = [n for n in (*NUMBERS, *columns.COLUMNS) if n in run.result]
    wrong = [n for n, value in run.result.items() if not _is_finite(value, other=n not in numbers)]
    if wrong := wrong + [name for name in NUMBERS if run.result[name] is None]:
        return f"not finite in result.json: {', '.join(wrong)}; {RESTORE}"
    if len(run.lines) < run.result["epochs"]:
        epochs = f"{len(run.lines)} of {run.result['epochs']} epochs in metrics.jsonl"
        return f"not finished: {epochs}; {RESUME}"
    for i, line in enumerate(run.lines):
        # JSON has no NaN: the writer stores null, which a curve also has for an empty bucket.
        wrong = [n for n in LINE_METRICS if n in line and not _is_finite(line[n], null=False)]
        if wrong := wrong + [n for n in CURVES if n in line and not _is_curve(line[n])]:
            return f"not finite in epoch {i + 1} of metrics.jsonl: {', '.join(wrong)}; {RESTORE}"
    return ""


def _wrong_types(config: dict[str, Any]) -> list[str]:
    """Returns the fields of a config that are of another type than their defaults."""

    def kind(value: Any) -> type:
        return float if type(value) is int else type(value)

    both = [name for name in config if DEFAULTS.get(name) is not None]
    return [name for name in both if kind(config[name]) is not kind(DEFAULTS[name])]


def _is_finite(value: Any, *, null: bool = True, other: bool = False) -> bool:
    """Whether all numbers in a value are finite; texts are allowed if ``other``."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return all(_is_finite(v, null=null, other=other) for v in inside)
    if value is None:
        return null
    return math.isfinite(value) if isinstance(value, int | float) else other


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and _is_finite(value)
