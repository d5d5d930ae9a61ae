"""Writes the predictor of a finished run: a folder that runs without its data and this project.

    autolabel export --run=runs/a --out=predictor --licence=CC-BY-4.0
    autolabel export --run=runs/a --out=predictor --format=jax,onnx --onnx_python=PYTHON

The folder holds the program and its weights, a description (predictor.json), and predict.py, which
needs only jax, numpy and pillow. 64 held-out inputs are run again through the written files; if a
probability moves by more than 1e-4, or a class changes, nothing is written. onnx adds model.onnx,
for ONNX Runtime, in which no probability moves by more than 1e-5. It needs jax2onnx, in a Python
environment of its own: requirements-onnx.txt.
"""

import argparse
import logging
import pathlib

from autolabel_jax import calibrators, defaults
from autolabel_jax.commands import output
from autolabel_jax.predictor import exporting

FORMATS = ("jax", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--run", required=True, metavar="FOLDER", help="folder of a finished run")
    help = "folder to write; a predictor that is there already is replaced"
    add("--out", required=True, type=pathlib.Path, metavar="FOLDER", help=help)
    help = "jax, or jax,onnx (default: %(default)s)"
    add("--format", type=_formats, default="jax", metavar="NAMES", help=help)
    help = "with onnx: Python of an environment with requirements-onnx.txt"
    add("--onnx_python", default="", metavar="FILE", help=help)
    help = f"{', '.join(calibrators.TABLE)} (default: %(default)s)"
    add("--calibrator", default=exporting.DEFAULT, metavar="NAME", help=help)
    add("--licence", default="", help="licence of the model, kept in predictor.json")
    add("--data_dir", metavar="FOLDER", help="folder of the data of the run, if it has moved")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: as ``exporting.export_run``.
    """
    # Orbax and TFDS log warnings that need no action.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    info = exporting.export_run(
        arguments.run,
        arguments.out,
        calibrator=arguments.calibrator,
        licence=arguments.licence,
        onnx_python=arguments.onnx_python if "onnx" in arguments.format else None,
        data_dir=arguments.data_dir,
        defaults=defaults.base(),
    )
    kilobytes = sum(file["bytes"] for file in info["files"].values()) / 1e3
    output.say(
        f"wrote {arguments.out}: {len(info['class_names'])} classes, calibrator "
        f"{info['calibrator']['name']}, {kilobytes:,.0f} kB; the same probabilities as the run on "
        "held-out inputs"
    )
    if not arguments.licence:
        output.say("no licence is stated: --licence=… says under which the model may be used")
    return 0


def _formats(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(FORMATS):
        raise argparse.ArgumentTypeError(f"got {', '.join(unknown)}, expected jax, or jax,onnx")
    return names
