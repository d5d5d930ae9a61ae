"""Trains one configuration, or resumes its run.

    python -m experiments.train --config=configs/cifar10_augmix.py --workdir=runs/a \
        [--data_dir=…] [--config.labels.rule=autolabel …]

The same command resumes an interrupted run; SIGTERM and Ctrl-C save a checkpoint first.
On several hosts: docs/distributed.md.
"""

import signal
import sys

from absl import flags

from autolabel_jax import metric_writer, processes, train
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import config_flag, launch
from experiments.reporting import rendering

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all files of the run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets; sets config.data_dir.")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    config = _CONFIG.value
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    stop = processes.Stop()
    stop.install()
    try:
        result = train.train(config, _WORKDIR.value, should_stop=stop, defaults=base.base())
    except processes.Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + (stop.signal or signal.SIGTERM))  # the signal of another process
    if processes.is_first():
        print(rendering.result_table([result]))
        missing = metric_writer.missing_epochs(RunDir(_WORKDIR.value))
        but = f"; metrics of epochs {missing} are missing" if missing else ""
        print(f"results are in {_WORKDIR.value}{but}")


if __name__ == "__main__":
    launch.run(main, required=["config", "workdir"], several_processes=True)
