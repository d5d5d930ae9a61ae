"""Defines the interface of calibrators, and the held-out examples that they are fitted on.

A calibrator is fitted on the host and applied on the device:

    params = calibrator.fit(held_out)                       a pytree of arrays
    scaled = calibrator.apply(params, logits, features)     pure, jittable, exportable
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import struct

from autolabel_jax.types import Array

CLEAN = 0  # group of held-out examples that were not moved
FEW = 500  # below this number of clean held-out examples, a rule may be worse than one temperature

Params = Any  # pytree of float32 arrays


class HeldOut(struct.PyTreeNode):
    """Holds the outputs of a trained model for held-out examples, moved by known distances.

    The same image can occur several times, moved by other distances.
    """

    logits: Array  # float32 [n, K]
    features: dict[str, Array]  # float32 [n] each, see ``neighbours.scalars``
    label: Array  # int32 [n]
    distance: Array  # float32 [n] in [0, 1], inside the group; 0 for clean examples
    group: Array  # int32 [n], CLEAN, or which kind of move and how many operations
    weight: Array  # float32 [n], of each example in a fit

    def take(self, rows: np.ndarray | slice) -> "HeldOut":
        """Returns the given rows."""
        return jax.tree.map(lambda column: np.asarray(column)[rows], self)

    def clean(self) -> "HeldOut":
        """Returns the examples that were not moved.

        Raises:
          ValueError: there are none.
        """
        rows = np.flatnonzero(np.asarray(self.group) == CLEAN)
        if not len(rows):
            raise ValueError(f"group: got no clean example, whose group is {CLEAN}; add some")
        return self.take(rows)


class MissingFeatureError(ValueError):
    """A calibrator reads a feature that the model does not have."""


class Method(Protocol):
    """Changes logits so that their softmax says how often the model is right."""

    def fit(self, held_out: HeldOut) -> Params:
        """Fits the parameters on held-out examples, never on test.

        Raises:
          ValueError: the examples are not valid, or lack a feature that the calibrator reads.
        """
        ...

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Returns calibrated logits float32 [B, K].

        Args:
          params: from ``fit``.
          logits: float32 [B, K].
          features: float32 [B] each, those of ``HeldOut.features``.
        """
        ...


def check_features(name: str, needed: Iterable[str], features: Mapping[str, Array]) -> None:
    """Checks that features are there.

    Raises:
      MissingFeatureError: one is missing; the message names the calibrator.
    """
    missing = [feature for feature in needed if feature not in features]
    if missing:
        raise MissingFeatureError(
            f"calibrator {name!r} reads {', '.join(missing)}, which are not among the features of "
            f"this model ({', '.join(features) or 'none'}); use another calibrator"
        )


def warn_if_few(held_out: HeldOut) -> None:
    """Warns if a rule with several parameters is fitted on few clean examples."""
    num = int((np.asarray(held_out.group) == CLEAN).sum())
    if num < FEW:
        warnings.warn(
            f"a temperature for each input is fitted on {num} clean held-out examples; with fewer "
            f"than {FEW} it may be worse than one temperature",
            stacklevel=2,
        )
