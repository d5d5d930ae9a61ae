"""Names and orders the methods of a run in tables and figures, by what they declare."""

from collections.abc import Mapping
from typing import Any

from autolabel_jax import augment, labels, models, registry

TABLES: dict[str, Mapping[str, type]] = {
    "augment.name": augment.TABLE,
    "labels.rule": labels.TABLE,
    "model.name": models.TABLE,
}


def find(field: str, name: Any) -> type | None:
    """Returns the class that a field of a run's config names; None if it cannot be loaded.

    Args:
      field: key of TABLES.
      name: name in the table, or ``module:Class``.
    """
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


def row_name(rule: str, settings: Mapping[str, Any]) -> str:
    """Returns the name of a label rule with some of its settings in tables."""
    method = find("labels.rule", rule)
    return rule if method is None else method.row_name(settings)


def group_name(augmentation: str, group: int) -> str:
    """Names a group of buckets, the discrete part of the distance: 'chain depth 2'."""
    method = find("augment.name", augmentation)
    return f"{'group' if method is None else method.group_name} {group + 1}"
