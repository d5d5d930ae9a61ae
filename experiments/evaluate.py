"""Evaluates the last checkpoint of a run on the test split.

    python -m experiments.evaluate --workdir=runs/a [--data_dir=…]

Of a finished run, ``result.json`` is written anew.
"""

import pathlib
import sys

from absl import app, flags, logging

from autolabel_jax import checkpoint, result
from experiments import printing

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax tells much at info
    if argv[1:]:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    workdir = pathlib.Path(_WORKDIR.value)
    try:
        config = checkpoint.load_config(workdir)
        if _DATA_DIR.value is not None:
            config.data_dir = _DATA_DIR.value
        found = result.evaluate_run(config, workdir)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    if found["epochs"] < config.epochs:
        print(f"not finished: {found['epochs']} of {config.epochs} epochs trained")
    print(printing.result_table([found]))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    app.run(main)
