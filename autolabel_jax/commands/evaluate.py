"""Measures a predictor on labelled data, before and after calibration.

    autolabel evaluate --model=run/predictor --data=photos/test/ --out=evaluation

The data are a folder with one folder of images for each class, a manifest, a folder of Hugging Face
(of both, the test rows if there are some), or a .npz file with 'input' (or 'image') and 'label'.
Brackets hold 95 % intervals over the examples. --out gets metrics.json, and
reliability.png if matplotlib is installed. Images that cannot be read are named on standard error
and left out; the exit code is then 1.
"""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from autolabel_jax import files, metrics, predictor
from autolabel_jax.commands import diagram, labelled, output
from autolabel_jax.evaluation import clean
from autolabel_jax.metrics import bootstrap
from autolabel_jax.predictor import Outputs

PER_CENT = ("accuracy", "ece", "ece_equal_mass", "ece_class_wise", "mce")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--model", required=True, metavar="FOLDER", help="predictor that a run or export wrote")
    help = "folder with a folder of images for each class, manifest, or .npz file"
    add("--data", required=True, metavar="PATH", help=help)
    help = "folder for metrics.json and reliability.png (default: print the metrics alone)"
    add("--out", type=pathlib.Path, metavar="FOLDER", help=help)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: the data do not fit the predictor, or a file cannot be read or written.
    """
    model = predictor.load(arguments.model)
    label_of, reader = labelled.find(arguments.data, model)
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
