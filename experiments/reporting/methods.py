"""Names and orders the methods of a run in tables and figures, by what they declare."""

import json
import re
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from autolabel_jax import augment, labels, losses, models, registry
from configs import base

TABLES = {
    "augment.name": augment.TABLE,
    "labels.rule": labels.TABLE,
    "loss.name": losses.TABLE,
    "model.name": models.TABLE,
}
# Values that a run uses for fields added after it was made, as JSON stores them.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")


def find(field: str, name: Any) -> type | None:
    """Returns the class that a field of ``TABLES`` names; None if it cannot be loaded."""
    try:
        return registry.find(field, name, TABLES[field])
    except (ValueError, TypeError):
        return None


def title(field: str, name: str) -> str:
    """Returns the name of a method in tables: its own title, or its name in the config."""
    method = find(field, name) if registry.is_external(name) else None
    return name if method is None else getattr(method, "title", "") or method.__name__


def fields(field: str, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the names of the settings that a method reads; None if it cannot be loaded."""
    method = find(field, config.get(field))
    return None if method is None else tuple(registry.settings(method))


def model_name(config: Mapping[str, Any]) -> str:
    """Returns the model's name and sizes: 'wide_resnet-28-10', 'vit-tiny-16', 'resnet18'.

    A switch that is on is there by its name: 'resnet18-photograph_stem'.
    """
    sizes = {field: config.get(f"model.{field}") for field in fields("model.name", config) or ()}
    shown = (name if size is True else size for name, size in sizes.items() if size is not False)
    name = title("model.name", config["model.name"])
    return "-".join([name, *(str(size) for size in shown if size is not None)])


def learns(rule: str) -> bool:
    """Whether a label rule learns from buckets, which one that cannot be loaded may do."""
    method = find("labels.rule", rule)
    return method is None or method.learns


def rank(field: str, name: str) -> int:
    """Returns the place of a method in tables; external methods come last."""
    return [*TABLES[field], name].index(name)


def row_name(rule: str, settings: Mapping[str, Any]) -> str:
    """Returns the name of a label rule with some of its settings in tables."""
    method = find("labels.rule", rule)
    return rule if method is None else method.row_name(settings)


def label_names(rule: str, settings: Mapping[str, Any]) -> tuple[str, tuple]:
    """Returns the name of a row, such as 'autolabel, labels.alpha=0.5', and its sort key.

    It has the settings that differ from their defaults and are not in the rule's own name.
    """
    method, named, usual = find("labels.rule", rule), ["labels.rule"], DEFAULTS
    if method is not None:
        named += [f"labels.{field}" for field in method.in_name]
        usual = usual | {f"labels.{n}": s.default for n, s in registry.settings(method).items()}
    own = sorted((n, v) for n, v in settings.items() if n.startswith("labels.") and n not in named)
    own = [f"{field}={value}" for field, value in own if value != usual.get(field)]
    name = row_name(rule, {field.removeprefix("labels."): v for field, v in settings.items()})
    places = (natural(", ".join(own)), natural(name), natural(sorted(settings.items())))
    return ", ".join([name, *own]), (rank("labels.rule", rule), rule, *places)


def natural(value: Any) -> list[tuple[bool, float, str]]:
    """Returns a sort key that orders the numbers in a text by size, and before words."""
    parts = re.split(r"(\d*\.?\d+(?:e-?\d+)?)", str(value))
    return [(i % 2 == 0, float(p) if i % 2 else 0.0, p) for i, p in enumerate(parts)]
