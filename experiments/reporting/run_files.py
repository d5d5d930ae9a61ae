"""Finds and reads runs: folders as a training leaves them, and rows of packed studies.

A row of a study such as ``results/digits.jsonl`` holds ``name`` of the folder, ``config``,
``result``, and ``epochs``, the number of lines of ``metrics.jsonl``. These lines are rows of
``results/curves.parquet``, with ``study`` and ``name``. The path of a packed run is that of its
folder, ``results/digits/NAME``.
"""

import dataclasses
import fnmatch
import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from flax import traverse_util
from ml_collections import ConfigDict
from pyarrow import parquet

from autolabel_jax import files, metric_writer, registry, run_dir
from autolabel_jax.run_dir import RunDir
from experiments.reporting import methods, numerics

CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")
# Fields that describe where a run is stored and what it is called, not what it computes.
BOOKKEEPING = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
BOOKKEEPING += ("checkpoint.every_epochs", "calibration.beyond", "calibration.beyond_every")
OF_LABELS = ("labels.", "buckets.", "calibration.num_bins")
OF_LABELS += ("calibration.exact", "calibration.share")
# Fields that only a rule that learns reads.
OF_LEARNING = ("labels.update_every", "labels.warmup_epochs", *OF_LABELS[1:])
# Of the splits, in the result.
SIZES = ("train_examples", "calibration_examples", "test_examples")
RESTORE = "restore the file, or move the folder away"

SUFFIX, CURVES_FILE = ".jsonl", "curves.parquet"
CALIBRATORS = "calibrators.jsonl"  # beside the studies, with rows of ``experiments.calibrators``
SOMETIMES = "beyond_"  # fields of metrics.jsonl that some lines have, see ``diagnosis.beyond``
Lines = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What the files of one run hold."""

    workdir: pathlib.Path  # that holds them, or held them before they were packed
    config: dict[str, Any]  # flat, with keys such as 'labels.rule'
    lines: Lines  # of metrics.jsonl, one per epoch
    result: dict[str, Any] | None  # None if the run is not finished
    fault: str = ""  # which file cannot be read, and why

    @property
    def full_config(self) -> ConfigDict:
        """The config with all fields; those that were added after the run have their defaults."""
        return ConfigDict(traverse_util.unflatten_dict(methods.DEFAULTS | self.config, sep="."))

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What a finished run computes, without the seed: equal settings may be averaged.

        Fields that no method of the run reads are left out. The sizes of the splits come from the
        result, because a config may ask for all examples. The numerics version is a setting too.
        """
        config, result = methods.DEFAULTS | self.config, self.result or {}
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


def key(settings: Mapping[str, Any]) -> str:
    """Returns a text that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True)


def load(arguments: Sequence[str]) -> list[RunRecord]:
    """Reads runs: each given folder or packed run, else all runs below a folder or in a study.

    ``results/digits`` and ``results/digits.jsonl`` name a study, ``results`` all studies there,
    and ``results/digits/labels.rule=one_hot,*`` some of its runs.

    Raises:
      ValueError: nothing is given, or an argument names no run, or a study cannot be read.
    """
    expected = "expected the --workdir of one or more runs, as in runs/*/"
    runs = {}
    for folder in map(pathlib.Path, arguments):
        inside = [*map(read, run_dir.find(folder)), *_packed(folder)]
        if not inside:
            found = "found no config.json there nor in any folder below"
            found = found if folder.is_dir() else "no such folder or packed study"
            raise ValueError(f"{folder}: {found}; {expected}")
        runs |= {run.workdir.resolve(): run for run in inside}
    if not runs:
        raise ValueError(f"no run given; {expected}")
    return list(runs.values())


def read(workdir: pathlib.Path) -> RunRecord:
    """Reads the folder of one run; a file that cannot be read is named in ``fault``."""
    run, faults = RunDir(workdir), []

    def try_read(name: str, read: Callable[[], Any], kind: type) -> Any:
        try:
            value = read()
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            value = error
        if isinstance(value, kind):
            return value
        what = "a JSON object" if kind is dict else "JSON lines"
        reason = getattr(value, "reason", f"cannot be read as {what}").partition(";")[0]
        faults.append(f"its {name} {reason}; {RESTORE}")
        return None

    config = try_read(run_dir.CONFIG, run.read_config, dict) or {}
    lines = try_read(run_dir.METRICS, run.read_metrics, list) or []
    if not faults and (changed := metric_writer.changed_epochs(run)):
        faults.append(
            f"epochs {changed} of its {run_dir.METRICS} differ from those in its last checkpoint; "
            "run the training command again, which restores them"
        )
    result = try_read(run_dir.RESULT, run.read_result, dict) if run.is_finished else None
    return RunRecord(workdir, _flat(config), lines, result, "; ".join(dict.fromkeys(faults)))


def _packed(path: pathlib.Path) -> list[RunRecord]:
    """Returns the packed runs that a path names, in the order of their files."""
    if RunDir(path).is_claimed:  # whose metrics.jsonl is no study
        return []
    named = path.with_name(path.name.removesuffix(SUFFIX) + SUFFIX)
    studies = [p for p in sorted(path.glob(f"*{SUFFIX}")) if p.name != CALIBRATORS]
    studies += [named] * named.is_file()
    found = [run for study in studies for run in read_study(study).values()]
    above = path.parent.parent / f"{path.parent.name}{SUFFIX}"
    some = read_study(above) if above.is_file() else {}
    return found + [some[name] for name in fnmatch.filter(some, path.name)]


def read_study(study: pathlib.Path) -> dict[str, RunRecord]:
    """Reads the runs of a packed study by name; a file that has not changed is read once."""
    curves = study.with_name(CURVES_FILE)
    changed = [path.stat().st_mtime_ns for path in (study, curves) if path.is_file()]
    return _read_study(study, curves, *changed)


@functools.lru_cache(maxsize=64)
def _read_study(study: pathlib.Path, curves: pathlib.Path, *_: int) -> dict[str, RunRecord]:
    runs, folder, lines = {}, study.with_suffix(""), {}
    if curves.is_file():
        lines = curves_of(read_curves(curves, ("study", "==", folder.name)))
    for i, line in enumerate(study.read_bytes().splitlines(), 1):
        try:
            row = files.parse(line)
            if row["name"] in runs:
                raise ValueError(f"{row['name']} stands there twice")
            name, config = row["name"], _flat(run_dir.merged(run_dir.BEFORE, row["config"]))
            own = lines[name] if row.get("epochs") else []
            runs[name] = RunRecord(folder / name, config, own, row["result"])
        except (ValueError, TypeError, KeyError) as error:
            what = f"with a run a line, and its epochs in {CURVES_FILE}"
            raise ValueError(
                f"{study}:{i}: expected a file of experiments.results, {what} ({error}); restore "
                "both files, or move them away"
            ) from error
    return runs


def read_curves(curves: pathlib.Path, wanted: tuple[str, str, str]) -> pa.Table:
    """Reads the rows of a file of curves that a filter of pyarrow chooses.

    Raises:
      files.DamagedError: the file cannot be read.
    """
    try:
        return parquet.read_table(curves, filters=[wanted], page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise files.DamagedError(curves, "cannot be read as Parquet; restore the file") from error


def curves_of(table: pa.Table) -> dict[str, Lines]:
    """Returns the lines of each run; a field that is null in all of them was not there.

    Neither was a field of ``SOMETIMES`` where it is null.
    """
    fields, runs = table.drop_columns(["study", "name"]).column_names, {}
    for name, group in itertools.groupby(table.to_pylist(), key=lambda line: line["name"]):
        lines = list(group)
        there = [f for f in fields if any(line[f] is not None for line in lines)]
        runs[name] = [
            {f: line[f] for f in there if line[f] is not None or not f.startswith(SOMETIMES)}
            for line in lines
        ]
    return runs


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(config, sep=".")
