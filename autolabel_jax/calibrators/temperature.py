"""Scales logits by one temperature of clean held-out examples (Guo et al. 2017, sec. 4.2)."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.types import Array

LOG_RANGE = (np.log(1e-2), np.log(1e2))


def check(logits: Array, label: Array) -> tuple[np.ndarray, np.ndarray]:
    """Checks held-out examples, and returns them as (float64 [n, K], int [n]).

    Raises:
      ValueError: there is no example, logits are not finite, or labels do not match them.
    """
    logits, label = np.array(logits, np.float64), np.asarray(label)
    if len(logits) == 0 or not np.isfinite(logits).all():
        raise ValueError(
            f"logits: got shape {logits.shape}; expected finite logits of 1 or more examples"
        )
    if label.shape != logits.shape[:1] or label.min() < 0 or label.max() >= logits.shape[1]:
        raise ValueError(
            f"label: got shape {label.shape}, {label.min()} to {label.max()}; expected one label "
            f"from 0 to {logits.shape[1] - 1} for each of {len(logits)} rows of logits"
        )
    return logits, label


def _nll(logits, label, weight):
    from scipy import special  # slow to import

    rows = np.arange(len(label))
    return -np.average(special.log_softmax(logits, axis=-1)[rows, label], weights=weight)


def fit_temperature(logits: Array, label: Array, weight: Array | None = None) -> float:
    """Finds the temperature T > 0 that minimises the NLL of softmax(logits / T).

    The NLL is convex in 1/T, so Brent's search in log T finds the minimum. T is limited to
    [0.01, 100], for data whose optimum is 0 or infinity.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].
      weight: float [n], weight of each example; None = equal.

    Raises:
      ValueError: as ``check``.
    """
    from scipy import optimize  # slow to import

    logits, label = check(logits, label)

    def nll(log_temperature):
        return _nll(logits / np.exp(log_temperature), label, weight)

    fit = optimize.minimize_scalar(nll, bounds=LOG_RANGE, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(fit.x))


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Computes logits / T, with T of the clean held-out examples."""

    def fit(self, held_out: HeldOut) -> Params:
        """Fits {'temperature': float32 []}; see ``base.Method``."""
        clean = held_out.clean()
        return {"temperature": np.float32(fit_temperature(clean.logits, clean.label))}

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Scales logits; see ``base.Method``."""
        del features
        return jnp.asarray(logits, jnp.float32) / params["temperature"]
