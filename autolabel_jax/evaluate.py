"""Reading a trained state: logits of a split, then the numbers of the tables."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autolabel_jax import image_ops, input_pipeline, metrics, temperature
from autolabel_jax.datasets import StreamedSplit
from autolabel_jax.metrics import bootstrap, superclasses
from autolabel_jax.temperature import Scaling
from autolabel_jax.types import Batch

Transform = Callable[[jax.Array, jax.Array], jax.Array]
Fetch = Callable[[], np.ndarray]

IN_FLIGHT = 16  # batches that the device may be behind, so that their images fit into its memory
RESAMPLING_SEED = 0


# One program for a model, whatever the set and whoever asks.
@functools.partial(jax.jit, static_argnames=("model", "mesh"))
def _logits(model: nn.Module, variables: dict[str, Any], image: jax.Array, mesh: Mesh) -> jax.Array:
    logits = model.apply(variables, image_ops.to_float(image), train=False)
    # On every device, as a process can read no other's.
    return jax.lax.with_sharding_constraint(logits, NamedSharding(mesh, PartitionSpec()))


def make_dispatch(
    model: nn.Module, mesh: Mesh, batch_size: int, transform: Transform | None = None
) -> Callable[[dict[str, Any], Batch], Fetch]:
    """As ``make_predict``, but the function returns at once, and what it returns fetches.

    So the device may work on one set while the host reads another. ``transform`` is called as it
    is: one that is compiled already, as ``corruptions.create`` gives it, stays one program.
    """

    def dispatch(variables: dict[str, Any], whole: Batch | StreamedSplit) -> Fetch:
        parts = []
        for i, batch in enumerate(input_pipeline.evaluation_batches(whole, batch_size, mesh)):
            image = batch.input if transform is None else transform(batch.index, batch.input)
            parts.append(_logits(model, variables, image, mesh))
            if i >= IN_FLIGHT:
                parts[i - IN_FLIGHT].block_until_ready()
        num = input_pipeline.num_examples(whole)
        return lambda: np.concatenate(jax.device_get(parts))[:num]

    return dispatch


def make_predict(
    model: nn.Module, mesh: Mesh, batch_size: int, transform: Transform | None = None
) -> Callable[[dict[str, Any], Batch], np.ndarray]:
    """A function from (variables, split) to logits float32 [n, K] in host memory.

    Args:
      model: takes images in [0, 1].
      mesh: of all devices.
      batch_size: global; the last batch is padded.
      transform: applied first, (index [B], uint8 or float32 images [B, ...]) → images. What
        it does to an image may hang on its index alone, so that a set is always the same.
    """
    dispatch = make_dispatch(model, mesh, batch_size, transform and jax.jit(transform))
    return lambda variables, whole: dispatch(variables, whole)()


def scores(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Accuracy, calibration errors, NLL in nats, Brier score, AUROC and AURC; see ``metrics``.

    Args:
      logits: float32 [n, K].
      label: int [n].
    """
    return metrics.from_logits(logits, label)


def with_temperature(
    logits: np.ndarray, label: np.ndarray, held_out_logits: np.ndarray, held_out_label: np.ndarray
) -> dict[str, float]:
    """``scores``, their twins ``…_ts`` after temperature scaling, and ``temperature``.

    Args:
      logits: float32 [n, K] of the test set.
      label: int [n].
      held_out_logits: float32 [m, K] of the calibration set, which alone fits the temperature.
      held_out_label: int [m].
    """
    scaling = temperature.fit(held_out_logits, held_out_label)
    return {**with_twins(logits, label, scaling), "temperature": scaling.temperature}


def with_twins(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, float]:
    """``scores`` before scaling, and after it as ``…_ts`` (and ``…_vs``, vector scaling)."""
    return {
        f"{name}{suffix}": value
        for suffix, scaled in scaling.twins(logits).items()
        for name, value in scores(scaled, label).items()
    }


def superclass_figures(
    logits: np.ndarray, label: np.ndarray, scaling: Scaling, superclass: np.ndarray
) -> dict[str, float]:
    """``superclass_accuracy``, ``superclass_ece`` and their twins, of classes added up.

    A temperature is of the classes, so that it may move which superclass is on top.

    Args:
      logits: float32 [n, K] of the classes.
      label: int [n], of the classes.
      scaling: of these logits.
      superclass: int [K].
    """
    found = {}
    for suffix, scaled in scaling.twins(logits).items():
        rows = metrics.examples(superclasses.add_up(scaled, superclass), superclass[label])
        figures = metrics.headline(rows)
        found |= {f"superclass_{name}{suffix}": figures[name] for name in ("accuracy", "ece")}
    return found


def intervals(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, list[float]]:
    """``accuracy_interval``: [low, high] and so on, of every headline number and its twins.

    95 % percentile intervals over 1,000 resamples of the examples, see ``bootstrap``. They
    tell how sure the test set makes the number of this one trained model.
    """
    found = resamples(logits, label, scaling)
    return {f"{name}_interval": bootstrap.percentiles(values) for name, values in found.items()}


def resamples(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    """Each headline number and its twins in 1,000 resamples of the examples, float32 [1000]."""
    counts = _counts(len(label))
    return {
        f"{name}{suffix}": values
        for suffix, scaled in scaling.twins(logits).items()
        for name, values in bootstrap.headline_resamples(
            metrics.examples(scaled, label), counts
        ).items()
    }


@functools.lru_cache(maxsize=1)  # the same for all sets of as many images
def _counts(num: int) -> np.ndarray:
    return bootstrap.resample_counts(num, seed=RESAMPLING_SEED)
