"""Finds labelled inputs for a predictor: folders by class, manifests, and .npz files."""

import dataclasses
import os
import pathlib

from autolabel_jax import files
from autolabel_jax.commands import inputs, output
from autolabel_jax.datasets import manifest_rows
from autolabel_jax.predictor import LoadedPredictor

SHOWN = 10  # largest number of names in a message


def find(data: str, model: LoadedPredictor) -> tuple[dict[str, int], inputs.Reader]:
    """Returns the label of each input by its name, and what reads the inputs.

    Raises:
      ValueError: a class or label is unknown.
      FileNotFoundError: there are no data.
    """
    if manifest_rows.is_table(data):
        return _of_rows(manifest_rows.list_rows(data, _columns(model)), model)
    label_of = _labels(data, model)
    paths = list(label_of) if os.path.isdir(data) else [data]
    return label_of, inputs.Reader(model, paths)


def _columns(model: LoadedPredictor) -> list[str]:
    """Returns the columns that a predictor of tables reads."""
    columns = (model.encoding or {}).get("columns", [])
    return [column["name"] for column in columns]


def _of_rows(
    rows: manifest_rows.Rows, model: LoadedPredictor
) -> tuple[dict[str, int], inputs.Reader]:
    """Takes the test rows, or all rows if there are none."""
    chosen = [i for i, name in enumerate(rows.split or []) if name == "test"]
    if chosen:
        output.say(f"{rows.where}: takes its {len(chosen)} test rows of {len(rows)}")
    chosen = chosen or list(range(len(rows)))
    label = _numbers(rows, model)
    if rows.table is not None:
        where = f"--data: {rows.where}"
        rows = dataclasses.replace(rows, input=model.encode(where, rows.table))
    names = [rows.name(i) for i in chosen]
    label_of = dict(zip(names, (label[i] for i in chosen), strict=True))
    contents = {name: rows.encoded(i) for name, i in zip(names, chosen, strict=True)}
    return label_of, inputs.Reader(model, list(label_of), contents)


def _numbers(rows: manifest_rows.Rows, model: LoadedPredictor) -> list[int]:
    """Returns the class of the predictor of each row."""
    names = rows.class_names
    found = [str(names[int(k)] if names else k) for k in rows.label]
    classes = {name: k for k, name in enumerate(model.class_names)}
    if unknown := sorted({*found} - {*classes}):
        raise ValueError(
            f"--data: {rows.where}: has classes that the predictor lacks: {_some(unknown)}; it has "
            f"{_some(list(classes))}"
        )
    return [classes[name] for name in found]


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
    sounds = model.reads_sounds
    found = {name: inputs.find([os.path.join(data, name)], sounds=sounds) for name in folders}
    return {
        path: classes[name]
        for name, paths in found.items()
        for path in paths
        if not inputs.has_rows(path)
    }


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(output.printable, names[:SHOWN])) + more
