"""Lists the runs of a sweep: those of a config's ``get_sweep`` times the axes of a command."""

import ast
import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib
import inspect
import itertools
import json
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.run_dir import RunDir

Settings = dict[str, Any]  # {'labels.rule': 'autolabel', 'seed': 0}

FILES = ".sweep"  # beside the runs: logs, locks, and the study of a search
LONGEST_NAME = 120  # characters; file systems allow 255


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    settings: Settings  # the fields that it changes in the config
    config: ConfigDict
    root: pathlib.Path  # folder of all runs

    @functools.cached_property
    def name(self) -> str:
        """Name of the folder: 'labels.rule=autolabel,seed=0', seed last, safe in a path."""
        ordered = sorted(self.settings.items(), key=lambda item: (item[0] == "seed", item[0]))
        texts = {k: "+".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in ordered}
        name = ",".join(f"{key}={text}" for key, text in texts.items()) or "base"
        safe = re.sub(r"[^\w.,=+-]", "_", name)
        if safe == name and len(name) <= LONGEST_NAME:
            return name
        return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    @property
    def run_dir(self) -> RunDir:
        """Files of the run."""
        return RunDir(self.root / self.name)

    @property
    def log(self) -> pathlib.Path:
        """File of the output and errors of the run."""
        return self.root / FILES / f"{self.name}.log"


def import_extra(package: str, needed_for: str) -> ModuleType:
    """Imports a package of requirements-sweep.txt; if it is missing, raises a ValueError."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"{needed_for}: {package.capitalize()} is not installed; "
            "pip install -r requirements-sweep.txt"
        ) from error


def from_config(path: str, name: str | None) -> list[Settings]:
    """Returns the settings that the config's ``get_sweep(add)`` or ``get_sweep(add, name)`` adds.

    Raises:
      ValueError: the file has no ``get_sweep``, or a name is given that it does not take.
    """
    path = path if pathlib.Path(path).exists() else path.rsplit(":", 1)[0]  # path:arg
    get_sweep = runpy.run_path(path).get("get_sweep")
    if get_sweep is None:
        raise ValueError(
            f"--config: {path} defines no get_sweep(add); add one, or pass "
            '--axes="labels.rule=one_hot,autolabel;seed=0,1,2"'
        )
    if name and len(inspect.signature(get_sweep).parameters) < 2:
        raise ValueError(f"--sweep={name}: get_sweep(add) of {path} takes no name; omit the flag")
    added: list[Settings] = []
    get_sweep(lambda **settings: added.append(settings), *([name] if name else []))
    return added


def parse_axes(text: str, config: ConfigDict) -> list[Settings]:
    """Returns all combinations of values by field: 'labels.rule=one_hot,autolabel;seed=0..4'.

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
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


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
    value: Any = config
    with contextlib.suppress(KeyError, TypeError):
        for part in name.split("."):
            value = value[part]
        if not isinstance(value, ConfigDict):
            return value
    flat = traverse_util.flatten_dict(config.to_dict(), sep=".")
    if inside := [other for other in flat if other.startswith(f"{name}.")]:
        raise ValueError(f"{name}: is a group of fields; expected one of: {', '.join(inside)}")
    (nearest,) = difflib.get_close_matches(name, flat, n=1, cutoff=0)
    raise ValueError(f"{name}: the config has no such field; the nearest is {nearest}")


def make_runs(
    config: ConfigDict, all_settings: Sequence[Settings], root: pathlib.Path = pathlib.Path()
) -> list[Run]:
    """Makes the runs of these settings on top of a config, in order, each once.

    Raises:
      ValueError: there are no settings, the config lacks a field, or a value has another type.
    """
    if not all_settings:
        raise ValueError("the sweep has no run: get_sweep(add) never called add")
    runs = (make_run(config, settings, root) for settings in all_settings)
    return list({run.name: run for run in runs}.values())


def make_run(config: ConfigDict, settings: Settings, root: pathlib.Path) -> Run:
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
    return Run(settings, changed, root)
