"""Runs ``autolabel COMMAND``: parses the arguments, and reports mistakes of users in one line.

Arguments are parsed by argparse, as flags of absl are global and know no commands.
"""

import argparse
import contextlib
import importlib
import sys
import warnings
from collections.abc import Generator, Sequence
from typing import Any

import autolabel_jax
from autolabel_jax.commands import output

# Name of each command, which is a module of this package, and what it does.
COMMANDS = {
    "train": "train a model on your own examples, and export it",
    "augment": "write moved copies of images with their distances",
    "label": "learn soft labels for augmented examples with distances",
    "predict": "classify images or arrays with a predictor",
    "evaluate": "measure a predictor on labelled data, before and after calibration",
    "export": "write the predictor of a finished run",
    "serve": "serve a predictor over HTTP, with a page for pictures",
}
AS_WRITTEN: Any = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,  # keeps the lines of a description
    "allow_abbrev": False,
}
STOPPED = 130  # exit code after Ctrl-C, as of a shell


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: arguments without the name of the program; None = those of the process.

    Returns:
      The exit code: 0, or 1 after an error, or what the command says.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = _chosen(argv)
    arguments = parser(name).parse_args(argv[1:])
    try:
        with _plain_warnings(), output.ending_with_reader():
            return _module(name).run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser(name: str) -> argparse.ArgumentParser:
    """Returns the parser of the arguments of a command."""
    command = _module(name)
    made = argparse.ArgumentParser(
        prog=f"autolabel {name}", description=command.__doc__, **AS_WRITTEN
    )
    command.add_arguments(made)
    return made


@contextlib.contextmanager
def _plain_warnings() -> Generator[None]:
    """Shows warnings without the file and line of the program that they come from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def _module(name: str) -> Any:
    return importlib.import_module(f"autolabel_jax.commands.{name}")


def _chosen(argv: Sequence[str]) -> str:
    """Returns the name of the command; leaves with a message if there is none."""
    names = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
    commands = argparse.ArgumentParser(
        prog="autolabel",
        usage="autolabel COMMAND [...]",
        description=f"{str(autolabel_jax.__doc__).splitlines()[0]}\n\ncommands:\n{names}",
        epilog="`autolabel COMMAND --help` lists the arguments of a command.",
        **AS_WRITTEN,
    )
    commands.add_argument("--version", action="version", version=autolabel_jax.__version__)
    commands.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return commands.parse_args(argv[:1]).command


if __name__ == "__main__":
    sys.exit(main())
