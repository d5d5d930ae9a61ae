"""A small run with its predictor, and predict.py, for the tests of predictors and of commands."""

import functools
import pathlib
import runpy
import subprocess
import sys

import helpers
import pytest

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


# What `pip install jax pillow` brings, and numpy with it.
ONLY = ("jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy", "PIL")


def rows_of(out):
    """Lines of predict.py: (path or text, class, probability)."""
    lines = (line.rsplit("\t", 2) for line in out.splitlines())
    return [(name, label, float(probability)) for name, label, probability in lines]


def predict_here(folder, *arguments):
    """Runs predict.py of a predictor in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        sys.modules.pop("encoding", None)  # of another predictor
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(folder / "predict.py"), run_name="__main__")
    return ended.value.code


def predict_alone(folder, *arguments, packages):
    """Runs predict.py in a process whose only packages are links to ONLY; returns its rows."""
    packages.mkdir()
    for name in ONLY:
        __import__(name)
        installed = pathlib.Path(sys.modules[name].__file__).parent
        (packages / name).symlink_to(installed)
        libraries = installed.parent / f"{'pillow' if name == 'PIL' else name}.libs"
        if libraries.exists():
            (packages / libraries.name).symlink_to(libraries)
    done = subprocess.run(
        [sys.executable, "-S", *map(str, (folder / "predict.py", *arguments))],
        env=helpers.environment() | {"PYTHONPATH": str(packages)},
        cwd=packages,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return rows_of(done.stdout)
