"""A small run with its predictor, for the tests of predictors and of commands."""

import functools
import pathlib

import helpers

from autolabel_jax import train
from autolabel_jax.predictor import exporting

# Enough epochs that the best temperature is finite.
LEARNT = {"train_examples": 300, "test_examples": 100, "model__width": 32, "epochs": 15}


@functools.cache
def digits() -> tuple[pathlib.Path, pathlib.Path]:
    """(folder of a run on digits, folder of its predictor)."""
    workdir = pathlib.Path(helpers.temporary_folder()) / "digits"
    train.train(helpers.small_config(name="small", **LEARNT), workdir, progress=False)
    exporting.export_run(workdir, workdir / "predictor", licence="CC-BY-4.0")
    return workdir, workdir / "predictor"
