"""Reading a trained state: logits of a split, then the numbers of the tables."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from autolabel_jax import image_ops, input_pipeline, metrics, temperature
from autolabel_jax.types import Batch

Transform = Callable[[jax.Array, jax.Array], jax.Array]


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

    @jax.jit
    def step(variables, whole, rows):
        batch = input_pipeline.take(whole, rows, mesh)
        image = batch.image if transform is None else transform(batch.index, batch.image)
        return model.apply(variables, image_ops.to_float(image), train=False)

    def predict(variables, whole):
        rows = input_pipeline.padded_rows(whole, batch_size, mesh)
        parts = [step(variables, whole, r) for r in rows]
        return np.concatenate([np.asarray(p) for p in parts])[: whole.label.shape[0]]

    return predict


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
    fitted = temperature.fit_temperature(held_out_logits, held_out_label)
    return {**with_twins(logits, label, fitted), "temperature": fitted}


def with_twins(logits: np.ndarray, label: np.ndarray, fitted: float) -> dict[str, float]:
    """``scores``, and the same after division of the logits by a temperature, as ``…_ts``."""
    scaled = scores(np.asarray(logits, np.float32) / np.float32(fitted), label)
    return {**scores(logits, label), **{f"{name}_ts": value for name, value in scaled.items()}}
