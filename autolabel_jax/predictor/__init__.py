"""Predictors: a trained model in a folder that runs without its data, and without this project.

- ``exporting``: a finished run → the folder.
- ``program``: the exported program and its weights.
- ``onnx_model``, ``onnx_worker``: the ONNX form of the program.
- ``loading``: the folder → a function of inputs; needs neither Flax nor the data of the run.
- ``standalone``: is copied into the folder as predict.py.

The folder holds:

- predictor.json: input, preprocessing, class names, calibrator, metrics, versions, SHA-256 of each
  file.
- program.jax: the program (``jax.export``) from weights and a batch of inputs to probabilities.
- weights.safetensors: the weights.
- predict.py, flatbuffers.zip: classifies files where only jax, numpy and pillow are installed.
- encoding.py: makes inputs of sounds, texts or tables for predict.py; a module of ``datasets``.
- model.onnx: the program with its weights for ONNX Runtime, where it was asked for.
"""

from autolabel_jax.predictor.loading import LoadedPredictor, Outputs, load

__all__ = ["LoadedPredictor", "Outputs", "load"]
