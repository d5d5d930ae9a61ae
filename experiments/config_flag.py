"""Defines ``--config=FILE.py[:tiny]``, with flags for its fields and for external methods."""

import re
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from autolabel_jax import registry


class _Parser(flags.ArgumentParser):
    """Loads a config, and adds the settings of the external methods that flags name."""

    def __init__(self, inner: flags.ArgumentParser):
        self._inner = inner

    def parse(self, argument: str) -> ConfigDict:
        """Loads the config of a file, before flags override fields."""
        try:
            config = registry.complete(self._inner.parse(argument))
        except ValueError as error:
            # ml_collections puts the traceback of the config file's own error into its message.
            cause = error.__context__
            raise (cause if isinstance(cause, ValueError) else error) from None
        for field, name in named_methods(sys.argv).items():
            registry.choose(config, field, name)
        return config

    def flag_type(self) -> str:
        """Returns the type for the help text."""
        return self._inner.flag_type()


def named_methods(argv: Sequence[str]) -> dict[str, str]:
    """Finds config fields that flags set to ``module:Class``, each with its last value."""
    names = {}
    for place, argument in enumerate(argv):
        match = re.fullmatch(r"--?config\.([\w.]+)(?:=(.*))?", argument, re.DOTALL)
        if match is None or match[1] not in registry.GROUPS:
            continue
        value = match[2] if match[2] is not None else "".join(argv[place + 1 : place + 2])
        if registry.is_external(value):
            names[match[1]] = value
    return names


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagHolder[ConfigDict]:
    """Defines the flag ``--config`` among ``values``."""
    holder = config_flags.DEFINE_config_file(
        "config", None, "Configuration file.", values, lock_config=True
    )
    flag = values["config"]
    flag.parser = _Parser(flag.parser)
    return holder
