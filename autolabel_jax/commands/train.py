"""Trains a model on your own examples, with settings chosen from the data, and exports it.

    autolabel train --data=photos/ --out=run

--data is a folder with a folder of images for each class, a manifest (.csv, .parquet or .jsonl with
the column label, and path, text or columns of features), a folder that save_to_disk of Hugging Face
wrote, a folder with train.npz and test.npz, or the name of a data set such as digits. Settings are
printed with the flags that change them; --config.FIELD=VALUE sets any field of the config. The run
resumes if the same command is given again. The predictor is in OUT/predictor.
"""

import argparse
import logging
import math
import pathlib
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import datasets, defaults, epochs, processes, train
from autolabel_jax.commands import budget, output, settings
from autolabel_jax.datasets import manifest, manifest_rows
from autolabel_jax.predictor import exporting
from autolabel_jax.run_dir import RunDir

EPOCHS = ("epochs", "checkpoint.every_epochs")  # fields that follow --minutes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--data", required=True, metavar="PATH", help="folder, manifest, or name of a data set")
    add("--out", required=True, type=pathlib.Path, metavar="FOLDER", help="folder of the run")
    add("--licence", default="", help="licence of the model, kept in predictor.json")
    help = f"training steps that the epochs aim at (default: {settings.STEPS}, 10 to 200 epochs)"
    add("--steps", type=int, metavar="N", help=help)
    help = "time that the epochs aim at; a few short epochs are timed first"
    add("--minutes", type=float, metavar="M", help=help)
    add_fields(parser)


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Adds an argument for each field of the config."""
    fields = parser.add_argument_group("fields of the config, with their defaults")
    for name, value in _flat(defaults.base()).items():
        shown = str(value).replace("%", "%%") or "''"
        fields.add_argument(f"--config.{name}", default=None, metavar="VALUE", help=shown)


def given_fields(arguments: argparse.Namespace) -> dict[str, str]:
    """Returns the fields of the config that the user sets, as text."""
    values = ((name, getattr(arguments, f"config.{name}")) for name in _flat(defaults.base()))
    return {name: value for name, value in values if value is not None}


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: the data or a setting cannot be used.
    """
    config = make_config(
        arguments.data,
        given_fields(arguments),
        steps=arguments.steps,
        minutes=arguments.minutes,
        folder=arguments.out,
    )
    result = fit(config, arguments.out)
    if isinstance(result, int):
        return result
    folder = arguments.out / "predictor"
    exporting.export_run(arguments.out, folder, licence=arguments.licence)
    output.say(f"wrote {folder}; classify with: autolabel predict --model={folder} --data=NEW")
    return 0


def fit(config: ConfigDict, folder: pathlib.Path) -> dict[str, Any] | int:
    """Trains, or resumes; prints the test metrics.

    Returns:
      The content of ``result.json``, or the exit code after a signal.

    Raises:
      ValueError, OSError: the data or a setting cannot be used, or the loss is not finite.
    """
    # Orbax and TFDS log warnings that need no action.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    stop = processes.Stop()
    stop.install()
    try:
        result = train.train(config, folder, should_stop=stop, defaults=defaults.base())
    except processes.Stopped as stopped:
        output.say(str(stopped))
        return 128 + (stop.signal or signal.SIGTERM)
    except epochs.NonFiniteLossError as error:
        raise ValueError(f"{error}; try a smaller --config.optimizer.learning_rate") from error
    print(_table(result))
    return result


def make_config(
    data: str,
    given: dict[str, str],
    *,
    steps: int | None = None,
    minutes: float | None = None,
    folder: pathlib.Path | None = None,
) -> ConfigDict:
    """Makes the config of a run from its data, and says what was chosen and why.

    Args:
      data: value of --data.
      given: values of fields that the user sets, as text.
      steps: number of training steps that the epochs aim at, instead of the default.
      minutes: time that the epochs aim at.
      folder: folder of the run; one that is there keeps its number of epochs with ``minutes``.

    Raises:
      ValueError, OSError: the data or a value cannot be used.
    """
    _check_budget(given, steps, minutes)
    config = defaults.base()
    config.name = "autolabel"
    facts = look_at(data, given)
    config.dataset = facts.dataset
    config.data_dir = (
        "" if facts.dataset == data else str(pathlib.Path(data).expanduser().resolve())
    )
    output.say(f"settings for {facts.num} examples; each flag changes one:")
    chosen = settings.choose(facts, given, steps)
    later = EPOCHS if minutes is not None else ()  # fields that need the others
    for name, (value, why) in chosen.items():
        if name not in given and name not in later:
            _set(config, name, value, why)
    for name, text in given.items():
        _set(config, name, settings.parse(name, text, _flat(config)[name]), "given")
    if minutes is not None:
        num_epochs, why = _epochs_in(config, facts.num, minutes, folder)
        _set(config, "epochs", num_epochs, why)
        chosen = settings.choose(facts, {**given, "epochs": str(num_epochs)})
        for name in set(EPOCHS[1:]) - set(given):
            _set(config, name, *chosen[name])
    return config


def _set(config: ConfigDict, name: str, value: Any, why: str) -> None:
    """Sets a field of the config, and says the flag that changes it."""
    config.update_from_flattened_dict({name: value})
    output.say(f"  --config.{name}={value}".ljust(44) + why)


def _check_budget(given: dict[str, str], steps: int | None, minutes: float | None) -> None:
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is None:
            continue
        if not 0 < value < math.inf:
            raise ValueError(f"--{name}: got {value}, must be above 0")
        if "epochs" in given or None not in (steps, minutes):
            raise ValueError(f"--{name}: give one of --steps, --minutes and --config.epochs")


def _epochs_in(
    config: ConfigDict, num: int, minutes: float, folder: pathlib.Path | None
) -> tuple[int, str]:
    """Returns the epochs that fit into the time, or those of the run in the folder, and why."""
    if folder is not None and RunDir(folder).is_claimed:
        return RunDir(folder).read_config()["epochs"], f"those of the run in {folder}"
    num_epochs, seconds = budget.epochs(config, num, minutes)
    return num_epochs, f"{minutes:g} minutes, {seconds:.3g} seconds an epoch here"


def look_at(data: str, given: Mapping[str, str] | None = None) -> settings.Facts:
    """Finds out what kind of data is given, without decoding images.

    Args:
      data: value of --data.
      given: values of fields that the user sets, as text.

    Raises:
      ValueError, OSError: the data cannot be read.
    """
    path = pathlib.Path(data).expanduser()
    if path.is_file() or (path.is_dir() and not (path / "train.npz").exists()):
        columns = manifest_rows.split_names((given or {}).get("data.columns", ""))
        rows = manifest_rows.list_rows(data, columns)
        has_test = rows.split is not None and "test" in rows.split
        num = sum(name != "test" for name in rows.split or ["train"] * len(rows))
        num = num if has_test else round(num * (1 - manifest.TEST_SHARE))
        side, kind, num_files = 0, manifest_rows.kind_of_columns(rows), 0
        if manifest.is_audio(rows):
            kind = "audio"
        elif rows.paths is not None:
            num_files = len(rows) * isinstance(rows.paths[0], str)
            sampled = rows.paths[:: max(1, len(rows) // 500)]
            side = int(np.median([min(size) for size in manifest.image_sizes(sampled)]))
            kind = "image"
        elif rows.input is not None and rows.input.ndim == 4:
            kind, side = "image", min(rows.input.shape[1:3])
        kind = (given or {}).get("data.kind", "") or kind
        held_out = (rows.split or []).count("calibration")
        distance = rows.distance is not None
        return settings.Facts("manifest", num, kind, side, distance, num_files, held_out)
    # A name of TFDS may have a slash inside, as in 'imagenette/320px'.
    is_path = path.suffix or data.endswith("/") or data.startswith((".", "/", "~"))
    if not path.exists() and is_path:
        raise FileNotFoundError(f"--data: {data} does not exist")
    config = defaults.base()
    config.dataset, config.data_dir = ("arrays", data) if path.is_dir() else (data, "")
    loaded = datasets.load(config)
    spec, num = loaded.spec, len(loaded.train) + len(loaded.calibration)
    side = min(spec.shape[:2]) if spec.kind == "image" else 0
    return settings.Facts(
        config.dataset, num, spec.kind, side, loaded.calibration.distance is not None
    )


def _flat(config: ConfigDict) -> dict[str, Any]:
    return traverse_util.flatten_dict(config.to_dict(), sep=".")


def _table(result: dict[str, Any]) -> str:
    """Makes a table of the test metrics before and after temperature scaling."""
    names = {"accuracy": "accuracy", "ece": "ECE", "nll": "NLL", "auroc": "AUROC of errors"}
    lines = [["test split", "model", "with temperature"]]
    for name, shown in names.items():
        values = (result[name + end] for end in ("", "_ts"))
        lines.append([shown, *(f"{value:.4f}" for value in values)])
    return output.aligned(lines)
