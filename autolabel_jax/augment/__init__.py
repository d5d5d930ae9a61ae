"""The one table of augmentations: draw a distance, apply it, tell it.

Each method is a file with

  draw(key, num, **settings) -> Distance [num]
      distances as training draws them;
  apply(key, batch, distance, input_gradient, **settings) -> Augmented
      moves each image by just that distance, whoever drew it: training
      draws from ``draw``, calibration inside a bucket;

and, where it has more than one group or labels of its own,

  num_groups(**settings) -> int
  own_confidence(distance) -> float32 [B]
      what the method itself, with no label rule, gives the dominant class.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from autolabel_jax.augment import adversarial, augmix, given, mixup, none, randaugment
from autolabel_jax.types import Augmented, Distance

# name: (module, the settings of config.augment that its functions take)
TABLE = {
    "none": (none, ()),
    "augmix": (augmix, ("severity", "max_depth")),
    "mixup": (mixup, ("concentration",)),
    "adversarial": (adversarial, ("max_epsilon", "num_steps", "step_ratio")),
    "randaugment": (randaugment, ("max_operations", "max_magnitude")),
    "given": (given, ()),
}
RANGES = {
    "severity": (0.1, 10),
    "max_depth": (1, 100),
    "concentration": (1e-3, 1e3),
    "max_epsilon": (0, 1),
    "num_steps": (1, 1000),
    "step_ratio": (0, 100),
    "max_operations": (1, 100),
    "max_magnitude": (0, 10),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One augmentation method with its settings bound."""

    name: str
    num_groups: int
    draw: Callable[..., Distance]
    apply: Callable[..., Augmented]
    own_confidence: Callable[[Distance], jax.Array]
    distance_is_given: bool


def _one_group(**_) -> int:
    return 1


def _certain(distance: Distance) -> jax.Array:
    return jnp.ones_like(jnp.asarray(distance.value))


def create(config: ConfigDict) -> Augmentation:
    """The augmentation that ``config.augment`` names.

    Raises:
      ValueError: unknown ``augment.name``, or a setting out of its range.
    """
    name = config.augment.name
    if name not in TABLE:
        raise ValueError(f"augment.name: got {name!r}, known are {', '.join(TABLE)}")
    module, fields = TABLE[name]
    settings = {field: config.augment[field] for field in fields}
    for field, value in settings.items():
        low, high = RANGES[field]
        if not low <= value <= high:
            raise ValueError(f"augment.{field}: got {value}, must be between {low} and {high}")
    return Augmentation(
        name=name,
        num_groups=getattr(module, "num_groups", _one_group)(**settings),
        draw=functools.partial(module.draw, **settings),
        apply=functools.partial(module.apply, **settings),
        own_confidence=getattr(module, "own_confidence", _certain),
        distance_is_given=name == "given",
    )
