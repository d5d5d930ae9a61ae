"""Gets the ONNX form of a predictor from a process in another environment.

jax2onnx needs an older orbax-checkpoint than training does, so that one environment cannot hold
both. The process imports this package, but only its modules for models and calibrators.
"""

import json
import os
import pathlib
import pickle
import shutil
import subprocess
import tempfile
from typing import Any

import numpy as np

import autolabel_jax
from autolabel_jax.datasets import InputSpec
from autolabel_jax.predictor import onnx_worker
from autolabel_jax.predictor.program import Calibrated

# What the environment needs, by the names of the imported modules; requirements-onnx.txt pins it.
PACKAGES = {
    "jax2onnx": "jax2onnx==0.17.1",
    "onnxruntime": "onnxruntime",
    "ml_collections": "ml-collections",
    "PIL": "pillow",
    "safetensors": "safetensors",
}
HOW_TO = (
    "make one with `python -m venv .venv-onnx && .venv-onnx/bin/pip install "
    f"{' '.join(PACKAGES.values())}` and give --onnx_python=.venv-onnx/bin/python"
)
MISSING = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))"


def check(python: str) -> None:
    """Checks that a Python program has the packages of the conversion.

    Raises:
      ValueError: it does not, or there is no such program.
    """
    if not python:
        raise ValueError(f"--format=onnx: needs a Python environment of its own; {HOW_TO}")
    found = shutil.which(python)
    if found is None:
        raise ValueError(f"--onnx_python: got {python!r}, which is no program; {HOW_TO}")
    done = subprocess.run([found, "-c", MISSING, *PACKAGES], capture_output=True, text=True)
    if done.returncode or done.stdout.strip():
        lacks = ", ".join(done.stdout.split()) or "Python"
        raise ValueError(f"--onnx_python: {python} lacks {lacks}; {HOW_TO}")


def convert(
    calibrated: Calibrated, spec: InputSpec, inputs: np.ndarray, python: str
) -> tuple[bytes, np.ndarray, dict[str, Any]]:
    """Converts a model with its calibrator.

    Args:
      calibrated: model and calibrator.
      spec: description of one input.
      inputs: inputs [n, ...] to classify.
      python: Python program that ``check`` accepts.

    Returns:
      The ONNX model, its probabilities [n, K] by ONNX Runtime, and the versions of its packages.

    Raises:
      ValueError: an operation of the model or calibrator has no conversion.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "autolabel_jax").symlink_to(pathlib.Path(autolabel_jax.__file__).parent)
        request = pickle.dumps((calibrated, spec, inputs))
        (folder / onnx_worker.REQUEST).write_bytes(request)
        path = os.pathsep.join(filter(None, (name, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [python, "-m", onnx_worker.__name__, name],
            env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it was killed"]
            raise ValueError(f"--format=onnx: not converted by {python}: {lines[-1]}")
        return (
            (folder / onnx_worker.MODEL).read_bytes(),
            np.load(folder / onnx_worker.FOUND),
            json.loads((folder / onnx_worker.INFO).read_text()),
        )
