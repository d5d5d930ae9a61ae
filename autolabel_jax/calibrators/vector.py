"""Scales and shifts the logits of each class (Guo et al. 2017, sec. 4.2, vector scaling)."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.calibrators import temperature
from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.calibrators.temperature import FINITE, INFINITE
from autolabel_jax.types import Array

# Nats. The optimal bias of a class without examples is -infinity.
LARGEST_BIAS = 100.0
LARGEST_SCALE = 100.0  # of logits, or of standardised logits if that is more
AT_LIMIT = 1 - 1e-6  # share of a limit from which on a parameter counts as held by it


class Optimum(NamedTuple):
    """Scales and biases, and whether they are where the NLL has its minimum.

    Attributes:
      scale: w float64 [K].
      bias: b float64 [K], of mean 0.
      kind: FINITE, or INFINITE if the NLL falls as some of them grow without limit.
    """

    scale: np.ndarray
    bias: np.ndarray
    kind: str

    @property
    def warning(self) -> str:
        """Says that there is no finite optimum; '' if there is one."""
        if self.kind == FINITE:
            return ""
        return (
            "vector scaling: the held-out examples lack a class, or some class is separated from "
            "the others, so the best scales and biases are infinite; finite ones are used, up to "
            f"{np.abs(self.scale).max():.4g} and {np.abs(self.bias).max():.4g}"
        )


def find(logits: Array, label: Array) -> Optimum:
    """Finds scales and biases (w, b) that minimise the NLL of softmax(logits · w + b).

    The NLL is convex in (w, b). L-BFGS starts from the better of no scaling and the fitted
    temperature, so on these logits the NLL is never above either. |w| is limited to 100 and |b| to
    100 nats, for data whose optimum is infinite. If a limit holds a parameter, a second search has
    the same limits for logits that are standardised by class, so that it reaches the optimum of
    very small ones. b has mean 0, as a constant added to every bias has no effect. Unlike a
    temperature, vector scaling may change the top class, and its 2K parameters need many
    calibration examples per class.

    The optimum counts as infinite if every example is classified right in the end, if the logit of
    a class alone separates its examples from all others, or if a limit holds a parameter.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].

    Raises:
      ValueError: as ``temperature.check``.
    """
    logits, label = temperature.check(logits, label)
    ones = np.ones(logits.shape[1])
    scales = (ones, ones / temperature.find(logits, label).temperature)
    starts = [(scale, 0 * ones) for scale in scales]
    # In units of the logits' spread, scales and biases curve the NLL alike.
    spread = max(float(logits.std()), 1e-12) * ones
    nll, scale, bias, held = _search(
        logits, label, starts, mean=0 * ones, spread=spread, widest=LARGEST_SCALE * spread
    )
    if held:
        mean, spread = logits.mean(0), logits.std(0)
        spread = np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)
        widest = LARGEST_SCALE * np.maximum(spread, 1)
        starts = [(scale, bias), *starts]
        again = _search(logits, label, starts, mean=mean, spread=spread, widest=widest)
        if again[0] < nll:
            _, scale, bias, held = again
    infinite = held or _is_separated(logits, label, logits * scale + bias)
    return Optimum(scale, bias - bias.mean(), INFINITE if infinite else FINITE)


def fit_vector(logits: Array, label: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns (w, b) of ``find``, and warns if there is no finite optimum."""
    found = find(logits, label)
    if found.warning:
        warnings.warn(found.warning, stacklevel=2)
    return found.scale, found.bias


def _search(logits, label, starts, *, mean, spread, widest):
    """Searches from the best of ``starts``, pairs (w, b), in units of ``spread`` around ``mean``.

    Returns:
      The NLL, w, b, and whether a limit holds one of them; limits are ``widest`` of w · spread, and
      LARGEST_BIAS.
    """
    from scipy import optimize, special  # slow to import

    (num, num_classes), logits = logits.shape, logits - mean
    rows = np.arange(num)

    def nll_and_gradient(x):
        scale, bias = x[:num_classes] / spread, x[num_classes:]
        log_probability = special.log_softmax(logits * scale + bias, axis=-1)
        residual = np.exp(log_probability)
        residual[rows, label] -= 1
        gradient = (residual * logits).mean(0) / spread, residual.mean(0)
        return -log_probability[rows, label].mean(), np.concatenate(gradient)

    shifted = [(scale * spread, bias + scale * mean) for scale, bias in starts]
    places = [np.concatenate([w, b - b.mean()]) for w, b in shifted]
    start = min(places, key=lambda x: nll_and_gradient(x)[0])
    limits = np.concatenate([widest, np.full(num_classes, LARGEST_BIAS)])
    fit = optimize.minimize(
        nll_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([-limits, limits], 1),
        options={"maxiter": 1000, "maxfun": 2000, "ftol": 1e-13, "gtol": 1e-9},
    )
    best = min(fit.x, start, key=lambda x: nll_and_gradient(x)[0])
    scale = best[:num_classes] / spread
    held = np.any(np.abs(best) >= AT_LIMIT * limits)
    bias = best[num_classes:] - scale * mean
    return nll_and_gradient(best)[0], scale, bias, bool(held)


def _is_separated(logits: np.ndarray, label: np.ndarray, scaled: np.ndarray) -> bool:
    """Returns whether scaled logits, or those of one class alone, separate the labels."""
    of_label = scaled[np.arange(len(label)), label]
    others = scaled.copy()
    others[np.arange(len(label)), label] = -np.inf
    if np.all(of_label > others.max(-1)):
        return True
    for k in range(logits.shape[1]):
        own, rest = logits[label == k, k], logits[label != k, k]
        if not len(own) or not len(rest):
            return True
        below, above = own.max() <= rest.min(), own.min() >= rest.max()
        if (below or above) and np.ptp(logits[:, k]) > 0:
            return True
    return False


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
