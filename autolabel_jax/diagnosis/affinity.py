"""Measures affinity and diversity of an augmentation, and how far it moves the data.

Gontijo-Lopes et al., "Affinity and Diversity: Quantifying Mechanisms of Data Augmentation"
(arXiv 2002.08973, 2020), published as "Tradeoffs in Data Augmentation" (ICLR 2021). The first
defines affinity as the *difference* of two accuracies, the second as their *ratio*; this module
has both. The ratio, ``affinity``, is 1 without a shift and comparable between models of different
accuracy. The difference, ``affinity_difference``, is 0 without a shift.
"""

from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax import buckets, calibration, input_pipeline
from autolabel_jax.experiment import Experiment, apply_augmentation
from autolabel_jax.metrics import bootstrap
from autolabel_jax.types import Array, Batch, BucketStats


def _accuracy(name, logits, label):
    logits, label = np.asarray(logits), np.asarray(label)
    if len(label) == 0 or logits.ndim != 2 or logits.shape[:1] != label.shape:
        raise ValueError(
            f"{name}_logits: got shape {logits.shape} with labels {label.shape}; "
            "expected [n, K] and [n] of 1 or more examples"
        )
    return float(np.mean(logits.argmax(-1) == label))


def affinity(
    clean_logits: np.ndarray,
    clean_label: np.ndarray,
    augmented_logits: np.ndarray,
    augmented_label: np.ndarray,
) -> float:
    """Computes accuracy on augmented validation images ÷ accuracy on clean ones (def. 1).

    At 1 the augmentation is no shift for the model; below 1 it is out of distribution.

    Args:
      clean_logits: float [n, K], of a model trained on *clean* data, on held-out images.
      clean_label: int [n].
      augmented_logits: float [m, K], of the same model on the augmented images.
      augmented_label: int [m]; where images are mixed, the class that dominates.

    Returns:
      A ratio of 0 or more; NaN if no clean image is classified correctly.

    Raises:
      ValueError: there is no example, or the shapes do not match.
    """
    clean = _accuracy("clean", clean_logits, clean_label)
    augmented = _accuracy("augmented", augmented_logits, augmented_label)
    return augmented / clean if clean else float("nan")


def affinity_difference(
    clean_logits: np.ndarray,
    clean_label: np.ndarray,
    augmented_logits: np.ndarray,
    augmented_label: np.ndarray,
) -> float:
    """Computes accuracy on augmented images - accuracy on clean ones (arXiv 2020), in [-1, 1].

    0 means no shift, and values below 0 mean a shift. Arguments and errors as in ``affinity``.
    """
    clean = _accuracy("clean", clean_logits, clean_label)
    return _accuracy("augmented", augmented_logits, augmented_label) - clean


def affinity_interval(
    clean_correct: np.ndarray, augmented_correct: np.ndarray, *, seed: int = 0
) -> list[float]:
    """Computes the 95 % percentile interval [low, high] of ``affinity`` over images.

    An image and its augmented versions are resampled together, see ``bootstrap``.

    Args:
      clean_correct: bool or float [n], clean images that are classified correctly.
      augmented_correct: float [n], share of each image's augmented versions that are.
      seed: seed of the resampling.

    Returns:
      Ratios; NaN if no resample has a correct clean image.
    """
    counts = bootstrap.resample_counts(len(clean_correct), seed=seed).astype(np.float64)
    clean, augmented = counts @ clean_correct, counts @ augmented_correct
    ratio = np.full(len(counts), np.nan)
    return bootstrap.percentiles(np.divide(augmented, clean, out=ratio, where=clean > 0))


def diversity(augmented_loss: np.ndarray, clean_loss: np.ndarray) -> float:
    """Computes final training loss with the augmentation ÷ the one without (def. 2).

    Above 1 the augmented images are harder to fit. Both models must be trained in the same way and
    with the same loss: the entropy of soft labels is a lower bound of the loss, so a run with other
    labels would differ by its labels.

    Args:
      augmented_loss: float [...], losses of examples, or of steps of equal size, at the end
        of training on augmented images; their mean is used.
      clean_loss: float [...], the same for training on clean images.

    Returns:
      A ratio of 0 or more; NaN if the clean loss is 0.

    Raises:
      ValueError: there is no loss, or one is negative or not finite.
    """
    means = []
    for name, loss in (("augmented_loss", augmented_loss), ("clean_loss", clean_loss)):
        loss = np.asarray(loss, np.float64)
        if loss.size == 0 or not np.isfinite(loss).all() or np.min(loss) < 0:
            raise ValueError(
                f"{name}: got {loss.size} values, not all finite and ≥ 0; "
                "needs the cross-entropies of the last epoch"
            )
        means.append(float(loss.mean()))
    return means[0] / means[1] if means[1] else float("nan")


class DistanceCurve(struct.PyTreeNode):
    """Metrics of a model at each distance, with one row per bucket, in bucket order."""

    group: np.ndarray  # int32 [N], the discrete part of the distance
    distance: np.ndarray  # float32 [N], the bucket's middle, in [0, 1]
    count: np.ndarray  # float32 [N]
    accuracy: np.ndarray  # float32 [N], NaN where a bucket is empty
    confidence: np.ndarray  # float32 [N]
    ece: np.ndarray  # float32 [N]


def distance_curve(stats: BucketStats, edges: np.ndarray, num_groups: int = 1) -> DistanceCurve:
    """Computes accuracy, confidence and ECE of each bucket, with its distance.

    Args:
      stats: sums [N, R] with N = num_groups · M.
      edges: float32 [M + 1], as ``buckets.make_edges`` gives them.
      num_groups: G, such as the chain depths of AugMix.

    Raises:
      ValueError: the statistics have another number of buckets.
    """
    middle = buckets.middles(np.asarray(edges), num_groups)
    if len(middle.value) != stats.count.shape[0]:
        raise ValueError(
            f"edges: {num_groups} groups of {len(edges) - 1} intervals do not make the "
            f"{stats.count.shape[0]} buckets of the statistics; give the edges they were made with"
        )
    return DistanceCurve(
        group=np.asarray(middle.group),
        distance=np.asarray(middle.value),
        count=np.asarray(calibration.count(stats)),
        accuracy=np.asarray(calibration.accuracy(stats)),
        confidence=np.asarray(calibration.confidence(stats)),
        ece=np.asarray(calibration.ece(stats)),
    )


class Moved(struct.PyTreeNode):
    """Outputs of a model on augmented images, with one row per example."""

    logits: jax.Array  # float32 [n, K]
    label: jax.Array  # int32 [n], the class that dominates the image
    bucket: jax.Array  # int32 [n], of its distance
    l2: jax.Array  # float32 [n], Euclidean norm of augmented - clean, over all pixels and channels
    absolute: jax.Array  # float32 [n], mean of |augmented - clean| over pixels and channels


def move_batch(
    variables: dict[str, Any],
    whole: Batch,
    rows: jax.Array,
    bucket: jax.Array | None,
    key: jax.Array,
    *,
    experiment: Experiment,
) -> Moved:
    """Augments images, at distances inside given buckets or as in training, and classifies them.

    Images are neither cropped nor flipped, and the model is in inference mode. The change of a
    mixed image is measured from the image that dominates it. Where distances are given with the
    data, there are no clean images: l2 and absolute are NaN.

    Args:
      variables: variables of the model for inference, which an adversary attacks.
      whole: held-out images [n, ...].
      rows: int32 [B].
      bucket: int32 [B] in [0, N); None: distances as training draws them.
      key: typed key of this batch.
      experiment: the fixed parts of the run.

    Returns:
      Moved [B], in units of the model's input: a pixel of a uint8 image goes from 0 to 1.
    """
    batch = input_pipeline.take(whole, rows, experiment.mesh)
    draw_key, apply_key = jax.random.split(key)
    if bucket is None:
        distance = experiment.augmentation.draw(draw_key, rows.shape[0])
    else:
        distance = buckets.draw_inside(draw_key, bucket, experiment.calibration_edges)
    augmented = apply_augmentation(experiment, variables, batch, apply_key, distance)
    if bucket is None or experiment.augmentation.distance_is_given:
        bucket = buckets.bucket_index(augmented.distance, experiment.edges)
    change = augmented.input - experiment.augmentation.unmoved(batch.input)
    change = jnp.nan * change if experiment.augmentation.distance_is_given else change
    pixels = tuple(range(1, change.ndim))
    return Moved(
        logits=cast(jax.Array, experiment.model.apply(variables, augmented.input, train=False)),
        label=augmented.label,
        bucket=bucket,
        l2=jnp.sqrt(jnp.sum(jnp.square(change), pixels)),
        absolute=jnp.mean(jnp.abs(change), pixels),
    )


class MoveStep(Protocol):
    """``move_batch`` with its experiment bound."""

    def __call__(
        self,
        variables: dict[str, Any],
        whole: Batch,
        rows: Array,
        bucket: Array | None,
        key: jax.Array,
        /,
    ) -> Moved:
        """See ``move_batch``."""
        ...


def move(
    variables: dict[str, Any],
    whole: Batch,
    key: jax.Array,
    *,
    step: MoveStep,
    experiment: Experiment,
    bucket: int | None = None,
) -> Moved:
    """Augments all images of a split once, in batches.

    Args:
      variables: variables of the model.
      whole: held-out images [n, ...].
      key: typed key of this pass.
      step: ``move_batch`` with its experiment bound, jitted.
      experiment: the fixed parts of the run.
      bucket: bucket of all images; None draws distances as in training.

    Returns:
      Moved [n] of NumPy arrays.
    """
    n, parts = whole.label.shape[0], []
    for i, rows in enumerate(
        input_pipeline.padded_rows(whole, experiment.eval_batch_size, experiment.mesh)
    ):
        inside = None if bucket is None else np.full(len(rows), bucket, np.int32)
        parts.append(step(variables, whole, rows, inside, jax.random.fold_in(key, i)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:n], *jax.device_get(parts))
