"""What the method of a run declares: read by tables and figures, which iterate over the tables."""

from collections.abc import Mapping
from typing import Any

from autolabel_jax import augment, labels, models, registry

TABLES: dict[str, Mapping[str, type]] = {
    "augment.name": augment.TABLE,
    "labels.rule": labels.TABLE,
    "model.name": models.TABLE,
}


def find(field: str, name: Any) -> type | None:
    """The class that a field of a run's config names; None where it cannot be loaded.

    Args:
      field: a key of TABLES.
      name: a row of the table, or ``module:Class``.
    """
    try:
        return registry.find(field, name, TABLES[field])
    except (ValueError, TypeError):
        return None


def title(field: str, name: str) -> str:
    """What tables call a method: its own title, or its name in the config."""
    method = find(field, name)
    if method is None or not registry.is_external(name):
        return name
    return getattr(method, "title", "") or method.__name__


def rank(field: str, name: str) -> int:
    """Place of a method in its table; methods from outside follow."""
    names = list(TABLES[field])
    return names.index(name) if name in names else len(names)


def fields(field: str, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the settings that a run's method reads; None where it cannot be loaded.

    Args:
      field: a key of TABLES.
      config: flat, of the run.
    """
    method = find(field, config.get(field))
    return None if method is None else tuple(registry.settings(method))


def row_name(rule: str, settings: Mapping[str, Any]) -> str:
    """What tables call a label rule with some of its settings."""
    method = find("labels.rule", rule)
    return rule if method is None else method.row_name(settings)


def group_name(augmentation: str, group: int) -> str:
    """What the discrete part of a distance says: 'chain depth 2'."""
    method = find("augment.name", augmentation)
    return f"{'group' if method is None else method.group_name} {group + 1}"
