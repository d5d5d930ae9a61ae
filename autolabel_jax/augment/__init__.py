"""The table of augmentations: each is a class in a file of its own, see ``base.Augmentation``."""

from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.augment.adversarial import Adversarial
from autolabel_jax.augment.augmix import AugMix
from autolabel_jax.augment.base import Augmentation, one_group, unmixed
from autolabel_jax.augment.given import Given
from autolabel_jax.augment.mixup import Mixup
from autolabel_jax.augment.none import Identity
from autolabel_jax.augment.randaugment import RandAugment

__all__ = [
    "TABLE",
    "Adversarial",
    "AugMix",
    "Augmentation",
    "Given",
    "Identity",
    "Mixup",
    "RandAugment",
    "create",
    "find",
    "one_group",
    "unmixed",
]

# Name in the config → class, in the order of the blocks of tables.
TABLE: dict[str, type[Augmentation]] = {
    "none": Identity,
    "augmix": AugMix,
    "mixup": Mixup,
    "randaugment": RandAugment,
    "adversarial": Adversarial,
    "given": Given,
}


def find(name: str) -> type[Augmentation]:
    """The class that ``augment.name`` names: a row of TABLE, or ``module:Class``.

    Raises:
      ValueError: there is none.
    """
    return registry.find("augment.name", name, TABLE, Augmentation)


def create(config: ConfigDict) -> Augmentation:
    """The augmentation that ``config.augment`` names, with its settings.

    Raises:
      ValueError: unknown ``augment.name``, or a setting out of its range.
    """
    return registry.bind("augment", find(config.augment.name), config.augment)
