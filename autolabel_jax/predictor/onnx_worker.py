"""Converts a predictor to ONNX, in an environment that has jax2onnx; ``onnx_model`` starts it.

python -m autolabel_jax.predictor.onnx_worker FOLDER
"""

import importlib.metadata
import json
import pathlib
import pickle
import sys

import jax
import numpy as np

from autolabel_jax.datasets import InputSpec
from autolabel_jax.models import depthwise
from autolabel_jax.predictor import program
from autolabel_jax.predictor.program import Calibrated

REQUEST, MODEL, FOUND, INFO = "request.pkl", "model.onnx", "probabilities.npy", "info.json"
PACKAGES = ("jax2onnx", "onnxruntime")


def convert(calibrated: Calibrated, spec: InputSpec) -> bytes:
    """Returns the ONNX model (inputs [n, ...] → probabilities [n, K]) with all its weights."""
    import jax2onnx  # ty: ignore[import-not-found]  # only the environment of this process has it

    apply, tree = program.smallest(calibrated, spec)
    batch = jax.export.symbolic_shape("n")
    with depthwise.grouped_alone():  # jax2onnx cannot convert a choice by platform
        model = jax2onnx.to_onnx(
            lambda inputs: apply(tree, inputs)["probabilities"],
            [jax.ShapeDtypeStruct((*batch, *spec.shape), np.dtype(spec.dtype))],
            model_name="predictor",
            input_names=["inputs"],
            output_names=["probabilities"],
        )
    # jax2onnx notes some shapes as they were before axes moved, and ONNX Runtime refuses those.
    del model.graph.value_info[:]
    return model.SerializeToString()


def run(model: bytes, inputs: np.ndarray) -> np.ndarray:
    """Returns the probabilities that ONNX Runtime computes."""
    import onnxruntime  # ty: ignore[import-not-found]

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"inputs": inputs})
    return np.asarray(found)


def main(folder: pathlib.Path) -> None:
    """Reads REQUEST in the folder, and writes MODEL, FOUND and INFO there."""
    calibrated, spec, inputs = pickle.loads((folder / REQUEST).read_bytes())
    model = convert(calibrated, spec)
    (folder / MODEL).write_bytes(model)
    np.save(folder / FOUND, run(model, inputs))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    (folder / INFO).write_text(json.dumps(versions))


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]))
    except Exception as error:  # an operation without a conversion raises one of many types
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
