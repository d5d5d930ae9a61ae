"""Trains the network of configs/cifar10_5000.py on labels of people, many of them wrong.

    python -m experiments.train --config=configs/cifar10n_5000.py --workdir=runs/cifar10n_5000 \
        --config.data.train_labels=data/cifar10n.npz:worse_label

CIFAR-10N (Wei et al. 2022, "Learning with Noisy Labels Revisited") gives every training image of
CIFAR-10 labels of three people. The file holds an array of integers [50000] for each kind in the
official order: of `worse_label`, 40 % are wrong, of `aggre_label` 9 %. The 1,000 calibration
images keep the labels of CIFAR-10.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_5000


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_5000.get_config()
    config.name = "cifar10n_5000"
    config.batch_size = 100  # as in the paper of example_weights='reweight'
    config.augment.name = "none"
    config.labels.rule = "one_hot"
    config.data.train_labels = "data/cifar10n.npz:worse_label"
    config.data.clean_calibration = True
    return base.variant(config, arg)
