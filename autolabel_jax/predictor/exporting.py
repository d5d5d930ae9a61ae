"""Exports a finished run as a predictor, and checks what was written before it is kept."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import calibrators, datasets, metrics, run_dir, trained
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import Split, StreamedSplit, photographs
from autolabel_jax.evaluation import calibrated, held_out
from autolabel_jax.evaluation.calibrated import Outputs
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.predictor import loading, onnx_model, program, writing
from autolabel_jax.predictor.program import Calibrated
from autolabel_jax.run_dir import RunDir
from autolabel_jax.trained import Trained

DEFAULT = "temperature"
ON_CLEAN = ("temperature", "vector")  # calibrators that are fitted on clean examples alone
CHECKED = 64  # held-out inputs
TOLERANCE, ONNX_TOLERANCE = 1e-4, 1e-5  # of a probability
OF_RUN = ("name", "dataset", "model", "augmentation", "label_rule", "seed", "epochs", "revision")
OF_RUN += ("kept_epoch",)  # None if it is the last one


def export_run(
    workdir: str | pathlib.Path,
    folder: str | pathlib.Path,
    *,
    calibrator: str = DEFAULT,
    licence: str = "",
    onnx_python: str | None = None,
    data_dir: str | None = None,
    defaults: ConfigDict | None = None,
) -> dict[str, Any]:
    """Restores the last checkpoint of a finished run, and exports it; see ``export``.

    Args:
      workdir: folder of the run.
      folder: folder of the predictor; one that is there already is replaced.
      calibrator: key of ``calibrators.TABLE``.
      licence: licence of the model.
      onnx_python: as in ``export``.
      data_dir: folder of the data, if it has moved.
      defaults: config with the defaults of fields, for a run that is older than some of them.

    Raises:
      FileNotFoundError, ValueError: as ``export`` and ``trained.restore``.
    """
    _check(RunDir(pathlib.Path(workdir)), pathlib.Path(folder), calibrator)
    config = RunDir(pathlib.Path(workdir)).load_config(defaults)
    if data_dir is not None:
        config.data_dir = data_dir
    if onnx_python is not None:
        onnx_model.check(onnx_python)
    run = trained.restore(workdir, config)
    return export(run, folder, calibrator=calibrator, licence=licence, onnx_python=onnx_python)


def export(
    run: Trained,
    folder: str | pathlib.Path,
    *,
    calibrator: str = DEFAULT,
    licence: str = "",
    onnx_python: str | None = None,
) -> dict[str, Any]:
    """Writes the predictor of a finished run.

    Temperature scaling has the temperature in ``result.json``. Other calibrators are fitted on the
    held-out examples of ``evaluation.held_out``.

    Args:
      run: the restored run.
      folder: folder of the predictor; one that is there already is replaced.
      calibrator: key of ``calibrators.TABLE``.
      licence: licence of the model.
      onnx_python: Python program of an environment with jax2onnx, which adds an ONNX model; None
        for no such model. See ``onnx_model``.

    Returns:
      The content of predictor.json.

    Raises:
      ValueError: the run is not finished, the calibrator is unknown or cannot be fitted, the folder
        holds other files, the model has no ONNX form, or the written predictor differs from the
        run: a probability of CHECKED held-out inputs by more than TOLERANCE, or ONNX_TOLERANCE by
        ONNX Runtime, or a class.
    """
    folder = pathlib.Path(folder)
    result = _check(run.run_dir, folder, calibrator)
    fitted, outputs, measured = _fit(run, calibrator, result)
    exported, weights = program.export(fitted, run.dataset.spec)
    info = _info(run, fitted, calibrator, result) | {
        "metrics": measured,
        "licence": licence or None,
    }
    inputs, onnx = run.dataset.calibration.input[:CHECKED], None
    expected = _softmax(_apply(fitted, outputs))
    if onnx_python is not None:
        onnx, found, versions = onnx_model.convert(fitted, run.dataset.spec, inputs, onnx_python)
        _compare(folder, found, expected, what="ONNX Runtime", tolerance=ONNX_TOLERANCE)
        info["versions"] = run_dir.library_versions() | versions
    with writing.replacing(folder) as new:
        writing.write(new, bytes(exported.serialize()), weights, info, onnx)
        loaded = loading.load(new)
        _compare(folder, loaded(inputs), expected)
    return loaded.info


def _check(run: RunDir, folder: pathlib.Path, calibrator: str) -> dict[str, Any]:
    """Returns the result of a finished run; checks what is known before data are read."""
    if calibrator not in calibrators.TABLE:
        known = ", ".join(calibrators.TABLE)
        raise ValueError(f"calibrator: got {calibrator!r}, expected one of: {known}")
    writing.check_replaceable(folder)
    if not run.is_claimed:
        raise FileNotFoundError(
            f"{run.path}: found no {run_dir.CONFIG} there; give the folder of a finished run"
        )
    result = run.read_result()
    if result is None:
        raise ValueError(
            f"{run.path}: found no {run_dir.RESULT} there; finish the run with its training command"
        )
    return result


def _fit(
    run: Trained, name: str, result: Mapping[str, Any]
) -> tuple[Calibrated, Outputs, dict[str, Any]]:
    """Fits the calibrator.

    Returns:
      The model with its calibrator, its outputs for the first CHECKED held-out inputs, and its
      metrics on the test split.
    """
    method, dataset = calibrators.TABLE[name], run.dataset
    predictor, reference = _predictor(run, result), None
    if name in ON_CLEAN:
        outputs = functools.partial(_plain, predictor)
    else:
        reference = held_out.make_reference(predictor, dataset, run.config.seed)
        outputs = functools.partial(_with_features, predictor, reference)
    if name == DEFAULT:
        params = {name: np.float32(result["temperature"])}
    elif name in ON_CLEAN:
        whole = outputs(dataset.calibration)
        params = method.fit(held_out.clean(whole.logits, whole.label))
    else:
        params = method.fit(held_out.make(predictor, dataset, run.config, reference))
    variables = jax.device_get(predictor.variables)
    model = Calibrated(predictor.model, variables, method, params, reference)
    if name == DEFAULT:
        after = {key: result.get(f"{key}_ts") for key in metrics.NAMES}
    else:
        test = outputs(dataset.test)
        after = metrics.from_logits(_apply(model, test), test.label)
    measured = {
        "test_examples": len(dataset.test),
        "before_calibration": {key: result.get(key) for key in metrics.NAMES},
        "after_calibration": after,
    }
    return model, outputs(dataset.calibration.take(slice(CHECKED))), measured


def _predictor(run: Trained, result: Mapping[str, Any]) -> Predictor:
    return Predictor(
        model=run.experiment.model,
        variables=run.variables,
        scaling=Scaling(result["temperature"]),
        num_classes=run.experiment.num_classes,
        batch_size=run.experiment.eval_batch_size,
        mesh=run.experiment.mesh,
    )


def _plain(predictor: Predictor, split: Split | StreamedSplit) -> Outputs:
    return Outputs(predictor.logits(split), {}, split.label)


def _with_features(
    predictor: Predictor, reference: Reference | None, split: Split | StreamedSplit
) -> Outputs:
    return calibrated.clean_outputs(predictor, datasets.in_memory(split), reference)


def _apply(model: Calibrated, outputs: Outputs) -> np.ndarray:
    return np.asarray(model.calibrator.apply(model.params, outputs.logits, outputs.features))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def _info(
    run: Trained, model: Calibrated, calibrator: str, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what predictor.json says of the model, besides its metrics and files."""
    spec, described = run.dataset.spec, run.run_dir.read_dataset() or {}
    names = described.get("class_names") or list(map(str, range(run.dataset.num_classes)))
    streamed = isinstance(run.dataset.train, StreamedSplit)
    encoding = run.dataset.encoding
    return {
        "format": loading.FORMAT,
        "input": dataclasses.asdict(spec) | {"shape": list(spec.shape)},
        "preprocessing": {
            "middle": photographs.MIDDLE if streamed else 1.0,
            **dataclasses.asdict(run.experiment.model.preprocess),
        },
        **({} if encoding is None else {"encoding": encoding}),
        "class_names": names,
        "calibrator": {
            "name": calibrator,
            "parameters": jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), model.params),
        },
        "run": {name: result.get(name) for name in OF_RUN},
        "versions": run_dir.library_versions(),
        "oldest_jax": jax.__version__,
    }


def _compare(
    folder: pathlib.Path,
    found: np.ndarray,
    expected: np.ndarray,
    *,
    what: str = "the written predictor",
    tolerance: float = TOLERANCE,
) -> None:
    """Checks the probabilities of the written predictor against those of the run."""
    moved = float(np.abs(found - expected).max())
    changed = int((found.argmax(-1) != expected.argmax(-1)).sum())
    if not moved <= tolerance or changed:  # NaN is no match
        raise ValueError(
            f"{folder}: not exported, as {what} differs from the run on {len(found)} held-out "
            f"inputs: probabilities by up to {moved:.2g}, at most {tolerance:g} is allowed, and "
            f"{changed} classes"
        )
