"""Lists the runs of the study 'methods': augmentations and rules of other papers, side by side.

Every augmentation is trained with one-hot labels and with AutoLabel, and every rule, loss and
weighting of examples without an augmentation and with AugMix. Calibrators are fitted after
training, in the evaluation of each run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel_jax import augment

Settings = dict[str, Any]

ONE_HOT = {"labels.rule": "one_hot"}
AUTOLABEL = {"labels.rule": "autolabel"}
# Augmentations, by the name under which ``runs`` finds the settings that were chosen for them.
AUGMENTATIONS: dict[str, Settings] = {
    name: {"augment.name": name}
    for name in (
        "none",
        "augmix",
        "mixup",
        "randaugment",
        "cutmix",
        "mixup_cutmix",
        "cutout",
        "soft_crop",
        "patch_gaussian",
        "auto_augment",
        "trivial_augment",
        "adversarial",
    )
} | {"augmix_jsd": {"augment.name": "augmix", "augment.chains": 3, "loss.jsd": 12.0}}
# AutoLabel learns the labels of all views of AugMix's loss.
ALL_VIEWS = {"loss.jsd_labels": "all"}
RULES: dict[str, Settings] = {
    "smoothing": {"labels.rule": "smoothing"},
    "autolabel_confusion": {"labels.rule": "autolabel_confusion"},
    "ema_teacher": {"labels.rule": "ema_teacher", "optimizer.ema": 0.99},
    "bucket_temperature": {"labels.rule": "bucket_temperature", "labels.divide_loss": True},
    "bucket_accuracy": {"labels.rule": "bucket_accuracy"},
    "polynomial": {"labels.rule": "polynomial"},
    "self_adaptive": {"labels.rule": "self_adaptive"},
    "mbls": {**ONE_HOT, "loss.name": "mbls"},
    "focal": {**ONE_HOT, "loss.name": "focal"},
    "flsd53": {**ONE_HOT, "loss.name": "focal", "loss.schedule": "flsd53"},
    "logit_norm": {**ONE_HOT, "loss.name": "logit_norm"},
    "mmel": {**ONE_HOT, "loss.copies": 4},
    "camixup": {"labels.rule": "camixup"},
}
# Without an augmentation, a polynomial of the distance is one-hot, and all copies are the same.
BASES = {"polynomial": ("augmix",), "mmel": ("augmix",), "camixup": ("mixup",)}
# The values of one setting that were tried on a data set, for each method that has one.
TRIALS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "augmix": ("augment.severity", (1.0, 3.0, 5.0, 10.0)),
    "mixup": ("augment.concentration", (0.2, 0.5, 1.0, 2.0)),
    "randaugment": ("augment.max_magnitude", (2.5, 5.0, 7.5, 10.0)),
    "cutmix": ("augment.concentration", (0.2, 0.5, 1.0, 2.0)),
    "mixup_cutmix": ("augment.cutmix_share", (0.2, 0.4, 0.6, 0.8)),
    "cutout": ("augment.max_side", (0.25, 0.5, 0.75, 1.0)),
    "soft_crop": ("augment.offset_sigma", (0.1, 0.2, 0.3, 0.4)),
    "patch_gaussian": ("augment.max_sigma", (0.1, 0.3, 0.5, 1.0)),
    "auto_augment": ("augment.policy", ("cifar10", "svhn", "imagenet", "random")),
    "adversarial": ("augment.max_epsilon", (0.03, 0.06, 0.1, 0.2)),
    "augmix_jsd": ("loss.jsd", (1.0, 3.0, 6.0, 12.0)),
    "autolabel": ("labels.alpha", (0.1, 0.3, 1.0, 3.0)),
    "smoothing": ("labels.smoothing", (0.02, 0.05, 0.1, 0.2)),
    "autolabel_confusion": ("labels.pseudo_count", (10.0, 30.0, 100.0, 300.0)),
    "ema_teacher": ("labels.teacher_temperature", (1.0, 2.0, 4.0, 8.0)),
    "bucket_temperature": ("labels.eta", (0.1, 0.3, 1.0, 3.0)),
    "polynomial": ("labels.power", (1.0, 2.0, 4.0, 8.0)),
    "self_adaptive": ("labels.start_epoch", (10, 20, 30, 45)),
    "mbls": ("loss.margin", (2.0, 4.0, 6.0, 10.0)),
    "focal": ("loss.gamma", (0.5, 1.0, 2.0, 3.0)),
    "logit_norm": ("loss.temperature", (0.1, 0.3, 0.5, 1.0)),
    "mmel": ("loss.copies_temperature", (0.1, 0.3, 1.0, 3.0)),
}


def moved(name: str, chosen: Mapping[str, Settings]) -> Settings:
    """Returns the settings of an augmentation, with its number of buckets in tables."""
    settings = AUGMENTATIONS[name]
    num = augment.find(settings["augment.name"]).num_buckets
    return settings | ({} if num is None else {"buckets.num": num}) | chosen.get(name, {})


def trials() -> list[Settings]:
    """Returns the settings of runs that choose one setting of each method of TRIALS.

    Augmentations have one-hot labels, and rules have AugMix with its default settings.
    """
    found = []
    for name, (field, values) in TRIALS.items():
        if name in AUGMENTATIONS:
            settings = moved(name, {}) | ONE_HOT
        else:
            settings = moved("augmix", {}) | RULES.get(name, AUTOLABEL)
        found += [settings | {field: value} for value in values]
    return found


def runs(
    chosen: Mapping[str, Settings], bases: Sequence[str] = ("none", "augmix")
) -> list[Settings]:
    """Returns the settings of each run.

    Args:
      chosen: settings by the name of an augmentation or of a rule, in place of the defaults.
      bases: augmentations of the rules.
    """
    found = []
    for name in AUGMENTATIONS:
        settings = moved(name, chosen)
        views = ALL_VIEWS if "loss.jsd" in settings else {}
        found += [settings | ONE_HOT, settings | views | AUTOLABEL | chosen.get("autolabel", {})]
    for name, settings in RULES.items():
        for base in BASES.get(name, bases):
            found.append(moved(base, chosen) | settings | chosen.get(name, {}))
    return found
