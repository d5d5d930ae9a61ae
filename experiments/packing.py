"""Packs folders of runs into studies, which ``reporting.run_files`` reads."""

import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from autolabel_jax import files, run_dir
from autolabel_jax.run_dir import RunDir
from experiments.reporting import run_files


def pack(workdirs: Sequence[pathlib.Path], study: pathlib.Path) -> int:
    """Adds folders of finished runs to a study, whole or not at all; returns how many are new."""
    packed = run_files.read_study(study) if study.is_file() else {}
    rows = {row["name"]: row for row in files.read_json_lines(study)} if packed else {}
    lines = {name: run.lines for name, run in packed.items()}
    for workdir in workdirs:
        run, name = RunDir(workdir), workdir.resolve().name
        curve = run.read_metrics()
        config = _without_folders(files.read_json(workdir / run_dir.CONFIG))
        row = {"name": name, "config": config, "result": run.read_result(), "epochs": len(curve)}
        if name in rows and (rows[name], lines[name]) != (row, curve):
            raise ValueError(f"{workdir}: {study} has another run of the name {name}; rename one")
        rows[name], lines[name] = row, curve
    if len(rows) > len(packed):
        study.parent.mkdir(parents=True, exist_ok=True)
        if any(lines.values()):
            _write_curves(study, {name: lines[name] for name in sorted(rows) if lines[name]})
        files.rewrite_json_lines(study, [rows[name] for name in sorted(rows)], checksum=True)
    return len(rows) - len(packed)


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config without folders of the machine that made the run."""
    model = config["model"]
    weights = pathlib.PurePath(model.get("init_from", "")).name
    named = {"init_from": weights} if "init_from" in model else {}
    return config | {"data_dir": "", "model": model | named}


def _write_curves(study: pathlib.Path, lines: dict[str, run_files.Lines]) -> None:
    """Replaces the curves of a study; each study is a row group, so that it is read alone."""
    curves, own = study.with_name(run_files.CURVES_FILE), study.stem
    flat = [{"study": own, "name": name, **line} for name in lines for line in lines[name]]
    fields = dict.fromkeys(["study", "name", *(field for line in flat for field in line)])
    tables = [pa.table({field: [line.get(field) for line in flat] for field in fields})]
    tables += [run_files.read_curves(curves, "!=", own)] if curves.is_file() else []
    table = pa.concat_tables(tables, promote_options="permissive").sort_by("study")
    if run_files.lines_of(table.filter(compute.equal(table["study"], own))) != lines:
        raise ValueError(f"{study}: a line of metrics.jsonl cannot be stored exactly")
    settings = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    settings |= {"write_page_checksum": True}
    with (
        files.replacing(curves) as file,
        parquet.ParquetWriter(file, table.schema, **settings) as out,
    ):
        for name in table["study"].unique().to_pylist():
            out.write_table(table.filter(compute.equal(table["study"], name)))
