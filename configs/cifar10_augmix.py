"""CIFAR-10, AugMix with one chain, WRN-28-10.

    python -m experiments.train --config=configs/cifar10_augmix.py --workdir=runs/cifar10_augmix

Optimiser, decay and cosine schedule are those of the AugMix reference (Hendrycks
et al. 2020), for 200 epochs in place of 100. For an accelerator; not yet run at
this size.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_augmix"
    config.dtype = "bfloat16"
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
