"""Trains WRN-28-10 on CIFAR-10 with crop and flip only, as the deterministic baseline.

    python -m experiments.train --config=configs/cifar10_none.py --workdir=runs/cifar10_none

It follows the CIFAR baselines of uncertainty-baselines: 200 epochs, a learning rate of .1 per 128
images that falls by a factor of 5 at epochs 60, 120 and 160, and a weight decay of 2e-4 on all
parameters. It needs an accelerator, and has not been run at this size yet.
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
