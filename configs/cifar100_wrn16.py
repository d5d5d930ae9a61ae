"""CIFAR-100, AugMix with one chain, WRN-16-4, 20 epochs: the label rules, three seeds.

    python -m experiments.sweep --config=configs/cifar100_wrn16.py --workdir=runs/cifar100_wrn16 \
        --corruptions --examples=2000 --processes=5

For a GPU, which several runs share. Not yet run at this size.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar100_wrn16"
    config.dataset = "cifar100"
    config.model.depth = 16
    config.model.width = 4
    config.dtype = "bfloat16"
    config.epochs = 20
    config.batch_size = 256
    config.optimizer.learning_rate = 0.2
    config.buckets.num = 3
    config.checkpoint.every_epochs = 20
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
