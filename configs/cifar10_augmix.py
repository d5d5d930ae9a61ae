"""Trains WRN-28-10 on CIFAR-10 with one chain of AugMix.

    python -m experiments.train --config=configs/cifar10_augmix.py --workdir=runs/cifar10_augmix

Optimiser, weight decay and cosine schedule are those of the AugMix reference (Hendrycks et al.
2020), for 200 epochs instead of 100. It needs an accelerator, and has not been run at this size
yet.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_augmix"
    config.dtype = "bfloat16"
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
