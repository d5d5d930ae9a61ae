"""Lists the runs of a sweep: those of a config's ``get_sweep`` times the axes of a command."""

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import itertools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import registry

Settings = dict[str, Any]  # {'labels.rule': 'autolabel', 'seed': 0}

LONGEST_NAME = 120  # characters; file systems allow 255


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run.

    Attributes:
      name: name of its folder.
      settings: the fields that it changes in the config.
      config: the whole config.
    """

    name: str
    settings: Settings
    config: ConfigDict


def load_module(path: str) -> ModuleType:
    """Loads the config file that ``--config=path:arg`` names."""
    path = path.rsplit(":", 1)[0] if not pathlib.Path(path).exists() else path
    spec = importlib.util.spec_from_file_location("_sweep_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_module(module: ModuleType, name: str | None) -> list[Settings]:
    """Returns the settings that the config's ``get_sweep(add)`` or ``get_sweep(add, name)`` adds.

    Raises:
      ValueError: the file has no ``get_sweep``, or a name is given that it does not take.
    """
    if not hasattr(module, "get_sweep"):
        raise ValueError(
            f"--config: {module.__file__} defines no get_sweep(add); add one, or pass "
            '--axes="labels.rule=one_hot,autolabel;seed=0,1,2"'
        )
    added: list[Settings] = []
    parameters = len(inspect.signature(module.get_sweep).parameters)
    if name and parameters < 2:
        raise ValueError(
            f"--sweep={name}: get_sweep(add) of {module.__file__} takes no name; omit the flag"
        )
    module.get_sweep(lambda **settings: added.append(settings), *([name] if name else []))
    return added


def product(first: Sequence[Settings], second: Sequence[Settings]) -> list[Settings]:
    """Combines every run of one with every run of the other; the second's settings win."""
    return [a | b for a, b in itertools.product(first, second)]


def grid(axes: dict[str, Sequence[Any]]) -> list[Settings]:
    """Returns every combination of the values of all fields."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def parse_axes(text: str, config: ConfigDict) -> dict[str, list[Any]]:
    """Parses values by field: 'labels.rule=one_hot,autolabel;seed=0..4'.

    Semicolons separate fields and commas separate values; ``a..b`` means all integers from a to b.
    A value gets the type of the field in the config.

    Raises:
      ValueError: a part cannot be read.
    """
    axes: dict[str, list[Any]] = {}
    texts = split_axes(text)
    config = with_external(texts, config)
    for name, values in texts.items():
        axes[name] = []
        for value in values:
            if integers := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", value):
                axes[name] += range(int(integers[1]), int(integers[2]) + 1)
            else:
                axes[name].append(parse_value(name, value, config))
        if not axes[name]:
            raise ValueError(
                f"--axes: {name}={','.join(values)} is empty; expected a..b with a <= b"
            )
    return axes


def split_axes(text: str) -> dict[str, list[str]]:
    """Splits text into names and texts of values, except inside brackets.

    Raises:
      ValueError: a part has no '=', or a field occurs twice.
    """
    axes: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (name and equals and values) or name in axes:
            raise ValueError(
                f"--axes: got {part!r}; expected each field once, as in "
                '--axes="labels.rule=one_hot,autolabel;seed=0,1,2"'
            )
        axes[name] = [value.strip() for value in re.split(r",(?![^(\[]*[)\]])", values)]
    return axes


def with_external(axes: Mapping[str, Sequence[str]], config: ConfigDict) -> ConfigDict:
    """Returns a copy of the config with the settings of the external methods on the axes."""
    extended = config.copy_and_resolve_references()
    for field_name in axes.keys() & registry.GROUPS.keys():
        for value in filter(registry.is_external, axes[field_name]):
            registry.add_settings(extended, field_name, value)
    return extended


def parse_value(name: str, text: str, config: ConfigDict) -> Any:
    """Parses a value of the type that the field has in the config.

    Raises:
      ValueError: there is no such field, or the text is no value of its type.
    """
    kind = type(field(name, config))
    if kind is str:
        return text
    try:
        value = ast.literal_eval(text.capitalize() if kind is bool else text)
    except (ValueError, SyntaxError):
        value = None
    takes = {float: (int, float), tuple: (tuple, list)}.get(kind, (kind,))
    if type(value) not in takes:
        raise ValueError(f"{name}: got {text!r}, expected a value of type {kind.__name__}")
    return kind(value)


def field(name: str, config: ConfigDict) -> Any:
    """Returns the config's value of a field such as 'labels.rule'.

    Raises:
      ValueError: there is no such field, or it is a group of fields.
    """
    value = config
    for part in name.split("."):
        if not isinstance(value, ConfigDict) or part not in value:
            known = ", ".join(value) if isinstance(value, ConfigDict) else "none"
            raise ValueError(f"{name}: the config has no such field; expected one of: {known}")
        value = value[part]
    if isinstance(value, ConfigDict):
        raise ValueError(f"{name}: is a group of fields; expected one of: {', '.join(value)}")
    return value


def make_runs(config: ConfigDict, all_settings: Sequence[Settings]) -> list[SweepRun]:
    """Makes the runs of these settings on top of a config, in order, each once.

    Raises:
      ValueError: there are no settings, the config lacks a field, or a value has another type.
    """
    if not all_settings:
        raise ValueError("the sweep has no run: get_sweep(add) never called add")
    runs = {}
    for settings in all_settings:
        run = make_run(config, settings)
        runs.setdefault(run.name, run)
    return list(runs.values())


def make_run(config: ConfigDict, settings: Settings) -> SweepRun:
    """Makes one run; raises as ``make_runs``."""
    changed = ConfigDict(json.loads(config.to_json()))
    for name in settings.keys() & registry.GROUPS.keys():
        registry.choose(changed, name, settings[name])  # brings the fields of an external method
    for name, value in settings.items():
        field(name, changed)
        try:
            changed.update_from_flattened_dict({name: value})
        except TypeError as error:
            was = type(field(name, changed)).__name__
            raise ValueError(f"{name}: got {value!r}, expected a value of type {was}") from error
    return SweepRun(name=folder_name(settings), settings=settings, config=changed)


def folder_name(settings: Settings) -> str:
    """Returns 'labels.rule=autolabel,seed=0': sorted, seed last, safe in a path, not too long."""
    ordered = sorted(settings.items(), key=lambda item: (item[0] == "seed", item[0]))
    name = ",".join(f"{key}={_text(value)}" for key, value in ordered) or "base"
    safe = re.sub(r"[^\w.,=+-]", "_", name)
    if safe == name and len(name) <= LONGEST_NAME:
        return name
    return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    return "+".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
