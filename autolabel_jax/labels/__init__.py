"""Defines the table of label rules; each is a class in its own file."""

from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.labels.autolabel import AutoLabel
from autolabel_jax.labels.autolabel_confusion import AutoLabelConfusion
from autolabel_jax.labels.base import LabelRule, LabelState, spread
from autolabel_jax.labels.bucket_accuracy import BucketAccuracy
from autolabel_jax.labels.bucket_temperature import BucketTemperature
from autolabel_jax.labels.camixup import CAMixup
from autolabel_jax.labels.ccat import CCAT
from autolabel_jax.labels.distill import Distill
from autolabel_jax.labels.ema_teacher import EMATeacher
from autolabel_jax.labels.one_hot import OneHot
from autolabel_jax.labels.polynomial import Polynomial
from autolabel_jax.labels.self_adaptive import SelfAdaptive
from autolabel_jax.labels.smoothing import Smoothing

__all__ = [
    "CCAT",
    "TABLE",
    "AutoLabel",
    "AutoLabelConfusion",
    "BucketAccuracy",
    "BucketTemperature",
    "CAMixup",
    "Distill",
    "EMATeacher",
    "LabelRule",
    "LabelState",
    "OneHot",
    "Polynomial",
    "SelfAdaptive",
    "Smoothing",
    "create",
    "find",
    "spread",
]

# Maps the name in the config to the class, in the order of the rows of tables.
TABLE: dict[str, type[LabelRule]] = {
    "one_hot": OneHot,
    "smoothing": Smoothing,
    "autolabel": AutoLabel,
    "autolabel_confusion": AutoLabelConfusion,
    "ema_teacher": EMATeacher,
    "bucket_temperature": BucketTemperature,
    "bucket_accuracy": BucketAccuracy,
    "polynomial": Polynomial,
    "ccat": CCAT,
    "camixup": CAMixup,
    "self_adaptive": SelfAdaptive,
    "distill": Distill,
}


def find(name: str) -> type[LabelRule]:
    """Finds the class that ``labels.rule`` names: a key of TABLE, or ``module:Class``.

    Raises:
      ValueError: the class does not exist.
    """
    return registry.find("labels.rule", name, TABLE, LabelRule)


def create(config: ConfigDict) -> LabelRule:
    """Creates the label rule that ``config.labels`` describes.

    Raises:
      ValueError: ``labels.rule`` is unknown, a setting of any rule is out of range, two settings
        contradict each other, the rule does not support the augmentation, or it reads a teacher
        and the run has none.
    """
    method, augmentation = find(config.labels.rule), config.augment.name
    if method.augmentations and augmentation not in method.augmentations:
        raise ValueError(
            f"labels.rule: got {config.labels.rule!r} with augment.name={augmentation!r}; its "
            f"labels are made for augment.name={' or '.join(map(repr, method.augmentations))}"
        )
    if method.reads_teacher and not config.optimizer.ema:
        raise ValueError(
            f"optimizer.ema: got {config.optimizer.ema} with labels.rule={config.labels.rule!r}, "
            "whose teacher is the moving average of the parameters; use a decay such as 0.99"
        )
    registry.check_all("labels", TABLE, config.labels)
    return registry.bind("labels", method, config.labels)
