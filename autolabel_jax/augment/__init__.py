"""Defines the table of augmentations; each is a class in its own file."""

from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.augment.adversarial import Adversarial
from autolabel_jax.augment.audio_noise import AudioNoise
from autolabel_jax.augment.augmix import AugMix
from autolabel_jax.augment.auto_augment import AutoAugment
from autolabel_jax.augment.base import Augmentation, one_group, unmixed
from autolabel_jax.augment.cutmix import CutMix
from autolabel_jax.augment.cutout import Cutout
from autolabel_jax.augment.feature_masking import FeatureMasking
from autolabel_jax.augment.gaussian_noise import GaussianNoise
from autolabel_jax.augment.given import Given
from autolabel_jax.augment.mixup import Mixup
from autolabel_jax.augment.mixup_cutmix import MixupCutMix
from autolabel_jax.augment.none import Identity
from autolabel_jax.augment.patch_gaussian import PatchGaussian
from autolabel_jax.augment.randaugment import RandAugment
from autolabel_jax.augment.soft_crop import SoftCrop
from autolabel_jax.augment.spec_augment import SpecAugment
from autolabel_jax.augment.time_shift import TimeShift
from autolabel_jax.augment.trivial_augment import TrivialAugment
from autolabel_jax.augment.words import WordDropout, WordMasking, Words, WordSwap

__all__ = [
    "TABLE",
    "Adversarial",
    "AudioNoise",
    "AugMix",
    "Augmentation",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "FeatureMasking",
    "GaussianNoise",
    "Given",
    "Identity",
    "Mixup",
    "MixupCutMix",
    "PatchGaussian",
    "RandAugment",
    "SoftCrop",
    "SpecAugment",
    "TimeShift",
    "TrivialAugment",
    "WordDropout",
    "WordMasking",
    "WordSwap",
    "Words",
    "create",
    "find",
    "one_group",
    "unmixed",
]

# Maps the name in the config to the class, in the order of the blocks of tables.
TABLE: dict[str, type[Augmentation]] = {
    "none": Identity,
    "augmix": AugMix,
    "mixup": Mixup,
    "randaugment": RandAugment,
    "adversarial": Adversarial,
    "cutmix": CutMix,
    "mixup_cutmix": MixupCutMix,
    "cutout": Cutout,
    "soft_crop": SoftCrop,
    "patch_gaussian": PatchGaussian,
    "auto_augment": AutoAugment,
    "trivial_augment": TrivialAugment,
    "gaussian_noise": GaussianNoise,
    "feature_masking": FeatureMasking,
    "words": Words,
    "word_masking": WordMasking,
    "word_dropout": WordDropout,
    "word_swap": WordSwap,
    "spec_augment": SpecAugment,
    "audio_noise": AudioNoise,
    "time_shift": TimeShift,
    "given": Given,
}


def find(name: str) -> type[Augmentation]:
    """Finds the class that ``augment.name`` names: a key of TABLE, or ``module:Class``.

    Raises:
      ValueError: the class does not exist.
    """
    return registry.find("augment.name", name, TABLE, Augmentation)


def create(config: ConfigDict) -> Augmentation:
    """Creates the augmentation that ``config.augment`` describes.

    Raises:
      ValueError: ``augment.name`` is unknown, or a setting of any augmentation is out of range.
    """
    registry.check_all("augment", TABLE, config.augment)
    return registry.bind("augment", find(config.augment.name), config.augment)
