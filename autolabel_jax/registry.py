"""Methods by name: how a class declares its settings, and how a config names a class.

An augmentation, a label rule, a model or a data set is a class whose dataclass fields are its
settings. A config names a built-in one by its row in a table, or one from outside the project as
``module:Class``; its settings are fields of the config beside the name.
"""

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

# Field of the config that names a method → group of fields that holds its settings.
GROUPS = {
    "augment.name": "augment",
    "labels.rule": "labels",
    "model.name": "model",
    "dataset": "data",
}
T = TypeVar("T")

NOT_SETTINGS = ("num_classes", "dtype", "parent", "name")  # fields of a Flax model


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
      default: value in a new config; its type is the type of the field.
      help: what the setting does, for ``--help``.
      low: smallest allowed value; None: no limit.
      high: largest allowed value; None: no limit.
      choices: allowed values; (): all.
      valid: a further condition; None: there is none.
      needs: the condition in words.
      search: range worth searching, as ``experiments.sweep --axes`` takes it; "": none.
    """

    default: Any
    help: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    valid: Callable[[Any], bool] | None = None
    needs: str = ""
    search: str = ""

    def check(self, field: str, value: Any) -> None:
        """Refuses a value out of range.

        Raises:
          ValueError: names the field, the value and what is allowed.
        """
        if self.choices:
            if value not in self.choices:
                expected = ", ".join(map(str, self.choices))
                raise ValueError(f"{field}: got {value!r}, expected one of: {expected}")
            return
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"{field}: got {value}, must be {self._range()}")
        if self.valid is not None and not self.valid(value):
            raise ValueError(f"{field}: got {value}, must be {self.needs}")

    def _range(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.low is None else f"between {self.low} and {self.high}"


def setting(default: Any, help: str, **limits: Any) -> Any:
    """A dataclass field that is a setting of a method.

    Args:
      default: value in a new config.
      help: what the setting does.
      **limits: further attributes of ``Setting``.
    """
    return dataclasses.field(
        default=default, metadata={"setting": Setting(default, help, **limits)}
    )


def settings(method: type) -> dict[str, Setting]:
    """The settings that a method's class declares, by name.

    A dataclass field with a plain default is a setting without limits.
    """
    declared = {}
    for field in dataclasses.fields(method) if dataclasses.is_dataclass(method) else ():
        if "setting" in field.metadata:
            declared[field.name] = field.metadata["setting"]
        elif field.name not in NOT_SETTINGS and field.default is not dataclasses.MISSING:
            declared[field.name] = Setting(field.default)
    return declared


def is_external(name: str) -> bool:
    """Whether a name in a config is ``module:Class``; 'mnist:3.0.1', a data set, is not."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None


def find(
    field: str,
    name: str,
    table: Mapping[str, type[T]],
    base: type[T] = object,  # ty: ignore[invalid-parameter-default]  # any class
) -> type[T]:
    """The class that a field of the config names.

    Args:
      field: such as 'augment.name', for messages.
      name: a row of the table, or ``module:Class``.
      table: built-in classes by name.
      base: what an external class must be a subclass of; None: anything.

    Raises:
      ValueError: no such row, module or class, or a class of another kind.
    """
    if is_external(name):
        return load(field, name, base)
    if name not in table:
        raise ValueError(
            f"{field}: got {name!r}, expected one of: {', '.join(table)}, or module:Class"
        )
    return table[name]


def load(
    field: str,
    name: str,
    base: type[T] = object,  # ty: ignore[invalid-parameter-default]  # any class
) -> type[T]:
    """The class ``module:Class`` from outside the project; arguments and errors as ``find``."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises as it is imported
        raise ValueError(
            f"{field}: got {name!r}, but the module {module_name!r} cannot be imported "
            f"({type(error).__name__}: {error}); put its folder on PYTHONPATH or install it"
        ) from error
    method = getattr(module, class_name, None)
    if not isinstance(method, type):
        raise ValueError(f"{field}: got {name!r}, but {module_name} has no class {class_name!r}")
    if not issubclass(method, base):
        raise ValueError(
            f"{field}: got {name!r}, which must be a subclass of {base.__module__}.{base.__name__}"
        )
    return method


def bind(group: str, method: type, values: Mapping[str, Any], **others: Any) -> Any:
    """An instance of a method with the settings that a config holds, checked.

    Args:
      group: of the config, such as 'augment', for messages.
      method: from ``find``.
      values: the group; a setting that it lacks has its default.
      **others: further arguments of the class.

    Raises:
      ValueError: names a setting out of range.
    """
    chosen = {}
    for name, declared in settings(method).items():
        chosen[name] = values.get(name, declared.default)
        declared.check(f"{group}.{name}", chosen[name])
    return method(**chosen, **others)


def defaults(table: Mapping[str, type]) -> dict[str, Any]:
    """The settings of all methods of a table with their defaults."""
    return {
        name: declared.default
        for method in table.values()
        for name, declared in settings(method).items()
    }


def complete(config: ConfigDict) -> ConfigDict:
    """Adds the settings of external methods that the config lacks, in place; returns it."""
    for field in GROUPS:
        *groups, last = field.split(".")
        name = (config[groups[0]] if groups else config)[last]
        if isinstance(name, str) and is_external(name):
            add_settings(config, field, name)
    return config


def choose(config: ConfigDict, field: str, name: str) -> None:
    """Names another method in the config, in place; an external one brings its defaults.

    Args:
      config: of the run.
      field: a key of GROUPS.
      name: a row of a table, or ``module:Class``.
    """
    config.update_from_flattened_dict({field: name})
    if is_external(name):
        add_settings(config, field, name, replace=True)


def add_settings(config: ConfigDict, field: str, name: str, *, replace: bool = False) -> None:
    """Adds the settings of an external method to a config, with their defaults, in place.

    Args:
      config: of the run.
      field: a key of GROUPS.
      name: ``module:Class``.
      replace: also where the config has a field of that name.

    Raises:
      ValueError: there is no such class.
    """
    with config.unlocked():
        if GROUPS[field] not in config:
            config[GROUPS[field]] = ConfigDict()
        group = config[GROUPS[field]]
        for key, declared in settings(load(field, name)).items():
            if replace or key not in group:
                group[key] = declared.default
