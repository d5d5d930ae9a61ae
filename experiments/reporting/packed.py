"""Packed studies: a file of JSON lines each, and one Parquet file of their label curves.

``results/digits.jsonl`` holds a row for each run, sorted by name: ``name`` of its folder,
``config``, ``result``, and ``epochs``, the number of lines of ``metrics.jsonl``. These lines are
rows of ``results/curves.parquet``, with ``study`` and ``name``. The path of a packed run is that
of its folder, ``results/digits/NAME``.
"""

import fnmatch
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from autolabel_jax import files
from autolabel_jax.run_dir import RunDir

SUFFIX, CURVES = ".jsonl", "curves.parquet"
CALIBRATORS = "calibrators.jsonl"  # beside the studies, with rows of ``experiments.calibrators``

Row = dict[str, Any]
Lines = list[dict[str, Any]]


def find(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the packed runs that a path names, in the order of their files.

    Args:
      path: a study, 'results/digits' or 'results/digits.jsonl'; a run of one, or a pattern of
        names, 'results/digits/labels.rule=one_hot,*'; or a folder of studies, 'results'.
    """
    if RunDir(path).is_claimed:
        return []
    named = path.with_name(path.name.removesuffix(SUFFIX) + SUFFIX)
    whole = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []
    whole = [study for study in whole if study.name != CALIBRATORS]
    studies = [*whole, *([named] if named.is_file() else [])]
    found = [_folder(study) / name for study in studies for name in _rows(study)]
    names = _rows(_study(path)) if _study(path).is_file() else ()
    return found + [path.with_name(name) for name in fnmatch.filter(names, path.name)]


def read(workdir: pathlib.Path) -> tuple[Row, Lines] | None:
    """Returns row and metrics of a packed run; None if there is no such run."""
    study = _study(workdir)
    row = _rows(study).get(workdir.name) if study.is_file() else None
    lines = _lines(study) if row and row.get("epochs") else {}
    return None if row is None else (row, lines.get(workdir.name, []))


def pack(workdirs: Sequence[pathlib.Path], study: pathlib.Path) -> int:
    """Adds runs to a study, whole or not at all; an exact repeat changes nothing.

    Args:
      workdirs: folders of finished runs, whose names become those of the rows.
      study: file of the study, made if it does not exist; the curves are beside it.

    Returns:
      The number of runs that were not there before.

    Raises:
      ValueError: the study has another run of a name, or curves cannot be stored exactly.
    """
    rows = dict(_rows(study)) if study.is_file() else {}
    lines = {name: _lines(study)[name] for name in rows if rows[name].get("epochs")}
    before = len(rows)
    for workdir in workdirs:
        run, name = RunDir(workdir), workdir.resolve().name
        curve = run.read_metrics()
        # A path on the machine that made the run, which means nothing elsewhere.
        config = run.read_config() | {"data_dir": ""}
        row = {"name": name, "config": config, "result": run.read_result()}
        row["epochs"] = len(curve)
        if name in rows and (rows[name], lines.get(name, [])) != (row, curve):
            raise ValueError(f"{workdir}: {study} has another run of the name {name}; rename one")
        rows[name], lines[name] = row, curve
    if len(rows) > before:
        study.parent.mkdir(parents=True, exist_ok=True)
        if known := {name: lines[name] for name in sorted(rows) if lines.get(name)}:
            _write_curves(study, known)
        files.rewrite_json_lines(study, [rows[name] for name in sorted(rows)], checksum=True)
    return len(rows) - before


def _folder(study: pathlib.Path) -> pathlib.Path:
    return study.with_name(study.name.removesuffix(SUFFIX))


def _study(workdir: pathlib.Path) -> pathlib.Path:
    return workdir.parent.parent / f"{workdir.parent.name}{SUFFIX}"


def _rows(study: pathlib.Path) -> dict[str, Row]:
    return _rows_of(study, study.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _rows_of(study: pathlib.Path, changed: int) -> dict[str, Row]:
    del changed  # a file that was replaced is read again
    rows = {}
    for i, line in enumerate(study.read_bytes().splitlines(), 1):
        try:
            row = files.parse(line)
            dict(row["config"])
            if row["name"] in rows:
                raise ValueError(f"{row['name']} stands there twice")
            rows[row["name"]] = row
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{study}:{i}: expected a file of experiments.results, with a run a line "
                f"({error}); restore the file, or move it away"
            ) from error
    return rows


def _lines(study: pathlib.Path) -> dict[str, Lines]:
    curves = study.with_name(CURVES)
    return _lines_of(curves, _folder(study).name, curves.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _lines_of(curves: pathlib.Path, study: str, changed: int) -> dict[str, Lines]:
    del changed
    return _runs_in(_read_curves(curves, ("study", "==", study)))


def _read_curves(curves: pathlib.Path, wanted: tuple[str, str, str]) -> pa.Table:
    try:
        return parquet.read_table(curves, filters=[wanted], page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise files.DamagedError(curves, "cannot be read as Parquet; restore the file") from error


def _runs_in(table: pa.Table) -> dict[str, Lines]:
    """Returns the lines of each run; a field that is null in all of them was not there."""
    fields, runs = table.drop_columns(["study", "name"]).column_names, {}
    for name, group in itertools.groupby(table.to_pylist(), key=lambda line: line["name"]):
        lines = list(group)
        there = [f for f in fields if any(line[f] is not None for line in lines)]
        runs[name] = [{field: line[field] for field in there} for line in lines]
    return runs


def _write_curves(study: pathlib.Path, lines: dict[str, Lines]) -> None:
    """Replaces the curves of a study; each study is a row group, so that it is read alone."""
    curves, own = study.with_name(CURVES), _folder(study).name
    flat = [{"study": own, "name": name, **line} for name in lines for line in lines[name]]
    fields = dict.fromkeys(field for line in flat for field in line)
    tables = [pa.table({field: [line.get(field) for line in flat] for field in fields})]
    if curves.is_file():
        tables.append(_read_curves(curves, ("study", "!=", own)))
    table = pa.concat_tables(tables, promote_options="permissive").sort_by("study")
    if _runs_in(table.filter(compute.equal(table["study"], own))) != lines:
        raise ValueError(f"{study}: a line of metrics.jsonl cannot be stored exactly")
    settings = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    settings |= {"write_page_checksum": True}
    with (
        files.replacing(curves) as file,
        parquet.ParquetWriter(file, table.schema, **settings) as writer,
    ):
        for name in table["study"].unique().to_pylist():
            writer.write_table(table.filter(compute.equal(table["study"], name)))
