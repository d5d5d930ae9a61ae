"""Looks a temperature up by the known distance of each input.

It is an upper bound of what a temperature for each input can reach, where the distance is known.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax import buckets
from autolabel_jax.calibrators import base, temperature
from autolabel_jax.calibrators.base import HeldOut, Params
from autolabel_jax.types import Array, Distance


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Has a temperature for each group and each of ``num`` equal intervals of the distance.

    ``apply`` reads ``group`` and ``distance`` among the features.

    Attributes:
      num: number of intervals of the distance in each group.
    """

    num: int = 3

    def fit(self, held_out: HeldOut) -> Params:
        """Fits {'temperature': float32 [G · num]}; an empty bucket gets that of all examples."""
        place = self._bucket(held_out.group, held_out.distance)
        num_buckets = (1 + int(np.max(held_out.group))) * self.num
        pooled = temperature.fit_temperature(held_out.logits, held_out.label, held_out.weight)
        found = np.full(num_buckets, pooled, np.float32)
        at_bound = []
        for n in np.unique(place):
            inside = held_out.take(np.flatnonzero(np.asarray(place) == n))
            optimum = temperature.find(inside.logits, inside.label, inside.weight)
            found[n] = optimum.temperature
            at_bound += [str(n)] if optimum.warning else []
        if at_bound:
            warnings.warn(
                f"calibrator 'bucket': buckets {', '.join(at_bound)} have no finite best "
                "temperature, see temperature.find for those that are used",
                stacklevel=2,
            )
        return {"temperature": found}

    def apply(self, params: Params, logits: Array, features: Mapping[str, Array]) -> jax.Array:
        """Divides logits by the temperature of each bucket; see ``base.Method``."""
        base.check_features("bucket", ("group", "distance"), features)
        place = self._bucket(features["group"], features["distance"])
        return jnp.asarray(logits, jnp.float32) / jnp.asarray(params["temperature"])[place][:, None]

    def _bucket(self, group: Array, distance: Array) -> jax.Array:
        edges = buckets.make_edges("equal_width", self.num)
        return buckets.bucket_index(Distance(group=group, value=distance), edges)
