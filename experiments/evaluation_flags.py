"""Defines the flags of what to evaluate, for ``experiments.evaluate`` and ``experiments.sweep``."""

from typing import Any

from absl import flags

from autolabel_jax.evaluation import ood, run, views

_CORRUPTIONS = flags.DEFINE_bool(
    "corruptions",
    False,
    "Evaluate on the corruptions of the kind of input, 15 of images, at 5 severities.",
)
_EXTRA = flags.DEFINE_bool(
    "extra_corruptions",
    False,
    "Evaluate on the 4 extra corruptions, reported separately, in no average.",
)
_CORRUPTED_DATA = flags.DEFINE_string(
    "corrupted_data",
    "",
    "Folder of published sets to read instead of making them: CIFAR-10-C or CIFAR-100-C, "
    "ImageNet-C, or TFDS sets with cifar10_corrupted. Implies --corruptions.",
)
_ATTACKS = flags.DEFINE_list(
    "attacks", [], "Evaluate under some of fgsm, pgd20, auto; l-inf 8/255."
)
_TEMPERATURE = flags.DEFINE_bool(
    "temperature", False, "Also fit vector scaling; temperature scaling is always fitted."
)
_EXAMPLES = flags.DEFINE_integer(
    "examples",
    0,
    "Corrupt and attack the first N test images, and tell them from N others (0 = all).",
    lower_bound=0,
)
_VIEWS = flags.DEFINE_list(
    "views", [], "Also evaluate the mean over the image and these views: mirror, augmix@DISTANCE."
)
_OOD = flags.DEFINE_list(
    "ood",
    [],
    "Also evaluate how well the test split is told from these: names of data sets, NAME@FOLDER "
    "for those outside data_dir, or noise.",
)


def keywords() -> dict[str, Any]:
    """Returns the flags as keywords of ``trained.evaluate``; {} if none asks for anything.

    Raises:
      ValueError: an attack or a view is unknown, or the name of another data set is not one.
    """
    run.plan(corrupted=False, attack_names=_ATTACKS.value, num_examples=0)
    views.check(_VIEWS.value, attacked=bool(_ATTACKS.value))
    ood.check(_OOD.value)
    folder, extra = _CORRUPTED_DATA.value, _EXTRA.value
    asked = {
        "corrupted": _CORRUPTIONS.value or (bool(folder) and not extra),
        "extra_corrupted": extra,
        "corrupted_data": folder,
        "attack_names": list(_ATTACKS.value),
        "vector_scaling": _TEMPERATURE.value,
        "view_names": list(_VIEWS.value),
        "ood_names": list(_OOD.value),
    }
    asked = {name: value for name, value in asked.items() if value}
    return asked | {"examples": _EXAMPLES.value} if asked else {}
