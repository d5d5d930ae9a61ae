"""How every program here starts: flags read, logs quiet, a user's mistake told in one line."""

import difflib
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from autolabel_jax import processes
from autolabel_jax.train import NonFiniteLossError
from experiments import compilation_cache, config_help, distributed

# What a wrong setting, a missing file or a diverging run raises; all else is a bug.
MISTAKES = (ValueError, OSError, NonFiniteLossError)


def run(
    main: Callable[[list[str]], None],
    required: Sequence[str] = (),
    *,
    several_processes: bool = False,
) -> None:
    """Calls ``main`` with what is left of the command line once flags are read.

    Exits with 1 and one line on standard error for a mistake of the user's.

    Args:
      main: takes argv, the program's name first.
      required: flags that must be given.
      several_processes: the program may be one of several, see ``distributed``.
    """
    flags.mark_flags_as_required(required)

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)  # orbax tells much at info
        leave = distributed.leave if distributed.is_worker() else sys.exit
        try:
            join(several_processes)
            compilation_cache.enable()
            main(argv)
        except KeyboardInterrupt:
            leave("stopped; what was done is kept, and the same command goes on from there")
        except Exception as error:
            if distributed.is_worker() and processes.is_peer_lost(error):
                leave(f"error: {distributed.peer_lost(error)}")
            if isinstance(error, MISTAKES):
                leave(f"error: {error}")
            if distributed.is_worker():
                leave(traceback.format_exc())
            raise

    app.run(guarded, flags_parser=_parse)


def join(several_processes: bool) -> None:
    """Where several processes are asked for: starts the worker, or as that joins the others.

    Raises:
      ValueError: flags that lack others, or a program that is not made for it.
    """
    if not distributed.asked():
        return
    if not several_processes:
        raise ValueError(
            "--distributed: this program is one process; several may be of experiments.train "
            "and experiments.evaluate"
        )
    if not distributed.is_worker():
        sys.exit(distributed.supervise())
    distributed.start()


def no_more(argv: list[str]) -> None:
    """Refuses arguments that are no flags.

    Raises:
      ValueError: names them.
    """
    if argv[1:]:
        raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")


def _parse(argv: list[str]) -> list[str]:
    try:
        if config_help.is_asked(argv):
            print(config_help.text(argv))
            sys.exit(0)
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"error: {error}")
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # ml_collections' own, of a field that the config lacks or a value of another type.
        sys.exit(f"error: {_unknown_field(argv) or _told(argv, error)}")


def _told(argv: list[str], error: Exception) -> str:
    """An error of ml_collections in one line, with the flags that it may be of."""
    text = str(error).replace("\\n", "; ").replace("\n", "; ").replace("\\'", "'")
    if text[:1] == text[-1:] == "'":  # a message that was quoted once more on its way
        text = text[1:-1]
    return f"{' '.join(a for a in argv if a.startswith('--config'))}: {text}"


def _unknown_field(argv: list[str]) -> str | None:
    """Names the first flag of a field that the config lacks, and the nearest field."""
    given = [argument.partition("=")[0] for argument in argv]
    names = [flag.removeprefix("--config.") for flag in given if flag.startswith("--config.")]
    try:
        known = list(config_help.describe(config_help.given_config(argv))) if names else []
    except (ValueError, OSError):  # no config to compare with, which is the error to tell
        return None
    for name in names:
        if name not in known:
            (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            return (
                f"--config.{name}: the config has no such field; the nearest is --config.{nearest}"
            )
    return None
