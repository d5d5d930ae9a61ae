"""Changes how a calibrator is fitted: recentred on clean examples, or fitted on them alone."""

import dataclasses
import warnings
from collections.abc import Mapping

import jax
import numpy as np

from autolabel_jax.calibrators import temperature
from autolabel_jax.calibrators.base import HeldOut, Method, Params
from autolabel_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Recentred:
    """Fits a last temperature on the clean held-out examples, after the calibrator.

    A fit on many far examples makes clean ones a little too soft, which this takes back.
    """

    calibrator: Method

    def fit(self, held_out: HeldOut) -> Params:
        """Fits {'inner': parameters of the calibrator, 'temperature': float32 []}."""
        return self.recentre(self.calibrator.fit(held_out), held_out)

    def recentre(self, inner: Params, held_out: HeldOut) -> Params:
        """Fits the last temperature alone, after a calibrator with parameters ``inner``.

        It is 1 where there is no finite optimum.
        """
        clean = held_out.clean()
        scaled = np.asarray(self.calibrator.apply(inner, clean.logits, clean.features))
        found = temperature.find(scaled, clean.label)
        if found.kind != temperature.FINITE:
            warnings.warn(f"not recentred: {temperature.REASONS[found.kind]}", stacklevel=2)
            found = temperature.Optimum(1.0, found.kind)
        return {"inner": inner, "temperature": np.float32(found.temperature)}

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Applies the calibrator, then the temperature; see ``base.Method``."""
        return self.calibrator.apply(params["inner"], logits, features) / params["temperature"]


@dataclasses.dataclass(frozen=True)
class FittedOnClean:
    """Fits the calibrator on the clean held-out examples alone, as a control."""

    calibrator: Method

    def fit(self, held_out: HeldOut) -> Params:
        """Fits the parameters of the calibrator; see ``base.Method``."""
        return self.calibrator.fit(held_out.clean())

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Applies the calibrator; see ``base.Method``."""
        return self.calibrator.apply(params, logits, features)
