"""Finds and reads runs: folders as a training leaves them, and rows of packed studies.

A row of a study such as ``results/digits.jsonl`` holds ``name`` of the folder, ``config``,
``result``, and ``epochs``, the number of lines of ``metrics.jsonl``. These lines are rows of
``results/curves.parquet``. The path of a packed run is that of its folder, ``results/digits/NAME``.
"""

import dataclasses
import fnmatch
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from flax import traverse_util
from ml_collections import ConfigDict
from pyarrow import parquet

from autolabel_jax import files, metric_writer, registry, run_dir
from autolabel_jax.run_dir import RunDir
from experiments.reporting import naming

CURVES = ("label_confidence", "bucket_accuracy", "bucket_confidence", "bucket_ece")
# Fields that describe where a run is stored and what it is called, not what it computes.
BOOKKEEPING = ("name", "seed", "data_dir", "eval_batch_size", "checkpoint.keep")
BOOKKEEPING += ("checkpoint.every_epochs", "calibration.beyond", "calibration.beyond_every")
OF_LABELS = ("labels.", "buckets.", "calibration.num_bins")
OF_LABELS += ("calibration.exact", "calibration.share")
# Fields that only a rule that learns reads.
OF_LEARNING = ("labels.update_every", "labels.warmup_epochs", *OF_LABELS[1:])
# Fields of the group of models that all of them read.
OF_MODELS = ("model.init_from", "model.normalization", "model.freeze_batch_norm")
SIZES = ("train_examples", "calibration_examples", "test_examples")  # of splits, in the result
RESTORE = "restore the file, or move the folder away"
SUFFIX, CURVES_FILE = ".jsonl", "curves.parquet"
CALIBRATORS = "calibrators.jsonl"  # beside the studies, with rows of ``experiments.calibrators``
SOMETIMES = "beyond_"  # fields that some lines of a run have, see ``diagnosis.beyond``
Lines = list[dict[str, Any]]

# The numerics version of commits from before ``result.json`` held one. At those of one version,
# short trainings (augmix, mixup, randaugment, adversarial, k-means buckets, evaluation of attacks)
# gave equal bits in all metrics on a CPU. Stored runs of 015e101 and 6d865fa are of a GPU.
VERSIONS = {
    "015e101289b7bc4092138ba5880f7a59234662db": 1,
    "6d865fa1a5554822f9e8b2686cc13eaa711de50e": 2,
    "6a4f37e84944b1f75687223ddf6cc304526b5dd1": 2,
    "9b67fdb405cc9d6d9f947ff606f10863bcb4515c": 2,
    "62ff0e0630507546ba90cec5f30b5b28266b1f56": 2,
}
UNKNOWN = 0  # a version that compares with its own revision alone


def numerics(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what must be equal for runs of one config to be compared."""
    commit = result["revision"].removesuffix("-dirty")
    known = result.get("numerics_version", VERSIONS.get(commit, UNKNOWN))
    return {"numerics_version": known} | ({} if known else {"revision": commit})


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
        return ConfigDict(traverse_util.unflatten_dict(naming.DEFAULTS | self.config, sep="."))

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What a finished run computes, without the seed and fields that no method of it reads."""
        config, result = naming.DEFAULTS | self.config, self.result or {}
        unread = [n for n in BOOKKEEPING if n != "data_dir" or config["dataset"] != "arrays"]
        if not naming.learns(config["labels.rule"]):
            unread += [name for name in config if name.startswith(OF_LEARNING)]
        for field in naming.TABLES:
            group, own = registry.GROUPS[field], naming.fields(field, config)
            read = [field, *OF_LEARNING, *OF_MODELS, *(f"{group}.{name}" for name in own or ())]
            others = [name for name in config if name.startswith(f"{group}.") and name not in read]
            unread += others if own is not None else ()
        kept = {name: value for name, value in config.items() if name not in unread}
        measured = (*SIZES, run_dir.INIT_FROM)
        return kept | {n: result[n] for n in measured if n in result} | numerics(result)


def load(arguments: Sequence[str]) -> list[RunRecord]:
    """Reads runs: each folder or packed run, else all runs below a folder or in its studies."""
    expected, runs = "expected the --workdir of one or more runs, as in runs/*/", {}
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
    run, values, faults = RunDir(workdir), {}, []
    names = {run_dir.CONFIG: run.read_config, run_dir.METRICS: run.read_metrics}
    for name, read_file in (names | {run_dir.RESULT: run.read_result}).items():
        try:
            values[name] = read_file()
        except (ValueError, OSError) as error:
            reason = getattr(error, "reason", "cannot be read").partition(";")[0]
            faults.append(f"its {name} {reason}; {RESTORE}")
    if not faults and (changed := metric_writer.changed_epochs(run)):
        what = "differ from those in its last checkpoint; run the training command again"
        faults.append(f"epochs {changed} of its {run_dir.METRICS} {what}, which restores them")
    config, lines, result = map(values.get, (*names, run_dir.RESULT))
    flat = traverse_util.flatten_dict(config or {}, sep=".")
    return RunRecord(workdir, flat, lines or [], result, "; ".join(faults))


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
    runs, folder = {}, study.with_suffix("")
    lines = lines_of(read_curves(curves, "==", folder.name)) if curves.is_file() else {}
    for i, line in enumerate(study.read_bytes().splitlines(), 1):
        try:
            row = files.parse(line)
            name, config = row["name"], run_dir.merged(run_dir.BEFORE, row["config"])
            config = traverse_util.flatten_dict(config, sep=".")
            if name in runs:
                raise ValueError(f"{name} stands there twice")
            own = lines[name] if row.get("epochs") else []
            runs[name] = RunRecord(folder / name, config, own, row["result"])
        except (ValueError, TypeError, KeyError) as error:
            what = f"expected a file of experiments.results ({error}); restore it and {CURVES_FILE}"
            raise ValueError(f"{study}:{i}: {what}") from error
    return runs


def read_curves(curves: pathlib.Path, compared: str, study: str) -> pa.Table:
    """Reads the curves whose study is ('==') or is not ('!=') the given one."""
    try:
        wanted = [("study", compared, study)]
        return parquet.read_table(curves, filters=wanted, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise files.DamagedError(curves, "cannot be read as Parquet; restore the file") from error


def lines_of(table: pa.Table) -> dict[str, Lines]:
    """Returns the lines of each run, without fields that are null in all, or of ``SOMETIMES``."""
    fields, runs = table.drop_columns(["study", "name"]).column_names, {}
    for name, group in itertools.groupby(table.to_pylist(), key=lambda line: line["name"]):
        lines = list(group)
        there = [f for f in fields if any(line[f] is not None for line in lines)]
        runs[name] = [
            {f: line[f] for f in there if line[f] is not None or not f.startswith(SOMETIMES)}
            for line in lines
        ]
    return runs
