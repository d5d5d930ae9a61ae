"""Lists results that others published, each with its source, to print beside ours.

Every number was read in the source itself or recomputed from its files. The tables of the AutoLabel
paper (arXiv 2302.11188) could not be read, so its cells stay empty.
"""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

CIFAR = "uncertainty-baselines, baselines/cifar/README"
IMAGENET = "uncertainty-baselines, baselines/imagenet/README"
ROBUSTBENCH = "RobustBench, model_info"
PYTORCH_ROBUST = "PyTorch-Robust README, 15 corruptions recomputed"
FOCAL = "focal_calibration README"
SOFT_LABEL = "soft_label_random_augmentation CSVs, recomputed"
OVERFITTING = "robust_overfitting logs, PGD-10, l-inf 8/255"


@dataclasses.dataclass(frozen=True)
class Published:
    """One published row.

    Attributes:
      row: name of the row.
      dataset: name of the data set.
      model: named as in our tables if the model is the same, else as in the source.
      source: where the row was read.
      metrics: fractions, with the digits that were printed.
      augmentation: None if no run of ours is made in this way.
      label_rule: label rule of runs that the row may be compared with.
      settings: further config fields that such a run must have.
    """

    row: str
    dataset: str
    model: str
    source: str
    metrics: Mapping[str, Decimal]
    augmentation: str | None = None
    label_rule: str = "one_hot"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def footnote(self) -> str:
        """Describes the row and where it was read."""
        return f"{self.row} ({self.dataset}, {self.model}): {self.source}"


def _clean(accuracy: str, ece: str | None = None) -> dict[str, Decimal]:
    metrics = {"accuracy": Decimal(accuracy).scaleb(-2)}
    return metrics | ({"ece": Decimal(ece)} if ece else {})


def _corrupted(accuracy: str, ece: str | None = None) -> dict[str, Decimal]:
    return {f"corrupted_{name}": value for name, value in _clean(accuracy, ece).items()}


def _robust(accuracy: str, robust: str) -> dict[str, Decimal]:
    return _clean(accuracy) | {"adversarial_accuracy": Decimal(robust).scaleb(-2)}


def _spread(accuracy: str, sd: str) -> dict[str, Decimal]:
    return _clean(accuracy) | {"accuracy_sd": Decimal(sd).scaleb(-2)}


# Accuracies are per cent here, as printed; ECE is a fraction.
ROWS = (
    Published(
        *("deterministic", "cifar10", "wide_resnet-28-10", CIFAR),
        _clean("96.0", ".0231") | _corrupted("76.1", ".153"),
        augmentation="none",
    ),
    Published(
        *("SNGP", "cifar10", "wide_resnet-28-10", CIFAR),
        _clean("96.0", ".007") | _corrupted("78.5", ".078"),
    ),
    Published(
        *("SNGP + AugMix", "cifar10", "wide_resnet-28-10", CIFAR),
        _clean("96.9", ".0045") | _corrupted("89.1", ".015"),
    ),
    Published(
        *("ensemble of 4", "cifar10", "wide_resnet-28-10", CIFAR),
        _clean("96.6", ".010") | _corrupted("77.9", ".087"),
    ),
    Published(
        *("deterministic", "cifar100", "wide_resnet-28-10", CIFAR),
        _clean("79.8", ".0857") | _corrupted("51.4", ".239"),
        augmentation="none",
    ),
    Published(
        *("SNGP + AugMix", "cifar100", "wide_resnet-28-10", CIFAR),
        _clean("80.6", ".024") | _corrupted("65.9", ".054"),
    ),
    Published(
        *("AugMix + JSD, three chains", "cifar10", "wide_resnet-40-2", ROBUSTBENCH),
        _clean("95.08") | _corrupted("88.82"),
        augmentation="augmix",
    ),
    Published(
        *("AugMix + JSD, three chains", "cifar100", "wide_resnet-40-2", ROBUSTBENCH),
        _clean("76.28") | _corrupted("64.11"),
        augmentation="augmix",
    ),
    Published(
        *("AugMix, no JSD", "cifar10", "resnet18", PYTORCH_ROBUST),
        _clean("95.50") | _corrupted("85.67"),
        augmentation="augmix",
    ),
    Published(
        *("mixup, alpha=1", "cifar10", "resnet18", PYTORCH_ROBUST),
        _clean("95.86") | _corrupted("79.47"),
        augmentation="mixup",
        settings={"augment.concentration": 1.0},
    ),
    Published(
        *("cross-entropy", "cifar10", "wide_resnet-26-10", FOCAL),
        _clean("96.14", ".0323"),
        augmentation="none",
    ),
    Published(
        *("label smoothing .05", "cifar10", "wide_resnet-26-10", FOCAL),
        _clean("95.80", ".0426"),
        augmentation="none",
        label_rule="smoothing",
        settings={"labels.smoothing": 0.05},
    ),
    Published(
        *("hard labels, crop + TrivialAugment", "cifar10", "wide_resnet-28-4", SOFT_LABEL),
        _spread("96.66", ".13") | _corrupted("86.3"),
    ),
    Published(
        *("smoothing .1, crop + TrivialAugment", "cifar10", "wide_resnet-28-4", SOFT_LABEL),
        _spread("96.66", ".06") | _corrupted("86.2"),
    ),
    Published(
        *("label = reference model's accuracy", "cifar10", "wide_resnet-28-4", SOFT_LABEL),
        _spread("96.50", ".15") | _corrupted("86.7"),
    ),
    Published(
        *("deterministic", "imagenet2012", "ResNet-50", IMAGENET),
        _clean("76.2", ".032") | _corrupted("40.5", ".103"),
    ),
    Published(
        *("mixup", "imagenet2012", "ResNet-50", IMAGENET),
        _clean("77.7", ".028") | _corrupted("47.1", ".109"),
    ),
    Published(
        *("AugMix, 180 epochs", "imagenet2012", "ResNet-50", "augmix README"),
        _clean("77.53") | {"mce": Decimal(".653")},
    ),
    Published(
        *("PGD-10 training, best checkpoint", "cifar10", "PreActResNet-18", OVERFITTING),
        _robust("82.92", "53.49"),
    ),
    Published(
        *("PGD-10 training, last checkpoint", "cifar10", "PreActResNet-18", OVERFITTING),
        _robust("84.93", "45.59"),
    ),
    Published(
        *("PGD-10 training + mixup alpha=1.4, best", "cifar10", "PreActResNet-18", OVERFITTING),
        _robust("80.35", "53.72"),
    ),
    Published(
        *("PGD-10 training + mixup alpha=1.4, last", "cifar10", "PreActResNet-18", OVERFITTING),
        _robust("80.54", "52.86"),
    ),
    Published(
        *("Madry et al.", "cifar10", "wide_resnet-34-10"),
        "RobustBench, AutoAttack, l-inf 8/255",
        _robust("87.14", "44.04"),
        augmentation="adversarial",
    ),
    Published(
        *("Engstrom et al.", "cifar10", "ResNet-50", "PGD-20, l-inf 8/255"),
        _robust("87.03", "53.49"),
    ),
    Published(
        *("Engstrom et al.", "cifar10", "ResNet-50", "AutoAttack, l-inf 8/255"),
        _robust("87.03", "49.25"),
    ),
)


def beside(config: Mapping[str, Any], model: str) -> Published | None:
    """Returns the published row that a run may be compared with; None if there is none.

    Args:
      config: config of the run, flat; only whole training splits are compared.
      model: name of the model in our tables.
    """
    if config.get("train_examples", 0):
        return None
    asked = (config["dataset"], model, config["augment.name"], config["labels.rule"])
    for row in ROWS:
        same = asked == (row.dataset, row.model, row.augmentation, row.label_rule)
        if same and all(config.get(f) == value for f, value in row.settings.items()):
            return row
    return None
