"""The one table of label rules: ``init``, ``soft_labels``, ``update``.

A rule is a file that defines some of

  init(own_confidence [N], **settings) -> LabelState
  soft_labels(state, label, bucket, *, num_classes, distance, second_label,
              second_weight, **settings) -> float32 [B, K]
  update(state, stats, **settings) -> LabelState

``soft_labels`` reads the state, only ``update`` makes a new one. All three
are pure; the two last are jittable.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from autolabel_jax.labels import (
    autolabel,
    bucket_accuracy,
    ccat,
    one_hot,
    polynomial,
    smoothing,
)
from autolabel_jax.types import BucketStats, LabelState

# name: (module, settings of soft_labels, settings of update), each a field of config.labels
TABLE = {
    "one_hot": (one_hot, (), ()),
    "smoothing": (smoothing, ("smoothing",), ()),
    "autolabel": (autolabel, (), ("alpha", "step")),
    "bucket_accuracy": (bucket_accuracy, (), ()),
    "polynomial": (polynomial, ("power",), ()),
    "ccat": (ccat, ("rho",), ()),
}


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """One label rule with its settings bound."""

    name: str
    init: Callable[..., LabelState]
    soft_labels: Callable[..., jax.Array]
    update: Callable[[LabelState, BucketStats], LabelState]


def create(config: ConfigDict) -> LabelRule:
    """The label rule that ``config.labels`` names.

    Raises:
      ValueError: unknown ``labels.rule`` or ``labels.step``, a setting out of range, or
        'ccat' without adversarial training.
    """
    settings = config.labels
    if settings.rule not in TABLE:
        raise ValueError(f"labels.rule: got {settings.rule!r}, known are {', '.join(TABLE)}")
    if settings.step not in autolabel.STEPS:
        known = ", ".join(autolabel.STEPS)
        raise ValueError(f"labels.step: got {settings.step!r}, known are {known}")
    if settings.rule == "ccat" and config.augment.name not in ("adversarial", "given"):
        raise ValueError(
            f"labels.rule: got 'ccat' with augment.name={config.augment.name!r}; "
            "its labels are made for augment.name='adversarial'"
        )
    _check_range("alpha", settings.alpha, 0, float("inf"))
    _check_range("smoothing", settings.smoothing, 0, 1)
    _check_range("power", settings.power, 0, float("inf"))
    _check_range("rho", settings.rho, 0, float("inf"))
    module, reads, writes = TABLE[settings.rule]
    return LabelRule(
        name=settings.rule,
        init=module.init,
        soft_labels=functools.partial(module.soft_labels, **{k: settings[k] for k in reads}),
        update=functools.partial(module.update, **{k: settings[k] for k in writes}),
    )


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"labels.{field}: got {value}, must be between {low} and {high}")
