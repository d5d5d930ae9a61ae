"""Measures a predictor on labelled data, before and after calibration.

    autolabel evaluate --model=run/predictor --data=photos/test/ --out=evaluation

The data are a folder with one folder of images for each class, or a .npz file with 'input' (or
'image') and 'label'. Brackets hold 95 % intervals over the examples. --out gets metrics.json, and
reliability.png if matplotlib is installed. Images that cannot be read are named on standard error
and left out; the exit code is then 1.
"""

import argparse
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from autolabel_jax import files, metrics, predictor
from autolabel_jax.commands import diagram, inputs, output
from autolabel_jax.evaluation import clean
from autolabel_jax.metrics import bootstrap
from autolabel_jax.predictor import LoadedPredictor, Outputs

PER_CENT = ("accuracy", "ece", "ece_equal_mass", "ece_class_wise", "mce")
SHOWN = 10  # largest number of names in a message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--model", required=True, metavar="FOLDER", help="predictor that a run or export wrote")
    help = "folder with a folder of images for each class, or a .npz file"
    add("--data", required=True, metavar="PATH", help=help)
    help = "folder for metrics.json and reliability.png (default: print the metrics alone)"
    add("--out", type=pathlib.Path, metavar="FOLDER", help=help)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: the data do not fit the predictor, or a file cannot be read or written.
    """
    model = predictor.load(arguments.model)
    label_of = _labels(arguments.data, model)
    reader = inputs.Reader(model, list(_paths(label_of, arguments.data)))
    found, names = [], []
    for part, batch in reader.batches():
        names += part
        found.append(model.outputs(batch))
    for path, reason in reader.unreadable.items():
        output.say(f"{output.printable(path)}: not read, and left out: {reason}")
    if not found:
        raise ValueError(f"--data: {arguments.data}: no input could be read")
    outputs = Outputs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    label = np.array([label_of[name] for name in names])
    measured = _measure(outputs, label)
    print(f"{len(label)} examples, {len(model.class_names)} classes\n\n{_table(measured)}")
    if arguments.out is not None:
        values = {"examples": len(label), **measured, "unreadable": dict(reader.unreadable)}
        _write(arguments.out, values, outputs, label)
    return 1 if reader.unreadable else 0


def _labels(data: str, model: LoadedPredictor) -> dict[str, int]:
    """Returns the label of each input, by the name that ``inputs.Reader`` gives it.

    Raises:
      ValueError: a class or label is unknown.
      FileNotFoundError: there are no data.
    """
    if os.path.isdir(data):
        return _labels_of_folder(data, model)
    if not os.path.isfile(data):
        raise FileNotFoundError(f"--data: {data}: no such file or folder")
    stored = files.read_npz(pathlib.Path(data)) if data.lower().endswith(".npz") else {}
    label, num = stored.get("label"), len(model.class_names)
    if label is None or label.ndim != 1 or label.dtype.kind not in "iu":
        raise ValueError(
            f"--data: {data}: expected a folder, or a .npz file with integers [n] as 'label'"
        )
    if len(label) and not 0 <= label.min() <= label.max() < num:
        raise ValueError(
            f"--data: {data}: labels are {label.min()} to {label.max()}; the predictor has {num} "
            f"classes, 0 to {num - 1}"
        )
    if len(label) != len(inputs.read_array(data)):
        raise ValueError(f"--data: {data}: has {len(label)} labels for another number of inputs")
    return {f"{data}:{i}": int(k) for i, k in enumerate(label)}


def _labels_of_folder(data: str, model: LoadedPredictor) -> dict[str, int]:
    classes = {name: k for k, name in enumerate(model.class_names)}
    folders = sorted(e.name for e in os.scandir(data) if e.is_dir() and not e.name.startswith("."))
    unknown = [name for name in folders if name not in classes]
    if unknown or not folders:
        raise ValueError(
            f"--data: {data}: expected a folder for each class, with names from: "
            f"{_some(list(classes))}; got {_some(unknown) or 'no folder'}"
        )
    if missing := sorted(set(classes) - set(folders)):
        output.say(f"{data}: has no examples of {len(missing)} classes: {_some(missing)}")
    found = {name: inputs.find([os.path.join(data, name)]) for name in folders}
    return {
        path: classes[name]
        for name, paths in found.items()
        for path in paths
        if not inputs.is_array(path)
    }


def _paths(label_of: Mapping[str, int], data: str) -> list[str]:
    return list(label_of) if os.path.isdir(data) else [data]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(output.printable, names[:SHOWN])) + more


def _measure(outputs: Outputs, label: np.ndarray) -> dict[str, dict[str, Any]]:
    """Computes all metrics and the intervals of the headline ones, before and after calibration."""
    counts = bootstrap.resample_counts(len(label), seed=clean.RESAMPLING_SEED)
    measured = {}
    for name, logits in (("before", outputs.logits), ("after", outputs.calibrated_logits)):
        values: dict[str, Any] = {**metrics.from_logits(logits, label)}
        resampled = bootstrap.headline_resamples(metrics.examples(logits, label), counts)
        values |= {f"{key}_interval": bootstrap.percentiles(x) for key, x in resampled.items()}
        measured[f"{name}_calibration"] = values
    return measured


def _table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [["", *(name.replace("_", " ") for name in measured)]]
    for name in metrics.NAMES:
        shown = f"{name} %" if name in PER_CENT else name
        rows.append([shown, *(_shown(name, values) for values in measured.values())])
    return output.aligned(rows)


def _shown(name: str, values: Mapping[str, Any]) -> str:
    factor, places = (100, 2) if name in PER_CENT else (1, 4)
    text = f"{factor * values[name]:.{places}f}"
    if (interval := values.get(f"{name}_interval")) is None:
        return text
    low, high = (f"{factor * end:.{places}f}" for end in interval)
    return f"{text} [{low}, {high}]"


def _write(
    folder: pathlib.Path, values: dict[str, Any], outputs: Outputs, label: np.ndarray
) -> None:
    """Writes metrics.json, and reliability.png if matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "metrics.json", values)
    panels = {}
    for title, logits in (("before", outputs.logits), ("after", outputs.calibrated_logits)):
        rows = metrics.examples(logits, label)
        confidence, correct = np.asarray(rows.confidence), np.asarray(rows.correct)
        found = bootstrap.reliability(confidence, correct, seed=clean.RESAMPLING_SEED)
        panels[f"{title} calibration, {len(label)} examples"] = found
    try:
        drawn = diagram.png(panels)
    except ImportError:
        output.say("no reliability.png: it needs matplotlib, pip install 'autolabel-jax[plots]'")
    else:
        output.write(drawn, folder / "reliability.png")
    output.say(f"wrote {folder}")
