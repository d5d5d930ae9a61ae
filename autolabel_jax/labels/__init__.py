"""Defines the table of label rules; each is a class in its own file."""

from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.labels.autolabel import AutoLabel
from autolabel_jax.labels.base import LabelRule, LabelState, spread
from autolabel_jax.labels.bucket_accuracy import BucketAccuracy
from autolabel_jax.labels.bucket_temperature import BucketTemperature
from autolabel_jax.labels.ccat import CCAT
from autolabel_jax.labels.one_hot import OneHot
from autolabel_jax.labels.polynomial import Polynomial
from autolabel_jax.labels.smoothing import Smoothing

__all__ = [
    "CCAT",
    "TABLE",
    "AutoLabel",
    "BucketAccuracy",
    "BucketTemperature",
    "LabelRule",
    "LabelState",
    "OneHot",
    "Polynomial",
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
    "bucket_temperature": BucketTemperature,
    "bucket_accuracy": BucketAccuracy,
    "polynomial": Polynomial,
    "ccat": CCAT,
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
        contradict each other, or the rule does not support the augmentation.
    """
    method, augmentation = find(config.labels.rule), config.augment.name
    if method.augmentations and augmentation not in method.augmentations:
        raise ValueError(
            f"labels.rule: got {config.labels.rule!r} with augment.name={augmentation!r}; its "
            f"labels are made for augment.name={' or '.join(map(repr, method.augmentations))}"
        )
    registry.check_all("labels", TABLE, config.labels)
    return registry.bind("labels", method, config.labels)
