"""Scales logits by one temperature of clean held-out examples (Guo et al. 2017, sec. 4.2)."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.types import Array

LOG_RANGE = (np.log(1e-2), np.log(1e2))  # of the first search
LOG_WIDTHS = (-37.0, 33.0)  # of the second one, for T in units of the widest row
NEAR = 1e-3  # log T of the first search is this close to the optimum, or a second one follows
TIE = 1e-12  # of the widest row; smaller differences of logits are rounding
SHARP, FLAT = 0.01, 10.0  # T, in units of the widest row, where the optimum is 0 or infinite

FINITE, ZERO, INFINITE, NONE = "finite", "zero", "infinite", "none"
REASONS = {
    ZERO: "every held-out example is classified right, so the best temperature is 0",
    INFINITE: "the held-out logits predict the labels no better than chance, so the best "
    "temperature is infinite",
    NONE: "the held-out logits are equal for all classes, so no temperature is better than another",
}


class Optimum(NamedTuple):
    """A temperature, and where the NLL has its minimum.

    Attributes:
      temperature: T > 0, finite in every case.
      kind: FINITE, or what ``temperature`` stands for: ZERO, INFINITE or NONE.
    """

    temperature: float
    kind: str

    @property
    def warning(self) -> str:
        """Says that there is no finite optimum, and what is used; '' if there is one."""
        if self.kind == FINITE:
            return ""
        return f"temperature scaling: {REASONS[self.kind]}; T = {self.temperature:.4g} is used"


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


def find(logits: Array, label: Array, weight: Array | None = None) -> Optimum:
    """Finds the temperature T > 0 that minimises the NLL of softmax(logits / T).

    The NLL is convex in 1/T. Its slope there is the mean of E_p[z] - z_y, which rises from
    mean(z) - z_y at infinite T to max(z) - z_y at T = 0. So there is a finite optimum if and only
    if the label's logit is above the mean of its row on average, but not the largest in every row.
    Otherwise T is a bound: .01, or SHARP · width if less, where all are right; 100, or FLAT · width
    if more, where the optimum is infinite; and 1 where T has no effect. The width is the largest
    difference of two logits of a row.

    Brent's search in log T covers [0.01, 100]. If it does not find the optimum, since the logits
    are very small, very large or say little, a second one finds it in units of the width.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].
      weight: float [n], weight of each example; None = equal.

    Raises:
      ValueError: as ``check``, or no weight is positive.
    """
    from scipy import optimize  # slow to import

    logits, label = check(logits, label)
    kind, width = _kind(logits, label, weight)
    if kind == NONE:
        return Optimum(1.0, NONE)
    if kind == ZERO:
        return Optimum(min(SHARP, SHARP * width), ZERO)

    def nll(log_temperature):
        return _nll(logits / np.exp(log_temperature), label, weight)

    fit = optimize.minimize_scalar(nll, bounds=LOG_RANGE, method="bounded", options={"xatol": 1e-6})
    first = float(np.exp(fit.x))
    if kind == INFINITE:
        return Optimum(float(max(first, FLAT * width)), INFINITE)

    logits /= width

    def slope(log_temperature):
        return _slope(logits, np.exp(-log_temperature), label, weight)

    place = fit.x - np.log(width)
    if slope(place - NEAR) > 0 > slope(place + NEAR):
        return Optimum(first, FINITE)
    return Optimum(float(width * np.exp(optimize.brentq(slope, *LOG_WIDTHS))), FINITE)


def fit_temperature(logits: Array, label: Array, weight: Array | None = None) -> float:
    """Returns the temperature of ``find``, and warns if there is no finite optimum."""
    found = find(logits, label, weight)
    if found.warning:
        warnings.warn(found.warning, stacklevel=2)
    return found.temperature


def _nll(logits, label, weight):
    from scipy import special  # slow to import

    rows = np.arange(len(label))
    return -np.average(special.log_softmax(logits, axis=-1)[rows, label], weights=weight)


def _slope(logits, inverse, label, weight):
    """Returns the derivative of the NLL of softmax(logits · inverse) by ``inverse``."""
    from scipy import special  # slow to import

    mean = np.einsum("nk,nk->n", special.softmax(logits * inverse, axis=-1), logits)
    return np.average(mean - logits[np.arange(len(label)), label], weights=weight)


def _kind(logits: np.ndarray, label: np.ndarray, weight: Array | None) -> tuple[str, float]:
    """Returns where the optimum is, and the largest difference of two logits of a row."""
    counts = slice(None) if weight is None else np.asarray(weight) > 0
    rows = logits[counts]
    if not len(rows):
        raise ValueError(f"weight: got no positive one for {len(logits)} examples")
    most, of_label = rows.max(-1), rows[np.arange(len(rows)), label[counts]]
    width = float((most - rows.min(-1)).max())
    if width <= 4 * np.finfo(float).eps * np.abs(most).max():
        return NONE, width
    weight = None if weight is None else np.asarray(weight)[counts]
    if np.average(most - of_label, weights=weight) <= TIE * width:
        return ZERO, width
    if np.average(rows.mean(-1) - of_label, weights=weight) >= -TIE * width:
        return INFINITE, width
    return FINITE, width


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
