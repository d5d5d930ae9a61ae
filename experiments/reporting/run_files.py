"""Finds and reads runs.

A run is a folder with ``config.json``, ``metrics.jsonl`` and, once it is finished,
``result.json``, or a row of a packed study. Tables, figures and the report are made from these
files alone, see ``frame``.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import registry, run_dir
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments.reporting import methods, numerics, packed

# Values that a run uses for fields added after it was made, as JSON stores them.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")
CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")

# Fields that describe where a run is stored and what it is called, not what it computes.
BOOKKEEPING = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
BOOKKEEPING += ("checkpoint.every_epochs",)
OF_LABELS = ("labels.", "buckets.", "calibration.num_bins")
# Fields that only a rule that learns reads.
OF_LEARNING = ("labels.update_every", "labels.warmup_epochs", *OF_LABELS[1:])
# Of the splits, in the result.
SIZES = ("train_examples", "calibration_examples", "test_examples")

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

        kept = {name: value for name, value in config.items() if is_read(name)}
        kept |= {name: result[name] for name in SIZES if name in result}
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
        reason = getattr(value, "reason", f"cannot be read as {what}").partition(";")[0]
        faults.append(f"its {name} {reason}; {RESTORE}")
        return nothing

    config = try_read(run_dir.CONFIG, files.read_config, dict, {})
    lines = try_read(run_dir.METRICS, files.read_metrics, list, [])
    if not faults and (changed := files.changed_epochs()):
        faults.append(
            f"epochs {changed} of its {run_dir.METRICS} differ from those in its last checkpoint; "
            "run the training command again, which restores them"
        )
    result = None
    if files.is_finished:
        result = try_read(run_dir.RESULT, files.read_result, dict, None)
    return RunRecord(workdir, _flat(config), lines, result, "; ".join(dict.fromkeys(faults)))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(config, sep=".")
