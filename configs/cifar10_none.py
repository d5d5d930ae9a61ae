"""CIFAR-10, crop and flip only, WRN-28-10: the deterministic baseline.

    python -m experiments.train --config=configs/cifar10_none.py --workdir=runs/cifar10_none

The recipe of the CIFAR baselines of uncertainty-baselines: 200 epochs, .1 per 128
images, x .2 at epochs 60, 120 and 160, decay 2e-4 on everything. For an
accelerator; not yet run at this size.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_none"
    config.augment.name = "none"
    config.dtype = "bfloat16"
    config.batch_size = 512
    config.eval_batch_size = 1024
    config.optimizer.learning_rate = 0.4
    config.optimizer.schedule = "step"
    config.optimizer.weight_decay = 2e-4
    config.buckets.num = 1
    return base.variant(config, arg)
