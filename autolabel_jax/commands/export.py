"""Writes the predictor of a finished run: a folder that runs without its data and this project.

    autolabel export --run=runs/a --out=predictor --licence=CC-BY-4.0

The folder holds the program and its weights, a description (predictor.json), and predict.py, which
needs only jax, numpy and pillow. 64 held-out inputs are run again through the written files; if a
probability moves by more than 1e-4, or a class changes, nothing is written.
"""

import argparse
import logging
import pathlib

from autolabel_jax import calibrators, defaults
from autolabel_jax.commands import output
from autolabel_jax.predictor import exporting

FORMATS = ("jax",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--run", required=True, metavar="FOLDER", help="folder of a finished run")
    help = "folder to write; a predictor that is there already is replaced"
    add("--out", required=True, type=pathlib.Path, metavar="FOLDER", help=help)
    add("--format", choices=FORMATS, default=FORMATS[0], help="format (default: %(default)s)")
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
