"""Evaluates how well scores of a model tell the inputs of other data sets from the test split's.

Other data are named by their data set, ``NAME`` or ``NAME@FOLDER`` for one that is in another
folder than the run's, whose test split is taken; or ``noise``, two sets of our own, made on the
device. Nothing is resized, so that all inputs have the shape of the run's.
"""

import pathlib
import re
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import datasets, defaults
from autolabel_jax.datasets import Dataset, InputSpec, Source, Split, StreamedSplit, checks
from autolabel_jax.datasets.split import spec_of
from autolabel_jax.evaluation import clean
from autolabel_jax.evaluation.predict import Predictor, Transform
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.metrics import bootstrap, detection

NOISE = "noise"
SETS = ("noise_gaussian", "noise_uniform")  # of NOISE
PREFIX = "ood_"  # of the metrics' names
FORM = "expected data sets, NAME or NAME@FOLDER, or noise"

# (inputs, transform of them or None), whose logits are computed
Other = tuple[Split | StreamedSplit, Transform | None]


def check(names: Sequence[str]) -> None:
    """Checks the form of names.

    Raises:
      ValueError: a name is empty, or two would have the same metrics.
    """
    for name in names:
        dataset, at, folder = name.partition("@")
        if not dataset or (at and not folder):
            raise ValueError(f"--ood: got {name!r}, {FORM}")
    shown = [_shown(name) for name in names]
    for name in shown:
        if shown.count(name) > 1:
            raise ValueError(f"--ood: got {name!r} twice, {FORM}")


def _shown(name: str) -> str:
    """Returns the name of a set in metrics: 'cifar100', 'arrays_textures' of arrays@/a/textures."""
    dataset, _, folder = name.partition("@")
    parts = [dataset, pathlib.Path(folder).name] if folder else [dataset]
    return re.sub(r"\W+", "_", "_".join(parts))


def find(
    names: Sequence[str], config: ConfigDict, dataset: Dataset, test: Split | StreamedSplit
) -> dict[str, Other]:
    """Reads other data sets, as many examples of each as ``test`` has.

    Args:
      names: as ``check`` accepts them.
      config: config of the run, whose ``data_dir`` holds a set without a folder.
      dataset: data of the run.
      test: test examples that the others are told from.

    Returns:
      By the names in metrics, what ``Predictor.logits`` takes.

    Raises:
      ValueError: a set is the run's own, or its inputs are of another kind, shape or type.
      FileNotFoundError: a set does not exist.
    """
    found: dict[str, Other] = {}
    for name in names:
        if name == NOISE:
            found |= {of_noise: (test, noise(of_noise, dataset)) for of_noise in SETS}
        else:
            other = _read(name, config, dataset).test
            found[_shown(name)] = datasets.first(other, len(test), "--ood"), None
    return found


def _read(name: str, config: ConfigDict, dataset: Dataset) -> Source:
    own, (other, _, folder) = config.dataset, name.partition("@")
    if other == own and not folder:
        raise ValueError(f"--ood: got {name!r}, the data set of the run; use another one")
    config = config.copy_and_resolve_references()
    config.dataset, config.data_dir = other, folder or config.data_dir
    if other != own:
        config.data = defaults.base().data
    source = datasets.read(config)
    wanted, got = dataset.spec, spec_of(source.test.input, source.kind)
    if any(getattr(wanted, n) != getattr(got, n) for n in ("kind", "shape", "dtype")):
        raise ValueError(
            f"--ood: {name!r} has {_described(got)}, the run {_described(wanted)}; nothing is "
            "resized, use a data set like the run's"
        )
    if source.encoding != dataset.encoding:
        raise ValueError(
            f"--ood: {name!r} is encoded by its own training rows, not by those of the run; "
            f"inputs of kind {wanted.kind!r} need a data set without an encoding"
        )
    in_memory = isinstance(dataset.train, Split) and isinstance(source.test, Split)
    if in_memory and wanted.kind == "image":
        checks.check_scales(f"{own} with --ood={name}", dataset.train, source.test, "image")
    return source


def _described(spec: InputSpec) -> str:
    return f"{spec.dtype} inputs of kind {spec.kind!r} and shape {list(spec.shape)}"


def noise(name: str, dataset: Dataset, seed: int = 0) -> Transform:
    """Makes the function that replaces inputs by noise, which depends on their index alone.

    - noise_gaussian: each value is normal, with the mean and standard deviation of the training
      inputs (of each channel), cut off at their range.
    - noise_uniform: each value is uniform over the range.

    Values of uint8 are rounded.

    Args:
      name: one of SETS.
      dataset: data set whose inputs are replaced.
      seed: seed of the noise.

    Raises:
      ValueError: the inputs are integers of another type than uint8, such as tokens.
    """
    spec = dataset.spec
    if spec.dtype not in ("uint8", "float32"):
        raise ValueError(f"--ood={NOISE}: inputs of kind {spec.kind!r} have no such noise")
    scale = 255 if spec.dtype == "uint8" else 1
    mean, std = jnp.asarray(scale * dataset.mean), jnp.asarray(scale * dataset.std)
    base = jax.random.key(seed, impl="threefry2x32")
    base = jax.random.fold_in(base, zlib.crc32(name.encode()))

    def one(index: jax.Array) -> jax.Array:
        key = jax.random.fold_in(base, index)
        if name == SETS[0]:
            value = mean + std * jax.random.normal(key, spec.shape)
        else:
            value = jax.random.uniform(key, spec.shape, minval=spec.low, maxval=spec.high)
        value = jnp.clip(value, spec.low, spec.high)
        return jnp.round(value).astype(spec.dtype) if scale == 255 else value

    return lambda index, inputs: jax.vmap(one)(index)


def evaluate(
    predictor: Predictor, test: Split | StreamedSplit, others: dict[str, Other]
) -> dict[str, Any]:
    """Computes AUROC and FPR@95 of every score between the test examples and each other set.

    Scores and metrics are described in ``metrics.detection``; ``confidence_ts`` is the maximum
    probability after temperature scaling, and ``confidence_vs`` after vector scaling if it was
    fitted. The intervals resample both sets.

    Args:
      predictor: the trained model.
      test: test examples.
      others: from ``find``.

    Returns:
      ``ood_SET_auroc_SCORE`` and ``ood_SET_fpr95_SCORE``, their ``…_interval``, and
      ``ood_SET_examples``.
    """
    inside = scores(predictor.logits(test), predictor.scaling) if others else {}
    metrics: dict[str, Any] = {}
    for name, (split, transform) in others.items():
        outside = scores(predictor.logits(split, transform), predictor.scaling)
        counts = resample_counts(len(test), len(split))
        for score, of_test in inside.items():
            pair = of_test, outside[score]
            value, resamples = detection.detect(*pair), detection.detect(*pair, counts)
            for metric in detection.Detection._fields:
                key = f"{PREFIX}{name}_{metric}_{score}"
                metrics[key] = float(getattr(value, metric)[0])
                metrics[f"{key}_interval"] = bootstrap.percentiles(getattr(resamples, metric))
        metrics[f"{PREFIX}{name}_examples"] = len(split)
    return metrics


def scores(logits: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    """Computes the scores of logits [n, K], and the maximum probability after each scaling."""
    scaled = scaling.scaled_logits(logits)
    found = detection.scores(scaled.pop(""))
    of_scaled = {f"confidence{end}": detection.scores(x) for end, x in scaled.items()}
    return found | {name: own["confidence"] for name, own in of_scaled.items()}


def resample_counts(num_test: int, num_other: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts the examples of both sets in 1,000 resamples, drawn independently."""
    seed = clean.RESAMPLING_SEED
    of_test = bootstrap.resample_counts(num_test, seed=seed)
    return of_test, bootstrap.resample_counts(num_other, seed=seed + 1)
