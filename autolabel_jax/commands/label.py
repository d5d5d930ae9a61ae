"""Learns soft labels for augmented examples that come with their distances.

    autolabel label --data=augmented.parquet --out=labels.parquet

--data is a manifest with the columns path (or input), label, distance and, for copies of one
example, source: see docs/own_data.md. A model is trained on it in the folder --run, as by autolabel
train, unless a finished run is there. --out gets a row for each training and calibration example;
--full adds the whole distribution. bucket_stats.parquet beside it has what was measured in each
bucket after each epoch, and the label that followed.
"""

import argparse
import hashlib
import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow
from ml_collections import ConfigDict
from pyarrow import parquet

from autolabel_jax import buckets, calibration, files, trained
from autolabel_jax.augment import given
from autolabel_jax.commands import output, train

STATS = "bucket_stats.parquet"  # beside the labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--data", required=True, metavar="FILE", help="manifest with the column distance")
    add("--out", required=True, type=pathlib.Path, metavar="FILE", help="labels, .parquet")
    help = "folder of the run (default: --out without its ending, and _run)"
    add("--run", type=pathlib.Path, metavar="FOLDER", help=help)
    add("--full", action="store_true", help="add the distribution over all classes")
    train.add_fields(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: the data or a setting cannot be used.
    """
    out = arguments.out
    if out.suffix != ".parquet":
        raise ValueError(f"--out: got {out}, expected a name that ends in .parquet")
    folder = arguments.run or out.with_name(f"{out.stem}_run")
    given = train.given_fields(arguments)
    if not train.look_at(arguments.data, given).distance:
        raise ValueError(f"--data: {arguments.data} has no column 'distance'")
    config = train.make_config(arguments.data, given)
    stats = out.with_name(STATS)
    for path in (out, stats):
        check_replaceable(path, config)
    result = train.fit(config, folder)
    if isinstance(result, int):
        return result
    restored = trained.restore(folder, config)
    table, metadata = labels(restored, full=arguments.full), describe(restored)
    _write(out, table, metadata)
    _write(stats, bucket_stats(restored), metadata)
    output.say(f"wrote {table.num_rows} labels to {out}, and what they follow from to {stats}")
    return 0


def check_replaceable(path: pathlib.Path, config: ConfigDict) -> None:
    """Checks that a file to write is missing, or was written by a run with the same config.

    Raises:
      ValueError: the file is another one.
    """
    if not path.exists():
        return
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, pyarrow.ArrowException) as error:
        raise files.DamagedError(path, "is no Parquet file; give another --out") from error
    if metadata.get(b"config_sha256") != hash_of(config).encode():
        raise ValueError(
            f"{path}: is of a run with other settings or data; give --out in another folder"
        )


def labels(restored: trained.Trained, *, full: bool = False) -> pyarrow.Table:
    """Returns a row for each training and calibration example, with the label of its bucket.

    The columns are row (of the data), split, label, class, distance, group and source (a number,
    the same for copies of one example; both null if the data have none), bucket, confidence (the
    probability of the true class) and update (number of epochs); with ``full`` also distribution.
    """
    experiment, dataset = restored.experiment, restored.dataset
    columns: dict[str, list[Any]] = {}
    groups = dataset.group_names or (None,)
    for name in ("train", "calibration"):
        split = getattr(dataset, name)
        distance = given.distances(split)
        bucket = buckets.bucket_index(distance, experiment.edges)
        soft = np.asarray(
            experiment.rule.soft_labels(
                restored.snapshot.state.labels,
                jnp.asarray(split.label),
                bucket,
                num_classes=experiment.num_classes,
            )
        )
        names = dataset.class_names or tuple(map(str, range(dataset.num_classes)))
        part = {
            "row": split.index,
            "split": [name] * len(split),
            "label": split.label,
            "class": [names[k] for k in split.label],
            "distance": split.distance,
            "group": [groups[g] for g in distance.group],
            "source": [None] * len(split) if split.source is None else split.source,
            "bucket": np.asarray(bucket),
            "confidence": soft[np.arange(len(split)), split.label],
            "update": [int(restored.snapshot.epoch)] * len(split),
        }
        if full:
            part["distribution"] = list(soft)
        for column, values in part.items():
            columns.setdefault(column, []).extend(values)
    return _with_groups(columns).sort_by("row")


def bucket_stats(restored: trained.Trained) -> pyarrow.Table:
    """Returns a row for each epoch and bucket: the statistics, and the label after the update."""
    intervals = len(restored.experiment.edges) - 1
    groups = restored.dataset.group_names or (None,)
    rows = [
        {
            "update": line["epoch"] + 1,
            "group": groups[bucket // intervals],
            "bucket": bucket,
            **{name: line[f"bucket_{name}"][bucket] for name in calibration.COLUMNS},
            "label_confidence": line["label_confidence"][bucket],
        }
        for line in restored.lines
        for bucket in range(len(line["label_confidence"]))
    ]
    return _with_groups({name: [row[name] for row in rows] for name in rows[0]})


def _with_groups(columns: dict[str, list[Any]]) -> pyarrow.Table:
    """Makes a table whose column group is text, even if all of it is null."""
    text = pyarrow.array(columns["group"], pyarrow.string())
    return pyarrow.table({**columns, "group": text})


def describe(restored: trained.Trained) -> dict[str, str]:
    """Returns the metadata of both files: edges of the buckets, rule, its settings and config."""
    config: ConfigDict = restored.config
    return {
        "edges": json.dumps(np.asarray(restored.experiment.edges, float).tolist()),
        "groups": json.dumps(restored.dataset.group_names),
        "rule": config.labels.rule,
        "labels": json.dumps(config.labels.to_dict(), sort_keys=True),
        "calibration": json.dumps(config.calibration.to_dict(), sort_keys=True),
        "config_sha256": hash_of(config),
    }


def hash_of(config: ConfigDict) -> str:
    """Returns the SHA-256 of a config."""
    text = json.dumps(config.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: pathlib.Path, table: pyarrow.Table, metadata: dict[str, str]) -> None:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(metadata), sink)
    output.write(sink.getvalue().to_pybytes(), path)
