"""Prints ``--help``: the program, its flags, and all config fields with their defaults."""

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags
from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import augment, defaults, labels, losses, optimizer, registry

HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")
FIELD = re.compile(r"^    config\.([\w.]+) = .*?  # (.+)$", re.MULTILINE)  # in defaults.py


def is_asked(argv: list[str]) -> bool:
    """Whether the command line asks for help."""
    return any(argument in HELP for argument in argv[1:])


def text(argv: list[str]) -> str:
    """Returns the whole help text.

    Args:
      argv: the command line; the values of its --config are shown as defaults.

    Raises:
      ValueError, OSError: the config file cannot be read.
    """
    program = (sys.modules["__main__"].__doc__ or "").strip()
    sections = [program, "Flags:", *map(_flag, _own_flags())]
    if "config" in flags.FLAGS:
        config = given_config(argv)
        sections += ["Fields of the config, each a flag, with its default:", *fields(config)]
    return "\n\n".join(sections[:1]) + "\n\n" + "\n".join(sections[1:])


def given_config(argv: list[str]) -> ConfigDict:
    """Loads the config that --config names, with settings of the methods that flags name.

    Without --config, it has all fields at their defaults.

    Raises:
      ValueError, OSError: the file cannot be read.
    """
    given = [argument for argument in argv if re.match(r"--?config=", argument)]
    if not given:
        return defaults.base()
    return flags.FLAGS["config"].parser.parse(given[-1].partition("=")[2])


def fields(config: ConfigDict) -> list[str]:
    """Formats a line for each field: '--config.labels.alpha  1.0  autolabel: step size'."""
    flat = traverse_util.flatten_dict(config.to_dict(), sep=".")
    comments = describe(config)
    names = [f"--config.{name}" for name in flat]
    values = [repr(value) for value in flat.values()]
    width, wide = max(map(len, names)), min(max(map(len, values)), 20)
    return [
        f"  {name:<{width}}  {value:<{wide}}  {comments.get(field, '')}".rstrip()
        for name, value, field in zip(names, values, flat, strict=True)
    ]


def describe(config: ConfigDict) -> dict[str, str]:
    """Maps fields to their help: comments of configs/base.py, and help of declared settings."""
    flat = traverse_util.flatten_dict(config.to_dict(), sep=".")
    comments = dict.fromkeys(flat, "") | dict(FIELD.findall(inspect.getsource(defaults)))
    packages = {"augment": augment, "labels": labels, "loss": losses, "optimizer": optimizer}
    for group, package in packages.items():
        comments |= _declared(group, package.TABLE)
    for field, group in registry.GROUPS.items():
        *groups, last = field.split(".")
        name = (config[groups[0]] if groups else config)[last]
        if registry.is_external(name):
            comments |= _declared(group, {name: registry.load(field, name)})
    return comments


def _declared(group: str, table: Mapping[str, type]) -> dict[str, str]:
    declared = {name: registry.settings(method) for name, method in table.items()}
    shared = set.intersection(*map(set, declared.values())) if len(table) > 1 else set()
    return {
        f"{group}.{key}": setting.help if key in shared else f"{name}: {setting.help}"
        for name, settings in declared.items()
        for key, setting in settings.items()
    }


def _own_flags() -> list[flags.Flag]:
    """Lists the flags of this project, in the order of their modules."""
    by_module = flags.FLAGS.flags_by_module_dict()
    own = [m for m in by_module if m == sys.argv[0] or m.startswith("experiments.")]
    return [flag for module in own for flag in by_module[module]]


def _flag(flag: flags.Flag) -> str:
    default: Any = f" (default: {flag.default})" if flag.default not in (None, "", []) else ""
    return f"  --{flag.name}: {flag.help}{default}"
