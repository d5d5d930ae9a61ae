"""The one table of label rules: ``init``, ``soft_labels``, ``update``, perhaps ``loss_scale``.

A rule is a file that defines some of

  init(own_confidence [N], **settings) -> LabelState
  soft_labels(state, label, bucket, *, num_classes, distance, second_label,
              second_weight, **settings) -> float32 [B, K]
  update(state, stats, **settings) -> LabelState
  loss_scale(state, bucket, **settings) -> (float32 [B], float32 [B]), what the training loss
    multiplies logits by, and what it is divided by

``soft_labels`` and ``loss_scale`` read the state, only ``update`` makes a new
one. All are pure; all but ``init`` are jittable.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable

import jax
from ml_collections import ConfigDict

from autolabel_jax.labels import (
    autolabel,
    bucket_accuracy,
    bucket_temperature,
    ccat,
    one_hot,
    polynomial,
    smoothing,
)
from autolabel_jax.types import BucketStats, LabelState

# name: (module, settings of soft_labels, of update, of loss_scale), each a field of config.labels
TABLE = {
    "one_hot": (one_hot, (), (), ()),
    "smoothing": (smoothing, ("smoothing",), (), ()),
    "autolabel": (autolabel, (), ("alpha", "monotone", *autolabel.KEPT), ()),
    "bucket_accuracy": (bucket_accuracy, (), (), ()),
    "bucket_temperature": (bucket_temperature, (), ("eta",), ("divide_loss",)),
    "polynomial": (polynomial, ("power",), (), ()),
    "ccat": (ccat, ("rho",), (), ()),
}


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """One label rule with its settings bound."""

    name: str
    init: Callable[..., LabelState]
    soft_labels: Callable[..., jax.Array]
    update: Callable[[LabelState, BucketStats], LabelState]
    loss_scale: Callable[[LabelState, jax.Array], tuple[jax.Array, jax.Array]] | None  # None: 1


def create(config: ConfigDict) -> LabelRule:
    """The label rule that ``config.labels`` names.

    Raises:
      ValueError: unknown ``labels.rule``, ``labels.step`` or ``labels.ece_estimate``, a setting
        out of range, or two that do not go together.
    """
    _check(config)
    settings = config.labels
    module, of_labels, of_update, of_scale = TABLE[settings.rule]
    init = module.init
    update = functools.partial(module.update, **{k: settings[k] for k in of_update})
    if settings.rule == "autolabel":  # its options keep statistics, and know of groups
        kept = {k: settings[k] for k in autolabel.KEPT}
        init = functools.partial(init, **kept, num_bins=config.calibration.num_bins)
        update = functools.partial(update, num_intervals=config.buckets.num)
    loss_scale = getattr(module, "loss_scale", None)
    if loss_scale is not None:
        loss_scale = functools.partial(loss_scale, **{k: settings[k] for k in of_scale})
    return LabelRule(
        name=settings.rule,
        init=init,
        soft_labels=functools.partial(module.soft_labels, **{k: settings[k] for k in of_labels}),
        update=update,
        loss_scale=loss_scale,
    )


def fields(rule: str) -> tuple[str, ...]:
    """The fields of ``config.labels`` that a rule of the table reads."""
    return tuple(itertools.chain(*TABLE[rule][1:]))


def _check(config: ConfigDict) -> None:
    settings = config.labels
    _check_known("rule", settings.rule, TABLE)
    _check_known("step", settings.step, autolabel.STEPS)
    _check_known("ece_estimate", settings.ece_estimate, autolabel.ESTIMATES)
    if settings.step == "signed_gap" and settings.ece_estimate != "plugin":
        raise ValueError(
            f"labels.ece_estimate: got {settings.ece_estimate!r} with labels.step='signed_gap', "
            "which reads no ECE; take labels.step='ece', or labels.ece_estimate='plugin'"
        )
    if settings.rule == "ccat" and config.augment.name not in ("adversarial", "given"):
        raise ValueError(
            f"labels.rule: got 'ccat' with augment.name={config.augment.name!r}; "
            "its labels are made for augment.name='adversarial'"
        )
    _check_range("alpha", settings.alpha, 0, float("inf"))
    _check_range("smoothing", settings.smoothing, 0, 1)
    _check_range("power", settings.power, 0, float("inf"))
    _check_range("rho", settings.rho, 0, float("inf"))
    _check_range("alpha_decay", settings.alpha_decay, 0, float("inf"))
    _check_range("eta", settings.eta, 0, float("inf"))
    if not 0 <= settings.momentum < 1:
        raise ValueError(
            f"labels.momentum: got {settings.momentum}, must be at least 0 and below 1"
        )


def _check_known(field: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"labels.{field}: got {value!r}, known are {', '.join(known)}")


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"labels.{field}: got {value}, must be between {low} and {high}")
