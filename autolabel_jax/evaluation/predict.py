"""Computes logits of a split, and provides the trained model that evaluators take."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autolabel_jax import image_ops, input_pipeline
from autolabel_jax.calibrators import neighbours
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import Split, StreamedSplit
from autolabel_jax.evaluation import scaling as scaling_lib
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.evaluation.views import ViewedModel
from autolabel_jax.experiment import Experiment
from autolabel_jax.models import features
from autolabel_jax.models.features import Features
from autolabel_jax.types import Batch

# (index [B], uint8 or float32 images [B, ...]) → images [B, ...]
Transform = Callable[[jax.Array, jax.Array], jax.Array]
# (model, variables, images [B, ...], mesh) → pytree of arrays [B, ...]
Program = Callable[[nn.Module, dict[str, Any], jax.Array, Mesh], Any]
Fetch = Callable[[], Any]

TIMED = 1000  # examples of ``cost``
IN_FLIGHT = 16  # most batches waiting on the device, whose images must fit into its memory


# One program per model, for all sets and evaluators.
@functools.partial(jax.jit, static_argnames=("model", "mesh"))
def _logits(model: nn.Module, variables: dict[str, Any], image: jax.Array, mesh: Mesh) -> jax.Array:
    return _on_every_device(model.apply(variables, image_ops.to_float(image), train=False), mesh)


@functools.partial(jax.jit, static_argnames=("model", "mesh"))
def logits_and_features(
    model: nn.Module, variables: dict[str, Any], image: jax.Array, mesh: Mesh
) -> tuple[jax.Array, Features]:
    """Computes logits and features in one pass, see ``models.features.forward``."""
    found = features.forward(model, variables, image_ops.to_float(image))
    return _on_every_device(found, mesh)


@functools.partial(jax.jit, static_argnames=("model", "mesh"))
def logits_and_scalars(
    model: nn.Module,
    variables: dict[str, Any],
    image: jax.Array,
    mesh: Mesh,
    *,
    reference: Reference | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes logits and the features that calibrators read, see ``neighbours.scalars``."""
    logits, found = features.forward(model, variables, image_ops.to_float(image))
    return _on_every_device((logits, neighbours.scalars(logits, found, reference)), mesh)


def _on_every_device(tree: Any, mesh: Mesh) -> Any:
    """Replicates arrays, because a process can read only its own devices."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def make_dispatch(
    model: nn.Module,
    mesh: Mesh,
    batch_size: int,
    transform: Transform | None = None,
    program: Program = _logits,
) -> Callable[[dict[str, Any], Batch | StreamedSplit], Fetch]:
    """Like ``make_predict``, but returns at once a function that fetches the logits.

    The device can thus work on one set while the host reads another. ``transform`` is called
    without ``jax.jit``, so that those of ``corruptions.create``, compiled already, share a program.
    A ``program`` other than that of the logits has its own results, fetched as a pytree.
    """

    def dispatch(variables: dict[str, Any], whole: Batch | StreamedSplit) -> Fetch:
        parts = []
        for i, batch in enumerate(input_pipeline.evaluation_batches(whole, batch_size, mesh)):
            image = batch.input if transform is None else transform(batch.index, batch.input)
            parts.append(program(model, variables, image, mesh))
            if i >= IN_FLIGHT:
                jax.block_until_ready(parts[i - IN_FLIGHT])
        num = input_pipeline.num_examples(whole)
        return lambda: jax.tree.map(
            lambda *columns: np.concatenate(columns)[:num], *jax.device_get(parts)
        )

    return dispatch


def make_predict(
    model: nn.Module, mesh: Mesh, batch_size: int, transform: Transform | None = None
) -> Callable[[dict[str, Any], Batch | StreamedSplit], np.ndarray]:
    """Makes a function from (variables, split) to logits float32 [n, K] in host memory.

    Args:
      model: takes images in [0, 1].
      mesh: mesh of all devices.
      batch_size: global batch size; the last batch is padded.
      transform: applied first, (index [B], uint8 or float32 images [B, ...]) → images. Its
        effect on an image may depend only on the index, so that a set is always the same.
    """
    dispatch = make_dispatch(model, mesh, batch_size, transform and jax.jit(transform))
    return lambda variables, whole: dispatch(variables, whole)()


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained model with the scaling of its logits, as evaluators take it."""

    model: nn.Module  # or a ``ViewedModel``, which has the same ``apply``
    variables: dict[str, Any]  # of the model, in inference mode
    scaling: Scaling
    num_classes: int
    batch_size: int  # global, of evaluation
    mesh: Mesh

    @property
    def views(self) -> str:
        """Names of the views that the model averages, joined by commas; '' for the image alone."""
        return ",".join(self.model.names) if isinstance(self.model, ViewedModel) else ""

    def dispatch(
        self,
        whole: Batch | StreamedSplit,
        transform: Transform | None = None,
        program: Program = _logits,
    ) -> Fetch:
        """Starts the logits of a split that is on the device; see ``make_dispatch``."""
        dispatch = make_dispatch(self.model, self.mesh, self.batch_size, transform, program)
        return dispatch(self.variables, whole)

    def logits(
        self, split: Split | StreamedSplit, transform: Transform | None = None
    ) -> np.ndarray:
        """Computes logits float32 [n, K] of a split in memory or on disk; see ``make_predict``."""
        predict = make_predict(self.model, self.mesh, self.batch_size, transform)
        return predict(self.variables, input_pipeline.put_split(split, self.mesh))


def cost(
    predictor: Predictor, other: Predictor, split: Split | StreamedSplit, repeats: int = 3
) -> float:
    """Measures how many times as long a predictor takes as another one.

    Returns:
      Ratio of the medians of ``repeats`` passes over up to TIMED examples, which alternate.
    """
    whole = input_pipeline.put_split(split.take(slice(0, TIMED)), predictor.mesh)
    seconds = np.empty((repeats + 1, 2))
    for i, j in np.ndindex(seconds.shape):
        began = time.perf_counter()
        (predictor, other)[j].dispatch(whole)()
        seconds[i, j] = time.perf_counter() - began
    first, second = np.median(seconds[1:], axis=0)  # the first pass may compile
    return float(first / second)


def create(
    experiment: Experiment,
    variables: dict[str, Any],
    calibration: Split,
    *,
    vector: bool = False,
) -> Predictor:
    """Makes the predictor of a trained state; fits its scaling on the calibration set alone.

    Args:
      experiment: the fixed parts of the run.
      variables: variables of the model for inference.
      calibration: held-out examples.
      vector: whether to fit vector scaling too.
    """
    predictor = Predictor(
        model=experiment.model,
        variables=variables,
        scaling=Scaling(temperature=1.0),
        num_classes=experiment.num_classes,
        batch_size=experiment.eval_batch_size,
        mesh=experiment.mesh,
    )
    logits = predictor.logits(calibration)
    scaling = scaling_lib.fit(logits, calibration.label, vector=vector)
    return dataclasses.replace(predictor, scaling=scaling)
