"""Trains a model on your own examples, with settings chosen from the data, and exports it.

    autolabel train --data=photos/ --out=run

--data is a folder with a folder of images for each class, a manifest (.csv, .parquet or .jsonl with
the columns path and label), a folder with train.npz and test.npz, or the name of a data set such as
digits. Settings are printed with the flags that change them; --config.FIELD=VALUE sets any
field of the config. The run resumes if the same command is given again. The predictor is in
OUT/predictor.
"""

import argparse
import ast
import dataclasses
import logging
import pathlib
import signal
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import datasets, defaults, epochs, processes, train
from autolabel_jax.commands import output
from autolabel_jax.datasets import manifest, manifest_rows
from autolabel_jax.predictor import exporting

STEPS = 3000  # training steps that the number of epochs aims at
SMALL = 48  # pixels; images with a shorter side up to this are decoded to 32 pixels, others to 64
FEW = 2000  # held-out examples, below which three intervals of the distance are enough


@dataclasses.dataclass(frozen=True)
class Facts:
    """Describes data before they are decoded.

    Attributes:
      dataset: value of ``config.dataset``.
      num: number of examples that training and calibration share.
      kind: kind of the inputs.
      side: median of the images' shorter sides in pixels; 0 if the inputs are no images.
      distance: whether the examples come with their distances.
    """

    dataset: str
    num: int
    kind: str
    side: int
    distance: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--data", required=True, metavar="PATH", help="folder, manifest, or name of a data set")
    add("--out", required=True, type=pathlib.Path, metavar="FOLDER", help="folder of the run")
    add("--licence", default="", help="licence of the model, kept in predictor.json")
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
    config = make_config(arguments.data, given_fields(arguments))
    result = fit(config, arguments.out)
    if isinstance(result, int):
        return result
    folder = arguments.out / "predictor"
    exporting.export_run(arguments.out, folder, licence=arguments.licence)
    output.say(f"wrote {folder}; classify with: autolabel predict --model={folder} --data=IMAGES")
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


def make_config(data: str, given: dict[str, str]) -> ConfigDict:
    """Makes the config of a run from its data, and says what was chosen and why.

    Args:
      data: value of --data.
      given: values of fields that the user sets, as text.

    Raises:
      ValueError, OSError: the data or a value cannot be used.
    """
    config = defaults.base()
    config.name = "autolabel"
    facts = look_at(data)
    config.dataset = facts.dataset
    config.data_dir = (
        "" if facts.dataset == data else str(pathlib.Path(data).expanduser().resolve())
    )
    output.say(f"settings for {facts.num} examples; each flag changes one:")
    for name, (value, why) in choose(facts).items():
        if name not in given:
            config.update_from_flattened_dict({name: value})
            output.say(f"  --config.{name}={value}".ljust(44) + why)
    for name, text in given.items():
        config.update_from_flattened_dict({name: _parse(name, text, _flat(config)[name])})
        output.say(f"  --config.{name}={_flat(config)[name]}".ljust(44) + "given")
    return config


def look_at(data: str) -> Facts:
    """Finds out what kind of data is given, without decoding images.

    Raises:
      ValueError, OSError: the data cannot be read.
    """
    path = pathlib.Path(data).expanduser()
    if path.is_file() or (path.is_dir() and not (path / "train.npz").exists()):
        rows = manifest_rows.list_rows(data)
        has_test = rows.split is not None and "test" in rows.split
        num = sum(name != "test" for name in rows.split or ["train"] * len(rows))
        num = num if has_test else round(num * (1 - manifest.TEST_SHARE))
        side, kind = 0, "features"
        if rows.paths is not None:
            sampled = rows.paths[:: max(1, len(rows) // 500)]
            side = int(np.median([min(size) for size in manifest.image_sizes(sampled)]))
            kind = "image"
        elif rows.input is not None and rows.input.ndim == 4:
            kind, side = "image", min(rows.input.shape[1:3])
        return Facts("manifest", num, kind, side, rows.distance is not None)
    # A name of TFDS may have a slash inside, as in 'imagenette/320px'.
    is_path = path.suffix or data.endswith("/") or data.startswith((".", "/", "~"))
    if not path.exists() and is_path:
        raise FileNotFoundError(f"--data: {data} does not exist")
    config = defaults.base()
    config.dataset, config.data_dir = ("arrays", data) if path.is_dir() else (data, "")
    loaded = datasets.load(config)
    spec, num = loaded.spec, len(loaded.train) + len(loaded.calibration)
    side = min(spec.shape[:2]) if spec.kind == "image" else 0
    return Facts(config.dataset, num, spec.kind, side, loaded.calibration.distance is not None)


def choose(facts: Facts) -> dict[str, tuple[Any, str]]:
    """Returns the value of each field that depends on the data, and the reason."""
    image, accelerator = facts.kind == "image", jax.default_backend() != "cpu"
    size = 32 if facts.side <= SMALL else 64
    batch = int(np.clip(2 ** round(np.log2(max(facts.num, 1) / 30)), 8, 128))
    share = 0.1 if facts.num >= 10 * FEW else 0.2
    training = max(1, round(facts.num * (1 - share)))
    num_epochs = int(np.clip(round(STEPS * batch / training), 10, 200))
    chosen: dict[str, tuple[Any, str]] = {}
    if facts.dataset == "manifest" and image:
        chosen["image_size"] = size, f"the median of the shorter sides is {facts.side} pixels"
    model = ("resnet18" if accelerator else "small_cnn") if image else "mlp"
    chosen["model.name"] = (
        model,
        f"for inputs of kind {facts.kind!r}" + ("" if accelerator else ", on a CPU"),
    )
    if model != "resnet18":
        chosen["model.width"] = (32 if image else 256), "a small network"
        chosen["optimizer.weight_decay"] = 0.0, "a small network"
    chosen["optimizer.learning_rate"] = (0.1 if image else 0.02), f"for {model}"
    chosen["batch_size"] = batch, f"about 30 steps an epoch, 8 to 128, {facts.num} examples"
    chosen["epochs"] = num_epochs, f"about {STEPS} steps, 10 to 200 epochs"
    chosen["crop_pad"] = (size // 8 if image and facts.side > 16 else 0), "an eighth of the image"
    chosen["flip"] = (
        image and facts.dataset == "manifest",
        "mirror images keep their class in photographs; not in text or digits",
    )
    name = "given" if facts.distance else ("augmix" if image else "mixup")
    why = "the data have distances" if facts.distance else f"for inputs of kind {facts.kind!r}"
    chosen["augment.name"] = name, why
    chosen["calibration.fraction"] = share, "held out from training, to learn labels from"
    few = facts.num * share < FEW
    chosen["buckets.num"] = (3 if few else 10), f"{round(facts.num * share)} held-out examples"
    chosen["eval_batch_size"] = 250, "small enough for a CPU"
    chosen["checkpoint.every_epochs"] = max(1, num_epochs // 10), "ten checkpoints in a run"
    return chosen


def _flat(config: ConfigDict) -> dict[str, Any]:
    return traverse_util.flatten_dict(config.to_dict(), sep=".")


def _parse(name: str, text: str, now: Any) -> Any:
    """Reads a value as the type that the field has."""
    kind = type(now)
    if kind is str:
        return text
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        value = ast.literal_eval(text)
        if kind is int and value != int(value):
            raise ValueError(f"{value} is no whole number")
        return kind(value)
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"--config.{name}: got {text!r}, expected {kind.__name__}") from error


def _table(result: dict[str, Any]) -> str:
    """Makes a table of the test metrics before and after temperature scaling."""
    names = {"accuracy": "accuracy", "ece": "ECE", "nll": "NLL", "auroc": "AUROC of errors"}
    lines = [["test split", "model", "with temperature"]]
    for name, shown in names.items():
        values = (result[name + end] for end in ("", "_ts"))
        lines.append([shown, *(f"{value:.4f}" for value in values)])
    return output.aligned(lines)
