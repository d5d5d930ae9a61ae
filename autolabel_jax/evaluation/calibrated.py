"""Fits calibrators on held-out examples, and evaluates them on clean and corrupted test images.

Each set takes one forward pass, whose logits and features serve all calibrators.
"""

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from autolabel_jax import corruptions, files, input_pipeline, metrics
from autolabel_jax.calibrators import TABLE, HeldOut, Method
from autolabel_jax.calibrators.adjusted import Recentred
from autolabel_jax.calibrators.base import MissingFeatureError
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.evaluation import corrupted, predict
from autolabel_jax.evaluation.predict import Predictor, Transform
from autolabel_jax.metrics import detection, pairs

NONE = "none"  # name of the row before calibration
SEVERE = corruptions.SEVERITIES[-1]
# Corruptions that resemble an operation of RandAugment, and noise: means without them are reported
# too.
RELATED = ("contrast", "brightness", "fog", "gaussian_noise", "shot_noise", "impulse_noise")
DUMPED = 1000  # images of each corrupted set that ``dump`` keeps


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Holds logits float32 [..., n, K], features float32 [..., n] and labels int [n] of sets."""

    logits: np.ndarray
    features: dict[str, np.ndarray]
    label: np.ndarray


def clean_outputs(
    predictor: Predictor,
    test: Split,
    reference: Reference | None,
    transform: Transform | None = None,
) -> Outputs:
    """Computes the outputs of a test split, of which ``transform`` makes the inputs."""
    whole = input_pipeline.put_split(test, predictor.mesh)
    program = functools.partial(predict.logits_and_scalars, reference=reference)
    logits, features = predictor.dispatch(whole, transform, program)()
    return Outputs(logits, features, test.label)


def corrupted_outputs(
    predictor: Predictor, test: Split, reference: Reference | None, dataset: Dataset | None = None
) -> Outputs:
    """Computes the outputs of C corruptions × 5 severities, [C, 5, n, …], 15 of images.

    Args:
      predictor: the trained model.
      test: images, or inputs of ``dataset``.
      reference: features of training inputs.
      dataset: data set of the inputs, if they are not images.
    """
    names = corruptions.names(dataset.spec.kind if dataset else "image")
    on_device = corrupted.put(test, predictor.mesh, dataset)
    program = functools.partial(predict.logits_and_scalars, reference=reference)
    fetched, waiting = [], []
    for name in names:
        for severity in corruptions.SEVERITIES:
            waiting.append(corrupted.dispatch(predictor, on_device, name, severity, program))
            if len(waiting) > 2:  # the device works on the next sets while one is fetched
                fetched.append(waiting.pop(0)())
    fetched += [fetch() for fetch in waiting]
    shape = len(names), len(corruptions.SEVERITIES)
    logits, features = jax.tree.map(
        lambda *sets: np.stack(sets).reshape(*shape, *sets[0].shape), *fetched
    )
    return Outputs(logits, features, test.label)


def fit(held_out: HeldOut, table: Mapping[str, Method] = TABLE) -> dict[str, Any]:
    """Fits each calibrator whose features the model has.

    Returns:
      Parameters by name; a calibrator that lacks a feature is left out with a warning.
    """
    fitted: dict[str, Any] = {}
    names = {calibrator: name for name, calibrator in table.items()}
    for name, calibrator in table.items():
        try:
            if isinstance(calibrator, Recentred) and names.get(calibrator.calibrator) in fitted:
                inner = fitted[names[calibrator.calibrator]]  # not fitted a second time
                fitted[name] = calibrator.recentre(inner, held_out)
            else:
                fitted[name] = calibrator.fit(held_out)
        except MissingFeatureError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    return fitted


def evaluate(
    fitted: Mapping[str, Any],
    clean: Outputs,
    shifted: Outputs | None = None,
    table: Mapping[str, Method] = TABLE,
    others: Mapping[str, Outputs] | None = None,
) -> dict[str, dict[str, float]]:
    """Computes the metrics of each calibrator, and before calibration.

    Args:
      fitted: from ``fit``.
      clean: outputs of the clean test split.
      shifted: outputs of the corrupted sets.
      table: calibrators by name.
      others: outputs of other data sets by name.

    Returns:
      Metrics by name of the calibrator: accuracy, ece, nll and auroc of error detection; with
      ``shifted`` also the means over the corrupted sets as ``corrupted_…``, over those of severity
      5 as ``severe_…``, and over those of images that are not RELATED as ``unrelated_…``; and
      ``ood_SET_auroc`` and ``ood_SET_fpr95`` of the maximum probability against each other set.
    """
    rows = {}
    for name in (NONE, *fitted):
        calibrator = None if name == NONE else table[name]
        params = fitted.get(name)
        by_name = _scores(_apply(calibrator, params, clean), clean.label)
        row = {k: float(v) for k, v in by_name.items()}
        if shifted is not None:
            row |= _means(_scores(_apply(calibrator, params, shifted), shifted.label))
        for other, outputs in (others or {}).items():
            sides = (_apply(calibrator, params, own) for own in (clean, outputs))
            of_test, of_other = (detection.scores(x)["confidence"] for x in sides)
            found = detection.detect(of_test, of_other)
            row |= {f"ood_{other}_{k}": float(v[0]) for k, v in found._asdict().items()}
        rows[name] = row
    return rows


def dump(path: pathlib.Path, held_out: HeldOut, clean: Outputs, shifted: Outputs | None) -> None:
    """Writes logits and features as float16, compressed, to fit further calibrators on later.

    Of the corrupted sets the first DUMPED images are kept. The keys are ``held_out_…``,
    ``clean_…`` and ``corrupted_…`` with logits, label and the features.
    """
    arrays = {f"held_out_{f}": getattr(held_out, f) for f in ("label", "distance", "group")}
    arrays |= {f"held_out_{k}": v for k, v in _columns(held_out).items()}
    arrays |= {f"clean_{k}": v for k, v in _columns(clean).items()} | {"clean_label": clean.label}
    if shifted is not None:
        kept = {k: v[:, :, :DUMPED] for k, v in _columns(shifted).items()}
        arrays |= {f"corrupted_{k}": v for k, v in kept.items()}
        arrays["corrupted_label"] = shifted.label[:DUMPED]
    small = {k: _small(v) for k, v in arrays.items()}
    with files.replacing(path) as file:
        np.savez_compressed(file, **small)  # ty: ignore[invalid-argument-type] as in ``files``


def _apply(calibrator: Method | None, params: Any, outputs: Outputs) -> np.ndarray:
    """Returns calibrated logits of all sets, float32 like ``outputs.logits``."""
    if calibrator is None:
        return outputs.logits
    flat = outputs.logits.reshape(-1, outputs.logits.shape[-1])
    features = {name: column.reshape(-1) for name, column in outputs.features.items()}
    scaled = _jitted(calibrator, params, flat, features)
    return np.asarray(scaled).reshape(outputs.logits.shape)


@functools.partial(jax.jit, static_argnames="calibrator")
def _jitted(calibrator: Method, params: Any, logits: Any, features: Any) -> jax.Array:
    return calibrator.apply(params, logits, features)


def _scores(logits: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Computes metrics of sets of logits [..., n, K] with labels [n]; each is [...]."""
    shape = logits.shape[:-1]
    repeated = np.broadcast_to(label, shape).reshape(-1)
    rows = metrics.examples(logits.reshape(-1, logits.shape[-1]), repeated)
    rows = jax.tree.map(lambda column: column.reshape(shape), rows)
    return {
        "accuracy": rows.correct.mean(-1),
        "ece": pairs.ece(rows.confidence, rows.correct),
        "nll": rows.nll.mean(-1, dtype=np.float64),
        "auroc": pairs.auroc(rows.confidence, rows.correct),
    }


def _means(by_set: dict[str, np.ndarray]) -> dict[str, float]:
    """Computes means over sets, each metric [C, 5]; NaN sets of AUROC do not count."""
    chosen = {
        "corrupted": lambda values: values,
        "severe": lambda values: values[:, corruptions.SEVERITIES.index(SEVERE)],
    }
    if len(by_set["ece"]) == len(corruptions.CORRUPTIONS):  # of images
        unrelated = [name not in RELATED for name in corruptions.CORRUPTIONS]
        chosen["unrelated"] = lambda values: values[unrelated]
    return {
        f"{prefix}_{name}": float(np.nanmean(of(values)))
        for prefix, of in chosen.items()
        for name, values in by_set.items()
    }


def _columns(outputs: Outputs | HeldOut) -> dict[str, np.ndarray]:
    named = {"logits": outputs.logits, **outputs.features}
    return {name: np.asarray(column) for name, column in named.items()}


def _small(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint16 if np.issubdtype(values.dtype, np.integer) else np.float16)
