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

REWEIGHT = {"labels.rule": "one_hot", "example_weights": "reweight"}
SELF_ADAPTIVE = {"labels.rule": "self_adaptive", "labels.start_epoch": 18}  # .3 of the epochs


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_5000.get_config()
    config.name = "cifar10n_5000"
    config.batch_size = 100  # as in the paper of example_weights='reweight'
    config.augment.name = "none"
    config.labels.rule = "one_hot"
    config.data.train_labels = "data/cifar10n.npz:worse_label"
    config.data.clean_calibration = True
    return base.variant(config, arg)


def get_sweep(add) -> None:
    """Adds the rules and the weights that may help where labels are wrong, with three seeds."""
    one_hot, autolabel = ({"labels.rule": rule} for rule in ("one_hot", "autolabel"))
    temperature = {"labels.rule": "bucket_temperature", "labels.divide_loss": True}
    rules = {
        "none": (one_hot, {"labels.rule": "smoothing"}, autolabel, temperature),
        "augmix": (one_hot, autolabel),
    }
    for seed in range(3):
        for name, own in rules.items():
            for rule in (*own, SELF_ADAPTIVE, REWEIGHT):
                add(**{"augment.name": name}, **rule, seed=seed)
