"""Names and orders the methods of a run in tables and figures, by what they declare."""

import json
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from autolabel_jax import augment, labels, models, registry
from configs import base

TABLES: dict[str, Mapping[str, type]] = {
    "augment.name": augment.TABLE,
    "labels.rule": labels.TABLE,
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
    method = find(field, name)
    if method is None or not registry.is_external(name):
        return name
    return getattr(method, "title", "") or method.__name__


def rank(field: str, name: str) -> int:
    """Returns the index of a method in its table; external methods come last."""
    names = list(TABLES[field])
    return names.index(name) if name in names else len(names)


def fields(field: str, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the names of the settings that a method reads; None if it cannot be loaded."""
    method = find(field, config.get(field))
    return None if method is None else tuple(registry.settings(method))


def model_name(config: Mapping[str, Any]) -> str:
    """Returns the model's name and sizes: 'wide_resnet-28-10', 'mlp-256', 'resnet18'."""
    sizes = (config.get(f"model.{field}") for field in fields("model.name", config) or ())
    name = title("model.name", config["model.name"])
    return "-".join([name, *(str(size) for size in sizes if size is not None)])


def group_name(augmentation: str | None, group: int) -> str:
    """Names a group of buckets, the discrete part of the distance: 'chain depth 2'."""
    method = find("augment.name", augmentation)
    return f"{'group' if method is None else method.group_name} {group + 1}"


def row_name(rule: str, settings: Mapping[str, Any]) -> str:
    """Returns the name of a label rule with some of its settings in tables."""
    method = find("labels.rule", rule)
    return rule if method is None else method.row_name(settings)


def rule_name(rule: str, settings: Mapping[str, Any]) -> str:
    """Returns 'one_hot', 'smoothing .05', 'autolabel, signed gap', 'autolabel, labels.alpha=0.5'.

    The name does not depend on other runs: it holds the options that differ from their defaults.
    """
    text = row_name(rule, {field.removeprefix("labels."): v for field, v in settings.items()})
    return ", ".join([text, *(f"{name}={v}" for name, v in options(rule, settings).items())])


def options(rule: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of the label rule that differ from their defaults and are not in its name."""
    method = find("labels.rule", rule)
    declared = {} if method is None else registry.settings(method)
    usual = DEFAULTS | {f"labels.{name}": setting.default for name, setting in declared.items()}
    return {
        field: value
        for field, value in sorted(settings.items())
        if field.startswith("labels.") and field not in ("labels.rule", *_in_name(rule))
        if value != usual.get(field)
    }


def row_order(rule: str, settings: Mapping[str, Any]) -> tuple:
    """Returns the sort key of a row: rule, options (none first), then its other settings."""
    own, named = options(rule, settings), [name for name in _in_name(rule) if name in settings]
    numbers = [name for name in named if isinstance(settings[name], int | float)]
    texts = [name for name in named if name not in numbers]
    rest = sorted(settings.keys() - own.keys())
    places = [[(n, *place(settings[n])[1:]) for n in part] for part in (numbers, own, texts, rest)]
    return rank("labels.rule", rule), rule, *places


def place(value: Any) -> tuple[bool, float, str]:
    """Returns a sort key that puts numbers, by size, before other values."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else 0.0, str(value)


def _in_name(rule: str) -> list[str]:
    method = find("labels.rule", rule)
    return [] if method is None else [f"labels.{field}" for field in method.in_name]
