"""Makes the held-out examples that calibrators are fitted on: clean, moved, and moved further.

All are made from the calibration split of the run, in inference mode, and depend only on the seed:

- clean images, weight 1/4;
- each bucket of the first family of moves, weight 1/4: AugMix with the settings of the config;
- each bucket of the second family, weight 1/2: RandAugment with the settings of the config, which
  moves images further than training with AugMix does.

Inputs that are not images have families of their own in ``OTHERS``.
In a run that trains with RandAugment, that is the first family, and the second is AugMix at
severity 10. Mixed and attacked images are no family: the class of a mixed image is not certain, and
an attack takes many passes.
"""

import functools
from typing import Any, cast

import jax
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import buckets, input_pipeline, registry
from autolabel_jax.augment import (
    AudioNoise,
    Augmentation,
    AugMix,
    FeatureMasking,
    GaussianNoise,
    RandAugment,
    SpecAugment,
    WordDropout,
    WordMasking,
)
from autolabel_jax.calibrators import base, neighbours
from autolabel_jax.calibrators.base import HeldOut
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import Dataset, in_memory
from autolabel_jax.evaluation import predict
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.types import Batch

WEIGHTS = (0.25, 0.25, 0.5)  # of clean examples and of the two families, in total
INTERVALS = 3  # of the distance, in each group of a family
MOST_IN_BUCKET = 2000  # examples; a larger calibration split is sampled
REFERENCES = 2000  # training images whose features are kept
FAR_SEVERITY = 10.0  # of AugMix as the second family
# The two families of inputs that are not images, by their kind.
OTHERS: dict[str, tuple[type[Augmentation], type[Augmentation]]] = {
    "audio": (SpecAugment, AudioNoise),
    "features": (FeatureMasking, GaussianNoise),
    "series": (FeatureMasking, GaussianNoise),
    "text": (WordMasking, WordDropout),
}
PURPOSE = 15  # of the random numbers, see ``input_pipeline.epoch_key``


def families(config: ConfigDict, kind: str = "image") -> tuple[Augmentation, Augmentation]:
    """Returns the two families of moves of a run, see the module; ``kind``: of its inputs."""
    bind = functools.partial(registry.bind, "augment")
    if kind in OTHERS:
        near, far = OTHERS[kind]
        return bind(near, config.augment), bind(far, config.augment)
    if config.augment.name == RandAugment.title:
        far = {**config.augment, "severity": FAR_SEVERITY}
        return bind(RandAugment, config.augment), bind(AugMix, far)
    return bind(AugMix, config.augment), bind(RandAugment, config.augment)


def make_reference(predictor: Predictor, dataset: Dataset, seed: int) -> Reference | None:
    """Computes features of up to REFERENCES training images, drawn with the seed.

    Returns:
      None if the network records too little for it.
    """
    order = np.random.default_rng([seed, PURPOSE]).permutation(len(dataset.train))
    sample = in_memory(dataset.train.take(np.sort(order[:REFERENCES])))
    whole = input_pipeline.put_split(sample, predictor.mesh)
    _, features = predictor.dispatch(whole, program=predict.logits_and_features)()
    return neighbours.make_reference(features, sample.label, predictor.num_classes)


def make(
    predictor: Predictor, dataset: Dataset, config: ConfigDict, reference: Reference | None
) -> HeldOut:
    """Computes logits and features of clean and moved calibration images.

    Args:
      predictor: the trained model.
      dataset: data of the run.
      config: config of the run.
      reference: from ``make_reference``.

    Returns:
      HeldOut whose groups are CLEAN, then those of both families; the weights have the sum 1.

    Raises:
      ValueError: the inputs are not images that the families can move.
    """
    moves = families(config, dataset.spec.kind)
    for move in moves:
        move.check_input(dataset.spec)
    moves = [move.for_data(dataset) for move in moves]
    whole = cast("Batch", input_pipeline.put_split(dataset.calibration, predictor.mesh))
    program = functools.partial(predict.logits_and_scalars, reference=reference)
    logits, features = predictor.dispatch(whole, program=program)()
    label = np.asarray(dataset.calibration.label, np.int32)
    parts = [_part(logits, features, label, np.zeros(len(label)), base.CLEAN)]
    key, first = input_pipeline.epoch_key(config.seed, config.epochs, PURPOSE), base.CLEAN + 1
    for i, move in enumerate(moves):
        parts.append(
            _moved(predictor, whole, move, jax.random.fold_in(key, i), first, reference=reference)
        )
        first += move.num_groups
    weights = [w / len(part.label) for w, part in zip(WEIGHTS, parts, strict=True)]
    parts = [
        part.replace(weight=np.full(len(part.label), w, np.float32))
        for w, part in zip(weights, parts, strict=True)
    ]
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def clean(logits: np.ndarray, label: np.ndarray) -> HeldOut:
    """Makes the held-out examples of clean inputs alone, without features.

    Args:
      logits: float32 [n, K].
      label: int [n].
    """
    label = np.asarray(label, np.int32)
    return _part(logits, {}, label, np.zeros(len(label)), base.CLEAN)


def _moved(
    predictor: Predictor,
    whole: Batch,
    move: Augmentation,
    key: jax.Array,
    first_group: int,
    *,
    reference: Reference | None,
) -> HeldOut:
    """Moves calibration images into each bucket of a family."""
    num_buckets, num = move.num_groups * INTERVALS, input_pipeline.num_examples(whole)
    chosen = [_sample(key, n, num) for n in range(num_buckets)]
    rows = np.concatenate(chosen).astype(np.int32)
    bucket = np.repeat(np.arange(num_buckets, dtype=np.int32), len(chosen[0]))
    size, parts = predictor.batch_size, []
    padding = -len(rows) % size
    padded = np.pad(rows, (0, padding), constant_values=num), np.pad(bucket, (0, padding))
    for i, start in enumerate(range(0, len(rows), size)):
        batch = (column[start : start + size] for column in padded)
        part = _move(
            predictor.model,
            predictor.variables,
            whole,
            *batch,
            jax.random.fold_in(key, i),
            reference,
            move=move,
            mesh=predictor.mesh,
        )
        parts.append(part)
    logits, features, distance = jax.tree.map(
        lambda *columns: np.concatenate(columns)[: len(rows)], *jax.device_get(parts)
    )
    label = np.asarray(whole.label)[rows]
    return _part(logits, features, label, distance.value, first_group + distance.group)


@functools.partial(jax.jit, static_argnames=("model", "move", "mesh"))
def _move(model, variables, whole, rows, bucket, key, reference, *, move, mesh):
    """Returns (logits, features, distance) of one batch of moved images."""
    draw_key, apply_key = jax.random.split(key)
    edges = buckets.make_edges("equal_width", INTERVALS)
    distance = buckets.draw_inside(draw_key, bucket, edges)
    batch = input_pipeline.take(whole, rows, mesh)
    image = move.apply(apply_key, batch, distance).input
    logits, features = predict.logits_and_scalars(
        model, variables, image, mesh, reference=reference
    )
    return logits, features, distance


def _sample(key: jax.Array, bucket: int, num: int) -> np.ndarray:
    """Returns the rows of the calibration split that visit a bucket."""
    if num <= MOST_IN_BUCKET:
        return np.arange(num)
    order = jax.random.permutation(jax.random.fold_in(key, 2**31 - 1 - bucket), num)
    return np.sort(np.asarray(order[:MOST_IN_BUCKET]))


def _part(
    logits: np.ndarray, features: dict[str, Any], label: np.ndarray, distance: Any, group: Any
) -> HeldOut:
    return HeldOut(
        logits=logits,
        features=features,
        label=label,
        distance=np.asarray(distance, np.float32),
        group=np.broadcast_to(np.asarray(group, np.int32), label.shape),
        weight=np.ones(len(label), np.float32),
    )
