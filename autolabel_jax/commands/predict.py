"""Classifies images, texts or arrays, and writes the path, class and probability of each.

    autolabel predict --model=run/predictor --data=photos/
    autolabel predict --model=run/predictor --data='new/*.jpg' --out=classes.csv
    autolabel predict --model=run/predictor --text='a great film' 'a bad one'

Probabilities are calibrated. A table (.csv, .tsv, .parquet, .jsonl) has the columns that the model
was trained on, or a column 'input'; its rows are FILE:0, FILE:1 and so on. A --text is its own
path. An image that cannot be read is named on standard error with the reason, and has no row; the
exit code is then 1.
"""

import argparse
import csv
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from autolabel_jax import predictor
from autolabel_jax.commands import inputs, output

FORMATS = ("csv", "json", "parquet")


class Row(NamedTuple):
    """Holds the prediction for one input."""

    path: str
    classes: list[str]  # the most probable ones, the first one first
    probabilities: list[float]  # of these classes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--model", required=True, metavar="FOLDER", help="predictor that a run or export wrote")
    help = "images, sounds, .npy or .npz files, tables, folders, or patterns such as 'new/*.jpg'"
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", nargs="+", metavar="PATH", help=help)
    what.add_argument("--text", nargs="+", metavar="TEXT", help="texts, for a model of texts")
    add("--out", type=pathlib.Path, metavar="FILE", help="file to write (default: print)")
    help = "format of the output (default: by the ending of --out, else csv)"
    add("--format", choices=FORMATS, help=help)
    help = "classes in each row, the most probable first (default: %(default)s)"
    add("--top_k", type=int, default=3, metavar="K", help=help)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: an argument is not valid, or a file cannot be read or written.
    """
    chosen = _format(arguments.format, arguments.out)
    if arguments.top_k < 1:
        raise ValueError(f"--top_k: got {arguments.top_k}, must be at least 1")
    model = predictor.load(arguments.model)
    given, contents = arguments.text, None
    if given is None:
        paths = inputs.find(arguments.data, sounds=model.reads_sounds)
    else:
        paths = list(dict.fromkeys(given))
        contents = dict(zip(paths, model.encode_texts("--text", paths), strict=True))
    reader = inputs.Reader(model, paths, contents)
    top_k = min(arguments.top_k, len(model.class_names))
    rows = [
        row
        for names, batch in reader.batches()
        for row in _rows(names, model(batch), model.class_names, top_k)
    ]
    for path, reason in reader.unreadable.items():
        output.say(f"{output.printable(path)}: not read: {reason}")
    if not rows:
        raise ValueError(f"--data: none of {len(paths)} files could be read; nothing is written")
    output.write(WRITERS[chosen](rows, top_k), arguments.out)
    if arguments.out is not None:
        output.say(f"wrote {len(rows)} rows to {arguments.out}")
    if reader.unreadable:
        output.say(
            f"{len(reader.unreadable)} of {len(paths)} files could not be read; they have no rows"
        )
    return 1 if reader.unreadable else 0


def _format(given: str | None, out: pathlib.Path | None) -> str:
    """Returns the format; the ending of the file decides if none is given."""
    ending = "" if out is None else out.suffix[1:].lower()
    chosen = given or (ending if ending in FORMATS else FORMATS[0])
    if chosen == "parquet" and out is None:
        raise ValueError("--format=parquet: cannot be printed; give --out=FILE.parquet")
    return chosen


def _rows(
    names: Sequence[str], probabilities: np.ndarray, class_names: Sequence[str], top_k: int
) -> list[Row]:
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(probabilities, order, axis=-1).tolist()
    classes = [[class_names[k] for k in row] for row in order]
    printable = map(output.printable, names)
    return [Row(*row) for row in zip(printable, classes, chosen, strict=True)]


def _columns(rows: Sequence[Row], top_k: int) -> dict[str, list[Any]]:
    """Returns the columns path, class, probability, class_2, probability_2 and so on."""
    columns: dict[str, list[Any]] = {"path": [row.path for row in rows]}
    for k in range(top_k):
        end = "" if k == 0 else f"_{k + 1}"
        columns[f"class{end}"] = [row.classes[k] for row in rows]
        columns[f"probability{end}"] = [row.probabilities[k] for row in rows]
    return columns


def _csv(rows: Sequence[Row], top_k: int) -> bytes:
    columns, text = _columns(rows, top_k), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in zip(*columns.values(), strict=True):
        writer.writerow([f"{x:.6f}" if isinstance(x, float) else x for x in line])
    return text.getvalue().encode()


def _json(rows: Sequence[Row], top_k: int) -> bytes:
    del top_k
    values = [
        {
            "path": row.path,
            "class": row.classes[0],
            "probability": row.probabilities[0],
            "top": [
                {"class": name, "probability": probability}
                for name, probability in zip(row.classes, row.probabilities, strict=True)
            ],
        }
        for row in rows
    ]
    return f"{json.dumps(values, indent=1)}\n".encode()


def _parquet(rows: Sequence[Row], top_k: int) -> bytes:
    import pyarrow  # slow, and seldom needed
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(_columns(rows, top_k)), sink)
    return sink.getvalue().to_pybytes()


WRITERS = {"csv": _csv, "json": _json, "parquet": _parquet}
