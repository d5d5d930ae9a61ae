"""Reading a trained state: logits of a split, then the numbers of the tables."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from autolabel_jax import calibration, image_ops, input_pipeline, losses, temperature
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


@jax.jit
def _scores(logits, label):
    probabilities = jax.nn.softmax(logits)
    own = jax.nn.one_hot(label, logits.shape[-1])
    return {
        "accuracy": jnp.mean(jnp.argmax(logits, -1) == label),
        "ece": calibration.expected_calibration_error(probabilities, label),
        "nll": jnp.mean(losses.integer_cross_entropy(logits, label)),
        "brier": jnp.mean(jnp.sum((probabilities - own) ** 2, -1)),
    }


def scores(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Accuracy, 15-bin ECE, NLL in nats, Brier score (sum over classes, Brier 1950): fractions.

    Args:
      logits: float32 [n, K].
      label: int [n].
    """
    return {name: float(value) for name, value in _scores(logits, jnp.asarray(label)).items()}


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
    scaled = scores(np.asarray(logits, np.float32) / np.float32(fitted), label)
    return {
        **scores(logits, label),
        **{f"{name}_ts": value for name, value in scaled.items()},
        "temperature": fitted,
    }
