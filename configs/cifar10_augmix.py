"""CIFAR-10, AugMix with one chain, WRN-28-10.

    python -m experiments.train --config=configs/cifar10_augmix.py --workdir=runs/cifar10_augmix

200 epochs on one accelerator; not yet run at this size here. Learning rate and
decay: the deterministic baseline of uncertainty-baselines, on AugMix's schedule.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_augmix"
    config.dtype = "bfloat16"
    return base.variant(config, arg)
