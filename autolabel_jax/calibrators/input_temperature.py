"""Computes a temperature for each input from features; rules in files of their own have this form.

    log T(x) = a + u·x + softplus(c - 2 + v·g),   kept in [-3, 4]

x and g are features, standardised with the weighted mean and deviation of the held-out examples.
A fit minimises the weighted NLL of softmax(z / T(x)) plus 1e-3 · ‖(u, v)‖² by L-BFGS, from
a = log T₀ and zeros, where T₀ is the temperature of the clean held-out examples, or of all of them
if the clean ones have no finite optimum. If log T₀ is outside [-3, 4], z is divided by T₀ first, so
that the limits hold for T(x) / T₀. If all have none, T₀ is a bound of ``temperature.find``, and the
smallest or largest T(x). A warning says if most held-out examples are at a limit.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.calibrators import base, temperature
from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.types import Array

RIDGE = 1e-3
LOG_LIMITS = (-3.0, 4.0)  # of log T
MOST_AT_LIMIT = 0.5  # share of the held-out examples
OFFSET = -2.0  # so that the softplus is small at the start
MOST_STEPS = 100  # of L-BFGS; c has no finite optimum where the softplus does not help
ENTROPY = "entropy"  # the one feature that is computed from the logits


@dataclasses.dataclass(frozen=True)
class InputTemperature:
    """Is a rule for the temperature of an input.

    Attributes:
      name: name in messages.
      linear: features x, 'entropy' among them or not.
      rising: features g; () leaves the softplus out.
    """

    name: str
    linear: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()

    def fit(self, held_out: HeldOut) -> Params:
        """Fits a, u, c, v and the standardisation; see ``base.Method``."""
        from scipy import optimize  # slow to import

        self._check(held_out.features)
        base.warn_if_few(held_out)
        logits, label = temperature.check(held_out.logits, held_out.label)
        start, unit = _start(held_out)
        params: dict[str, Any] = {"clean_temperature": start, "unit": unit}
        logits /= unit
        columns = self._columns(params, held_out.logits, held_out.features)
        columns = np.asarray(columns, np.float64)
        logits -= logits.max(-1, keepdims=True)  # the softmax stays the same
        weight = np.asarray(held_out.weight, np.float64) / np.sum(held_out.weight, dtype=np.float64)
        mean, scale = _moments(columns, weight)
        first = np.zeros(1 + len(self.linear) + bool(self.rising) + len(self.rising))
        first[0] = np.log(start / unit)
        found = optimize.minimize(
            objective,
            first,
            (logits, label, (columns - mean) / scale, weight, len(self.linear)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_STEPS, "ftol": 1e-10, "gtol": 1e-7},
        ).x
        a, u, c, v = _parts(found, len(self.linear))
        fitted = {"mean": mean, "scale": scale, "a": a, "u": u, "c": c, "v": v}
        params |= {name: np.asarray(part, np.float32) for name, part in fitted.items()}
        self._warn_if_at_limit(params, held_out)
        return params

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Divides logits by the temperature of each input; see ``base.Method``."""
        logits = jnp.asarray(logits, jnp.float32)
        return logits / jnp.exp(self.log_temperature(params, logits, features))[:, None]

    def log_temperature(
        self, params: Params, logits: Array, features: Mapping[str, Array]
    ) -> jax.Array:
        """Returns log T of each input, float32 [B]; the arguments are those of ``apply``."""
        self._check(features)
        columns = self._columns(params, logits, features)
        columns = (columns - params["mean"]) / params["scale"]
        num = len(self.linear)
        log_t = params["a"] + jnp.sum(columns[:, :num] * params["u"], -1)
        if self.rising:
            log_t += jax.nn.softplus(
                params["c"] + OFFSET + jnp.sum(columns[:, num:] * params["v"], -1)
            )
        return jnp.clip(log_t, *LOG_LIMITS) + jnp.log(params["unit"])

    def _warn_if_at_limit(self, params: Params, held_out: HeldOut) -> None:
        log_t = self.log_temperature(params, held_out.logits, held_out.features)
        limits = np.array(LOG_LIMITS) + np.log(params["unit"])
        share = np.isclose(np.asarray(log_t)[:, None], limits, rtol=0, atol=1e-5).any(-1).mean()
        if share > MOST_AT_LIMIT:
            warnings.warn(
                f"calibrator {self.name!r}: {share:.0%} of the held-out examples have the smallest "
                "or largest temperature that it allows; their best ones lie beyond",
                stacklevel=3,
            )

    def _check(self, features: Mapping[str, Array]) -> None:
        needed = [name for name in self.linear + self.rising if name != ENTROPY]
        base.check_features(self.name, needed, features)

    def _columns(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Returns the features that the rule reads, float32 [B, F]."""
        known = dict(features)
        if ENTROPY in self.linear:
            known[ENTROPY] = log_entropy(logits / params["clean_temperature"])
        names = self.linear + self.rising
        return jnp.stack([jnp.asarray(known[name], jnp.float32) for name in names], -1)


def _start(held_out: HeldOut) -> tuple[np.float32, np.float32]:
    """Returns T₀ and the unit of temperatures, see the module."""
    clean = held_out.clean()
    found = temperature.find(clean.logits, clean.label)
    if found.warning:
        warnings.warn(f"clean held-out examples: {found.warning}", stacklevel=3)
        pooled = temperature.find(held_out.logits, held_out.label, held_out.weight)
        found = found if pooled.warning else pooled
    start = np.float32(found.temperature)
    if LOG_LIMITS[0] <= np.log(start) <= LOG_LIMITS[1]:
        return start, np.float32(1)
    ends = {temperature.ZERO: LOG_LIMITS[0], temperature.INFINITE: LOG_LIMITS[1]}
    return start, np.float32(start / np.exp(ends.get(found.kind, 0.0)))


def log_entropy(logits: Array) -> jax.Array:
    """Returns log(entropy of softmax(logits) / log K + 1e-4), float32 [B]."""
    logits = jnp.asarray(logits, jnp.float32)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    return jnp.log(jnp.maximum(entropy, 0) / np.log(logits.shape[-1]) + 1e-4)


def objective(
    found: np.ndarray,
    logits: np.ndarray,
    label: np.ndarray,
    columns: np.ndarray,
    weight: np.ndarray,
    num_linear: int,
) -> tuple[float, np.ndarray]:
    """Returns the objective of a fit and its gradient.

    Args:
      found: a, u, and if there are rising features c and v, float64 [P].
      logits: float64 [n, K], at most 0 so that no exponential overflows, with a 0 in each row.
      label: int [n].
      columns: standardised features, linear ones first, float64 [n, F].
      weight: float64 [n], of sum 1.
      num_linear: number of linear features.
    """
    from scipy import special  # slow to import

    a, u, c, v = _parts(found, num_linear)
    x, g = columns[:, :num_linear], columns[:, num_linear:]
    inner = c + OFFSET + g @ v
    unclipped = a + x @ u + (np.logaddexp(0, inner) if len(v) else 0)
    log_t = np.clip(unclipped, *LOG_LIMITS)
    scaled = logits * np.exp(-log_t)[:, None]
    share = np.exp(scaled)
    total, of_label = share.sum(-1), scaled[np.arange(len(label)), label]
    value = weight @ (np.log(total) - of_label) + RIDGE * (u @ u + v @ v)
    # d(-log p_y) / d(log T) = z_y / T - Σ_k p_k z_k / T
    slope = weight * (of_label - np.einsum("nk,nk->n", share, scaled) / total)
    slope = np.where(unclipped == log_t, slope, 0)
    gradient = [[slope.sum()], x.T @ slope + 2 * RIDGE * u]
    if len(v):
        rising = slope * special.expit(inner)
        gradient += [[rising.sum()], g.T @ rising + 2 * RIDGE * v]
    return float(value), np.concatenate(gradient)


def _parts(found: np.ndarray, num_linear: int):
    """Divides the parameters into (a, u, c, v); c is 0 without rising features."""
    a, u, rest = found[0], found[1 : 1 + num_linear], found[1 + num_linear :]
    return (a, u, rest[0], rest[1:]) if len(rest) else (a, u, 0.0, rest)


def _moments(columns: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weighted mean and deviation of each column [F]; the deviation of a constant is 1."""
    mean = weight @ columns
    deviation = np.sqrt(weight @ (columns - mean) ** 2)
    return mean, np.where(deviation > 1e-6 * np.maximum(1, np.abs(mean)), deviation, 1.0)
