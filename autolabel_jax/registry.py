"""Finds methods by name, and reads the settings that their classes declare.

An augmentation, a label rule, a loss, a model, an optimiser or a data set is a class whose
dataclass fields are its settings. A config names a built-in class by its key in a table, and a
class from outside the project as ``module:Class``; the settings are fields of the config next to
the name.
"""

import collections
import dataclasses
import functools
import importlib
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

# Maps the field of the config that names a method to the group of fields with its settings.
GROUPS = {
    "augment.name": "augment",
    "labels.rule": "labels",
    "loss.name": "loss",
    "model.name": "model",
    "optimizer.name": "optimizer",
    "dataset": "data",
}
T = TypeVar("T")

NOT_SETTINGS = ("num_classes", "dtype", "parent", "name")  # fields of a Flax model


@dataclasses.dataclass(frozen=True)
class Setting:
    """Describes one setting of a method.

    Attributes:
      default: value in a new config; its type is the type of the field.
      help: what the setting does, for ``--help``.
      low: smallest allowed value (None = no limit).
      high: largest allowed value (None = no limit).
      choices: allowed values (() = no restriction).
      valid: returns whether a value fulfils a further condition (None = no condition).
      needs: the condition in words.
      search: range worth searching, in the form of ``experiments.sweep --axes`` ("" = none).
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
        """Checks that a value is allowed.

        Raises:
          ValueError: the value is not allowed.
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
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field}: got {value}, must be finite")
        if self.valid is not None and not self.valid(value):
            raise ValueError(f"{field}: got {value}, must be {self.needs}")

    def _range(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.low is None else f"between {self.low} and {self.high}"


def setting(default: Any, help: str, **limits: Any) -> Any:
    """Makes a dataclass field that is a setting of a method.

    Args:
      default: value in a new config.
      help: what the setting does.
      **limits: further attributes of ``Setting``.
    """
    return dataclasses.field(
        default=default, metadata={"setting": Setting(default, help, **limits)}
    )


@functools.cache
def settings(method: type) -> Mapping[str, Setting]:
    """Returns the settings that a method's class declares, by name.

    A dataclass field with a plain default counts as a setting without limits.
    """
    declared = {}
    for field in dataclasses.fields(method) if dataclasses.is_dataclass(method) else ():
        if "setting" in field.metadata:
            declared[field.name] = field.metadata["setting"]
        elif field.name not in NOT_SETTINGS and field.default is not dataclasses.MISSING:
            declared[field.name] = Setting(field.default)
    return types.MappingProxyType(declared)


def is_external(name: str) -> bool:
    """Returns whether a name is of the form ``module:Class``; the data set 'mnist:3.0.1' is not."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None


def find(
    field: str,
    name: str,
    table: Mapping[str, type[T]],
    base: type[T] = object,  # ty: ignore[invalid-parameter-default]  # any class
) -> type[T]:
    """Finds the class that a field of the config names.

    Args:
      field: name of the field for messages, such as 'augment.name'.
      name: key of the table, or ``module:Class``.
      table: built-in classes by name.
      base: class of which an external class must be a subclass.

    Raises:
      ValueError: the key, module or class does not exist, or is not a subclass of ``base``.
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
    """Loads the external class ``module:Class``; arguments and errors are those of ``find``."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing a module can raise anything
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
    if any(isinstance(value, dataclasses.Field) for value in vars(method).values()):
        raise ValueError(
            f"{field}: got {name!r}, whose settings need @dataclasses.dataclass(frozen=True) "
            "above the class"
        )
    return method


def bind(group: str, method: type, values: Mapping[str, Any], **others: Any) -> Any:
    """Creates an instance of a method, after checking the settings in the config.

    Args:
      group: name of the config's group for messages, such as 'augment'.
      method: class from ``find``.
      values: fields of the group; missing settings get their defaults.
      **others: further arguments of the class.

    Raises:
      ValueError: a setting is out of range.
    """
    check(group, method, values)
    declared = settings(method)
    chosen = {name: values.get(name, setting.default) for name, setting in declared.items()}
    return method(**chosen, **others)


def check(group: str, method: type, values: Mapping[str, Any]) -> None:
    """Checks the settings of a method; arguments and errors are those of ``bind``."""
    for name, declared in settings(method).items():
        declared.check(f"{group}.{name}", values.get(name, declared.default))


def check_all(group: str, table: Mapping[str, type], values: Mapping[str, Any]) -> None:
    """Checks the settings of all methods in a table, whichever of them a run uses.

    A setting that several methods declare may have any value that one of them allows.

    Raises:
      ValueError: a setting is out of range.
    """
    allowed = collections.defaultdict(list)
    for method in table.values():
        for name, declared in settings(method).items():
            allowed[name].append(declared)
    for name in allowed.keys() & values.keys():
        for place, declared in enumerate(allowed[name], 1):
            try:
                declared.check(f"{group}.{name}", values[name])
                break
            except ValueError:
                if place == len(allowed[name]):
                    raise


def defaults(table: Mapping[str, type]) -> dict[str, Any]:
    """Returns the default of every setting of all methods in a table."""
    return {
        name: declared.default
        for method in table.values()
        for name, declared in settings(method).items()
    }


def complete(config: ConfigDict) -> ConfigDict:
    """Adds missing settings of external methods to the config, in place, and returns it."""
    for field in GROUPS:
        *groups, last = field.split(".")
        name = (config[groups[0]] if groups else config)[last]
        if isinstance(name, str) and is_external(name):
            add_settings(config, field, name)
    return config


def choose(config: ConfigDict, field: str, name: str) -> None:
    """Sets the name of a method in the config, in place; an external method adds its defaults.

    Args:
      config: config of the run.
      field: key of GROUPS.
      name: key of a table, or ``module:Class``.
    """
    config.update_from_flattened_dict({field: name})
    if is_external(name):
        add_settings(config, field, name, replace=True)


def add_settings(config: ConfigDict, field: str, name: str, *, replace: bool = False) -> None:
    """Adds the settings of an external method to a config, with their defaults, in place.

    Args:
      config: config of the run.
      field: key of GROUPS.
      name: ``module:Class``.
      replace: whether to overwrite fields that already exist.

    Raises:
      ValueError: the class does not exist.
    """
    with config.unlocked():
        if GROUPS[field] not in config:
            config[GROUPS[field]] = ConfigDict()
        group = config[GROUPS[field]]
        for key, declared in settings(load(field, name)).items():
            if replace or key not in group:
                group[key] = declared.default
