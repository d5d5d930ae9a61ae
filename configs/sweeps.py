"""The runs of ``get_sweep``: tables of label rules, and studies of one setting at a time.

Seeds come outermost, so that a sweep that is stopped has fewer seeds of everything.
"""

from collections.abc import Callable, Iterable
from typing import Any

Settings = dict[str, Any]

# Intervals of the distance in tables, where they are not the config's: without an augmentation
# all distances are 0, and mixup's own label falls within an interval.
BUCKETS = {"none": 1, "mixup": 10}
AUGMENTATIONS = ("none", "augmix", "mixup", "randaugment", "adversarial")
ONE_HOT = {"labels.rule": "one_hot"}
AUTOLABEL = {"labels.rule": "autolabel"}
TEMPERATURES = (
    {"labels.rule": "bucket_temperature"},
    {"labels.rule": "bucket_temperature", "labels.divide_loss": True},
)
RULES = (
    ONE_HOT,
    {"labels.rule": "smoothing", "labels.smoothing": 0.05},
    {"labels.rule": "smoothing", "labels.smoothing": 0.1},
    {**AUTOLABEL, "labels.step": "ece"},
    {**AUTOLABEL, "labels.step": "signed_gap"},
    {"labels.rule": "bucket_accuracy"},
    {"labels.rule": "polynomial"},
)


def _vary(field: str, values: Iterable[Any]) -> tuple[Settings, ...]:
    """AutoLabel with each value of a setting, and the one-hot labels to compare with."""
    return (ONE_HOT, *({**AUTOLABEL, field: value} for value in values))


STUDIES: dict[str, tuple[Settings, ...]] = {
    "rules": RULES,
    "alpha": _vary("labels.alpha", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    "buckets": _vary("buckets.num", (1, 2, 3, 5, 10)),
    "images": _vary("calibration.images_per_update", (12, 24, 48, 96, 0)),
    "updates": _vary("labels.update_every", (1, 2, 5, 10)),
    "warmup": _vary("labels.warmup_epochs", (0, 10, 20, 40)),
    # What might mend the published rule, docs/method.md; it stands beside them.
    "remedies": (
        ONE_HOT,
        {**AUTOLABEL, "labels.step": "ece"},
        {**AUTOLABEL, "labels.step": "signed_gap"},
        {**AUTOLABEL, "labels.ece_estimate": "debiased"},
        {**AUTOLABEL, "labels.alpha_decay": 0.5},
        {**AUTOLABEL, "labels.momentum": 0.8},
        {**AUTOLABEL, "labels.monotone": True},
        *TEMPERATURES,
    ),
    "temperature": (ONE_HOT, AUTOLABEL, *TEMPERATURES),
    "steps": (
        ONE_HOT,
        *(
            {**AUTOLABEL, "labels.step": step, "labels.alpha": alpha}
            for step in ("ece", "signed_gap")
            for alpha in (0.1, 0.3, 1.0)
        ),
    ),
}


def sweep(
    add: Callable[..., None],
    name: str,
    seeds: Iterable[int],
    augmentations: Iterable[str] = AUGMENTATIONS,
) -> None:
    """The runs of one study, each with every seed.

    Args:
      add: called once for each run with its settings.
      name: 'table', every augmentation with every label rule; 'rules', the rules with the
        config's augmentation; or one of the other STUDIES, a setting of AutoLabel.
      seeds: of the runs.
      augmentations: of 'table'.

    Raises:
      ValueError: another name.
    """
    if name != "table" and name not in STUDIES:
        raise ValueError(f"--sweep={name}: known are table, {', '.join(STUDIES)}")
    chosen = _table(augmentations) if name == "table" else STUDIES[name]
    for seed in seeds:
        for settings in chosen:
            add(**settings, seed=seed)


def _table(augmentations: Iterable[str]) -> list[Settings]:
    found = []
    for augmentation in augmentations:
        buckets = {"buckets.num": BUCKETS[augmentation]} if augmentation in BUCKETS else {}
        for rule in RULES:
            # A polynomial in a distance of 0 is a one-hot label.
            if augmentation != "none" or rule["labels.rule"] != "polynomial":
                found.append({"augment.name": augmentation, **rule, **buckets})
    return found
