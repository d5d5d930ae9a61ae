"""Defines the runs of ``get_sweep``: tables of label rules, and studies of one setting.

Seeds are the outermost loop, so that a sweep that is stopped has fewer seeds of every run.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from autolabel_jax import augment, labels

Settings = dict[str, Any]


class AddRun(Protocol):
    """Adds a run to a sweep."""

    def __call__(self, **settings: Any) -> None:
        """Adds the run whose config has these settings, such as ``seed=0``."""
        ...


ONE_HOT = {"labels.rule": "one_hot"}
AUTOLABEL = {"labels.rule": "autolabel"}
TEMPERATURES = (
    {"labels.rule": "bucket_temperature"},
    {"labels.rule": "bucket_temperature", "labels.divide_loss": True},
)
# Augmentations of 'table', in the order of the tables.
AUGMENTATIONS = tuple(name for name, method in augment.TABLE.items() if method.in_sweep)
# Each rule with the settings at which it is compared.
RULES = tuple(
    {"labels.rule": name, **{f"labels.{field}": value for field, value in settings.items()}}
    for name, rule in labels.TABLE.items()
    for settings in rule.sweep
)


def _vary(field: str, values: Iterable[Any]) -> tuple[Settings, ...]:
    """Returns AutoLabel with each value of a setting, and one-hot labels for comparison."""
    return (ONE_HOT, *({**AUTOLABEL, field: value} for value in values))


STUDIES: dict[str, tuple[Settings, ...]] = {
    "rules": RULES,
    "alpha": _vary("labels.alpha", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    "buckets": _vary("buckets.num", (1, 2, 3, 5, 10)),
    "images": _vary("calibration.images_per_update", (12, 24, 48, 96, 0)),
    "updates": _vary("labels.update_every", (1, 2, 5, 10)),
    "warmup": _vary("labels.warmup_epochs", (0, 10, 20, 40)),
    # Changes that may improve the published rule, see docs/label_rules.md, next to the rule itself.
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
    # Other soft labels, with the moving average that they need as a control of its own.
    "candidates": (
        ONE_HOT,
        {"labels.rule": "smoothing", "labels.smoothing": 0.05},
        AUTOLABEL,
        {"labels.rule": "autolabel_confusion"},
        TEMPERATURES[1],
        *(
            {"labels.rule": rule, "optimizer.ema": 0.99}
            for rule in ("one_hot", "autolabel", "ema_teacher")
        ),
    ),
    # Training losses with one-hot labels and with those of AutoLabel.
    "losses": tuple(
        {**rule, **loss}
        for rule in (ONE_HOT, AUTOLABEL)
        for loss in (
            {"loss.name": "cross_entropy"},
            {"loss.name": "mbls", "loss.margin": 6.0},
            {"loss.name": "focal"},
            {"loss.name": "focal", "loss.schedule": "flsd53"},
            {"loss.name": "logit_norm"},
            {"loss.name": "logit_norm", "loss.temperature": 0.3},
        )
    ),
    "steps": (
        ONE_HOT,
        *(
            {**AUTOLABEL, "labels.step": step, "labels.alpha": alpha}
            for step in ("ece", "signed_gap")
            for alpha in (0.1, 0.3, 1.0)
        ),
    ),
    # For tables of several augmentations on small data.
    "short": (ONE_HOT, {"labels.rule": "smoothing", "labels.smoothing": 0.1}, AUTOLABEL),
}


def sweep(
    add: AddRun,
    name: str,
    seeds: Iterable[int],
    augmentations: Iterable[str] = AUGMENTATIONS,
) -> None:
    """Adds the runs of one study, each with every seed.

    Args:
      add: function that is called once per run with its settings.
      name: 'table' for every augmentation with every label rule, 'rules' for every rule with
        the config's augmentation, or another key of STUDIES, for a setting of AutoLabel.
      seeds: seeds of the runs.
      augmentations: augmentations of 'table'.

    Raises:
      ValueError: the name is unknown.
    """
    if name != "table" and name not in STUDIES:
        raise ValueError(f"--sweep={name}: expected one of: table, {', '.join(STUDIES)}")
    chosen = _table(augmentations) if name == "table" else STUDIES[name]
    for seed in seeds:
        for settings in chosen:
            add(**settings, seed=seed)


def across(add: AddRun, name: str, seeds: Iterable[int], augmentations: Sequence[str]) -> None:
    """Adds the runs of a study with every augmentation; the arguments are those of ``sweep``."""
    for seed in seeds:
        for method in augmentations:
            sweep(functools.partial(add, **{"augment.name": method}), name, [seed])


def _table(augmentations: Iterable[str]) -> list[Settings]:
    runs = []
    for name in augmentations:
        method = augment.find(name)
        buckets = {} if method.num_buckets is None else {"buckets.num": method.num_buckets}
        for rule in RULES:
            # If every distance is 0, a rule that reads the distance gives one-hot labels.
            if method.moves_inputs or not labels.find(rule["labels.rule"]).reads_distance:
                runs.append({"augment.name": name, **rule, **buckets})
    return runs
