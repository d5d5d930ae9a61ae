"""Starts the programs: parses flags, sets up logging, and reports user errors in one line."""

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from autolabel_jax import processes
from autolabel_jax.commands.output import ending_with_reader, is_closed
from autolabel_jax.epochs import NonFiniteLossError
from experiments import compilation_cache, config_help, distributed

# Errors of a wrong setting, a missing file or a diverging run; all others are bugs.
MISTAKES = (ValueError, OSError, NonFiniteLossError)


def run(
    main: Callable[[list[str]], None],
    required: Sequence[str] = (),
    *,
    several_processes: bool = False,
) -> None:
    """Parses the flags and calls ``main`` with the remaining arguments.

    A user error exits with 1 and one line on standard error.

    Args:
      main: function of argv, which begins with the program's name.
      required: names of required flags.
      several_processes: whether several processes may run it together, see ``distributed``.
    """
    flags.mark_flags_as_required(required)
    if "workdir" in flags.FLAGS:
        flags.register_validator(
            "workdir",
            lambda path: path is None or not os.path.isfile(path),
            message="it is a file; give a folder, which need not exist",
        )

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)
        # Orbax and TFDS, which log with absl, warn of what needs no action, and raise the errors
        # that they log with a traceback; JAX does neither.
        logging.get_absl_logger().setLevel(logging.converter.STANDARD_CRITICAL)
        leave = distributed.leave if distributed.is_worker() else sys.exit
        try:
            join(several_processes)
            compilation_cache.enable()
            main(argv)
        except KeyboardInterrupt:
            leave("stopped; finished work is kept: run the same command to resume")
        except Exception as error:
            if isinstance(error, BrokenPipeError) and is_closed(sys.stdout):
                raise
            if distributed.is_worker() and processes.is_peer_lost(error):
                leave(f"error: {distributed.peer_lost(error)}")
            if isinstance(error, MISTAKES):
                leave(f"error: {error}")
            if distributed.is_worker():
                leave(traceback.format_exc())
            raise

    with ending_with_reader():
        app.run(guarded, flags_parser=_parse)


def join(several_processes: bool) -> None:
    """With --distributed, starts the worker process, or joins the others as a worker.

    Raises:
      ValueError: flags are missing, or the program does not support several processes.
    """
    if not distributed.asked():
        return
    if not several_processes:
        raise ValueError(
            "--distributed: this program runs in one process; only experiments.train and "
            "experiments.evaluate support several"
        )
    if not distributed.is_worker():
        sys.exit(distributed.supervise())
    distributed.start()


def no_more(argv: list[str]) -> None:
    """Rejects arguments that are not flags.

    Raises:
      ValueError: there are such arguments.
    """
    if argv[1:]:
        raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")


def _parse(argv: list[str]) -> list[str]:
    try:
        if config_help.is_asked(argv):
            print(config_help.text(argv))
            sys.exit(0)
        return flags.FLAGS(argv)
    except BrokenPipeError:
        raise
    except flags.Error as error:
        sys.exit(f"error: {error}")
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # Raised by ml_collections for unknown fields and for values of a wrong type.
        sys.exit(f"error: {_unknown_field(argv) or _in_one_line(argv, error)}")


def _in_one_line(argv: list[str], error: Exception) -> str:
    """Formats an error of ml_collections in one line, with the flags that may have caused it."""
    text = str(error).replace("\\n", "; ").replace("\n", "; ").replace("\\'", "'")
    if text[:1] == text[-1:] == "'":  # a message that was quoted twice
        text = text[1:-1]
    return f"{' '.join(a for a in argv if a.startswith('--config'))}: {text}"


def _unknown_field(argv: list[str]) -> str | None:
    """Names the first flag of a field that the config lacks, and the nearest field."""
    given = [argument.partition("=")[0] for argument in argv]
    names = [flag.removeprefix("--config.") for flag in given if flag.startswith("--config.")]
    try:
        known = list(config_help.describe(config_help.given_config(argv))) if names else []
    except (ValueError, OSError):  # the config cannot be read, which is the error to report
        return None
    for name in names:
        if name not in known:
            (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            return (
                f"--config.{name}: the config has no such field; the nearest is --config.{nearest}"
            )
    return None
