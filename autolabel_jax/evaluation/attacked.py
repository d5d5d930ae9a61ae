"""Evaluates test images under an attack in chunks, so that a long attack can be resumed."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autolabel_jax import attacks, calibration, input_pipeline, metrics, processes
from autolabel_jax.attacks import Attacked, Ensemble, of_model
from autolabel_jax.datasets import Split, StreamedSplit, in_memory
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.metrics import Examples, pairs

CHUNK = 500  # number of images per line of the ledger
BATCH = 512


def make_ensemble(predictor: Predictor, name: str) -> Ensemble:
    """Makes the attack ``name`` on the model, once for all chunks."""

    def model_fn(variables, image):
        return predictor.model.apply(variables, image, train=False)

    variables = predictor.variables
    if jax.process_count() > 1:  # each process attacks on its own devices
        variables = jax.tree.map(np.asarray, variables)
    return of_model.create(name, model_fn, variables, num_classes=predictor.num_classes)


def evaluate(
    predictor: Predictor, test: Split | StreamedSplit, ensemble: Ensemble, first: int
) -> dict[str, Any]:
    """Attacks the chunk of images that starts at ``first``.

    Args:
      predictor: the trained model.
      test: the clean test split, images uint8 [n, H, W, 3].
      ensemble: from ``make_ensemble``.
      first: index of the first image of the chunk.

    Returns:
      Numbers of attacked and of correct images, and sums to add up over chunks.
    """
    chunk = in_memory(test.take(slice(first, first + CHUNK)))
    attacked = _attack_shared(predictor, chunk, ensemble, first)
    images = dataclasses.replace(chunk, input=attacked.images)
    logits = predictor.dispatch(input_pipeline.put_split(images, predictor.mesh))()
    line = {
        "examples": len(test),
        "attacked": len(chunk),
        "correct": int(attacked.correct.sum()),
        "after": attacked.accuracy_after,
    }
    by_suffix = predictor.scaling.scaled_logits(logits)
    for suffix in ("", "_ts"):
        rows = metrics.examples(by_suffix[suffix], chunk.label)
        line |= _sums(rows.replace(correct=attacked.correct), suffix)
    return line


def _attack_shared(predictor: Predictor, chunk: Split, ensemble: Ensemble, first: int) -> Attacked:
    """Attacks the chunk; each process attacks a share of it."""
    mesh, num = predictor.mesh.local_mesh, len(chunk.label)
    devices = mesh.devices.size
    batch_size = min(predictor.batch_size, math.ceil(BATCH / devices) * devices)
    shares = np.array_split(np.arange(num), jax.process_count())
    own, most = shares[jax.process_index()], len(shares[0])
    attacked = Attacked(
        0.0, np.zeros(0, bool), np.zeros((0, *chunk.input.shape[1:]), np.float32), {}
    )
    if own.size:
        attacked = attacks.robust_accuracy(
            ensemble,
            chunk.input[own],
            chunk.label[own],
            jax.random.key(0),
            batch_size=batch_size,
            start=first + int(own[0]),
            sharding=NamedSharding(mesh, PartitionSpec("data")),
            progress=processes.is_first(),
        )
    if jax.process_count() == 1:
        return attacked
    stages = ["clean", *(name for name, _ in ensemble.stages)]
    return _gathered(attacked, stages, len(own), most, num)


def _gathered(attacked: Attacked, stages: list[str], own: int, most: int, num: int) -> Attacked:
    """Merges the shares of all processes; this one attacked ``own`` of ``num`` images."""
    left = np.array([[own * attacked.accuracy_after.get(name, 0.0) for name in stages]])
    left = np.rint(processes.gather(left.astype(np.float32), 1)).sum(axis=0)
    correct = processes.gather(attacked.correct, most)
    after = {name: float(n) / num for name, n in zip(stages, left, strict=True)}
    return Attacked(float(correct.mean()), correct, processes.gather(attacked.images, most), after)


def _sums(examples: Examples, suffix: str) -> dict[str, Any]:
    """Sums to add up over chunks: NLL, and statistics by confidence bin."""
    bins = calibration.bin_index(examples.confidence)
    by_bin = pairs.bin_sums(bins, examples.confidence, examples.correct)
    return {
        f"nll_sum{suffix}": float(examples.nll.sum(dtype=np.float64)),
        f"bins{suffix}": {
            field.name: getattr(by_bin, field.name).tolist() for field in dataclasses.fields(by_bin)
        },
    }
