"""Which runs a sweep has: a config's ``get_sweep``, axes of the command line, their product."""

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import itertools
import json
import pathlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

Settings = dict[str, Any]  # {'labels.rule': 'autolabel', 'seed': 0}

LONGEST_NAME = 120  # characters; file systems take 255


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run: what it changes in the config, the whole config, and the name of its folder."""

    name: str
    settings: Settings
    config: ConfigDict


def load_module(path: str) -> ModuleType:
    """The config file that ``--config=path:arg`` names."""
    path = path.rsplit(":", 1)[0] if not pathlib.Path(path).exists() else path
    spec = importlib.util.spec_from_file_location("_sweep_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_module(module: ModuleType, name: str | None) -> list[Settings]:
    """What the config's ``get_sweep(add)`` or ``get_sweep(add, name)`` adds.

    Raises:
      ValueError: the file has none, or one that takes no name and was given one.
    """
    if not hasattr(module, "get_sweep"):
        raise ValueError(
            f"--config: {module.__file__} defines no get_sweep(add); add one, or give "
            '--axes="labels.rule=one_hot,autolabel;seed=0,1,2"'
        )
    found: list[Settings] = []
    parameters = len(inspect.signature(module.get_sweep).parameters)
    if name and parameters < 2:
        raise ValueError(
            f"--sweep={name}: get_sweep(add) of {module.__file__} takes no name; leave the flag out"
        )
    module.get_sweep(lambda **settings: found.append(settings), *([name] if name else []))
    return found


def product(first: Sequence[Settings], second: Sequence[Settings]) -> list[Settings]:
    """Every run of one with every run of the other; the second's settings win."""
    return [a | b for a, b in itertools.product(first, second)]


def grid(axes: dict[str, Sequence[Any]]) -> list[Settings]:
    """Every combination of the values of all fields."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def parse_axes(text: str, config: ConfigDict) -> dict[str, list[Any]]:
    """Values by field: 'labels.rule=one_hot,autolabel;seed=0..4'.

    Fields stand between semicolons, values between commas; ``a..b`` means all integers from
    a to b. A value gets the type that the field has in the config.

    Raises:
      ValueError: names the part that cannot be read.
    """
    axes: dict[str, list[Any]] = {}
    for name, values in split_axes(text).items():
        axes[name] = []
        for value in values:
            if integers := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", value):
                axes[name] += range(int(integers[1]), int(integers[2]) + 1)
            else:
                axes[name].append(parse_value(name, value, config))
        if not axes[name]:
            raise ValueError(f"--axes: {name}={','.join(values)} holds no value")
    return axes


def split_axes(text: str) -> dict[str, list[str]]:
    """Names and texts of values, split where no bracket is open.

    Raises:
      ValueError: a part without '=', or a field twice.
    """
    axes: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (name and equals and values) or name in axes:
            raise ValueError(
                f"--axes: cannot read {part!r}; it takes each field once, as in "
                '--axes="labels.rule=one_hot,autolabel;seed=0,1,2"'
            )
        axes[name] = [value.strip() for value in re.split(r",(?![^(\[]*[)\]])", values)]
    return axes


def parse_value(name: str, text: str, config: ConfigDict) -> Any:
    """A value of the type that the field has.

    Raises:
      ValueError: no such field, or a text that is no such value.
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
        raise ValueError(f"{name}: got {text!r}, the config has a value of type {kind.__name__}")
    return kind(value)


def field(name: str, config: ConfigDict) -> Any:
    """The config's value of 'labels.rule'.

    Raises:
      ValueError: there is no such field, or it is a group of fields.
    """
    value = config
    for part in name.split("."):
        if not isinstance(value, ConfigDict) or part not in value:
            known = ", ".join(value) if isinstance(value, ConfigDict) else "none"
            raise ValueError(f"{name}: the config has no such field; known in its place: {known}")
        value = value[part]
    if isinstance(value, ConfigDict):
        raise ValueError(f"{name}: is a group of fields, name one of {', '.join(value)}")
    return value


def make_runs(config: ConfigDict, all_settings: Sequence[Settings]) -> list[SweepRun]:
    """The runs of these settings on top of a config, in order, each once.

    Raises:
      ValueError: no settings, a field that the config lacks, or a value of another type.
    """
    if not all_settings:
        raise ValueError("the sweep has no run; get_sweep(add) called add not once")
    runs = {}
    for settings in all_settings:
        run = make_run(config, settings)
        runs.setdefault(run.name, run)
    return list(runs.values())


def make_run(config: ConfigDict, settings: Settings) -> SweepRun:
    """One run; raises as ``make_runs``."""
    changed = ConfigDict(json.loads(config.to_json()))
    for name, value in settings.items():
        field(name, changed)
        try:
            changed.update_from_flattened_dict({name: value})
        except TypeError as error:
            was = type(field(name, config)).__name__
            raise ValueError(f"{name}: got {value!r}, the config has a {was}") from error
    return SweepRun(name=folder_name(settings), settings=settings, config=changed)


def folder_name(settings: Settings) -> str:
    """'labels.rule=autolabel,seed=0': sorted, the seed last; safe in a path, never too long."""
    ordered = sorted(settings.items(), key=lambda item: (item[0] == "seed", item[0]))
    name = ",".join(f"{key}={_text(value)}" for key, value in ordered) or "base"
    safe = re.sub(r"[^\w.,=+-]", "_", name)
    if safe == name and len(name) <= LONGEST_NAME:
        return name
    return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    return "+".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
