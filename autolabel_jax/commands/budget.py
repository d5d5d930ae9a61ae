"""Measures how many epochs fit into a number of minutes, on this device and these data."""

import contextlib
import pathlib
import tempfile
import warnings

from ml_collections import ConfigDict

from autolabel_jax import processes, train
from autolabel_jax.run_dir import RunDir

STEPS = 50  # of a timed epoch, at most
EPOCHS = 3  # that are timed; the first one compiles


def epochs(config: ConfigDict, num: int, minutes: float) -> tuple[int, float]:
    """Trains a few short epochs in a temporary folder, and counts how many whole ones fit.

    Args:
      config: config of the run.
      num: number of examples that training and calibration share.
      minutes: time of training, compilation included; the evaluation at the end comes on top.

    Returns:
      The number of epochs, at least 1, and the seconds that one takes.
    """
    num, short = config.train_examples or num, config.copy_and_resolve_references()
    short.train_examples, short.epochs = min(STEPS * config.batch_size, num), EPOCHS + 1
    with tempfile.TemporaryDirectory() as folder:
        seconds = _timed(short, pathlib.Path(folder) / "run")
    scale = num / short.train_examples
    one = scale * min(seconds[1:])
    compiling = max(0.0, seconds[0] - min(seconds[1:]))
    return max(1, int((60 * minutes - compiling) / one)), one


def _timed(config: ConfigDict, folder: pathlib.Path) -> list[float]:
    """Returns the seconds of the first epochs of a run, which then stops."""

    def stop() -> bool:
        return len(RunDir(folder).read_metrics()) >= EPOCHS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the run itself says it of all its data
        with contextlib.suppress(processes.Stopped):
            train.train(config, folder, should_stop=stop, progress=False)
    return [line["seconds"] for line in RunDir(folder).read_metrics()]
