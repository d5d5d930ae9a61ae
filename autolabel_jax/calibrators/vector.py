"""Scales and shifts the logits of each class (Guo et al. 2017, sec. 4.2, vector scaling)."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.calibrators import temperature
from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.types import Array

# Nats. The optimal bias of a class without examples is -infinity.
LARGEST_BIAS = 100.0


def fit_vector(logits: Array, label: Array) -> tuple[np.ndarray, np.ndarray]:
    """Finds scales and biases (w, b) that minimise the NLL of softmax(logits · w + b).

    The NLL is convex in (w, b). L-BFGS starts from the better of no scaling and the fitted
    temperature, so on these logits the NLL is never above either. |w| is limited to 100 and |b| to
    100 nats, for data whose optimum is infinite. b has mean 0, as a constant added to every bias
    has no effect. Unlike a temperature, vector scaling may change the top class, and its 2K
    parameters need many calibration examples per class.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].

    Returns:
      w float64 [K], b float64 [K].

    Raises:
      ValueError: as ``temperature.check``.
    """
    from scipy import optimize, special  # slow to import

    logits, label = temperature.check(logits, label)
    num, num_classes = logits.shape
    rows, ones = np.arange(num), np.ones(num_classes)
    # In units of the logits' spread, scales and biases curve the NLL alike.
    spread = max(float(logits.std()), 1e-12)

    def nll_and_gradient(x):
        scale, bias = x[:num_classes] / spread, x[num_classes:]
        log_probability = special.log_softmax(logits * scale + bias, axis=-1)
        residual = np.exp(log_probability)
        residual[rows, label] -= 1
        gradient = (residual * logits).mean(0) / spread, residual.mean(0)
        return -log_probability[rows, label].mean(), np.concatenate(gradient)

    scales = (1.0, 1 / temperature.fit_temperature(logits, label))
    starts = [np.concatenate([s * spread * ones, 0 * ones]) for s in scales]
    start = min(starts, key=lambda x: nll_and_gradient(x)[0])
    widest = np.exp(temperature.LOG_RANGE[1]) * spread
    limits = np.repeat([widest, LARGEST_BIAS], num_classes)
    fit = optimize.minimize(
        nll_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([-limits, limits], 1),
        options={"maxiter": 1000, "maxfun": 2000, "ftol": 1e-13, "gtol": 1e-9},
    )
    best = min(fit.x, start, key=lambda x: nll_and_gradient(x)[0])
    scale, bias = best[:num_classes] / spread, best[num_classes:]
    return scale, bias - bias.mean()


@dataclasses.dataclass(frozen=True)
class Vector:
    """Computes logits · w + b, fitted on the clean held-out examples."""

    def fit(self, held_out: HeldOut) -> Params:
        """Fits {'scale': float32 [K], 'bias': float32 [K]}; see ``base.Method``."""
        clean = held_out.clean()
        scale, bias = fit_vector(clean.logits, clean.label)
        return {"scale": scale.astype(np.float32), "bias": bias.astype(np.float32)}

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Scales and shifts logits; see ``base.Method``."""
        del features
        return jnp.asarray(logits, jnp.float32) * params["scale"] + params["bias"]
