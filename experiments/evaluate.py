"""Evaluates the last checkpoint of a run on the test split.

    python -m experiments.evaluate --workdir=runs/a [--data_dir=…]

Of a finished run, ``result.json`` is written anew.
"""

import pathlib

from absl import flags

from autolabel_jax import checkpoint, result
from experiments import launch, printing

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    config = checkpoint.load_config(workdir)
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    found = result.evaluate_run(config, workdir)
    if found["epochs"] < config.epochs:
        print(f"not finished: {found['epochs']} of {config.epochs} epochs trained")
    print(printing.result_table([found]))


if __name__ == "__main__":
    launch.run(main, required=["workdir"])
