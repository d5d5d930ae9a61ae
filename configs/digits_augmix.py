"""scikit-learn's handwritten digits, AugMix with one chain, a small CNN: the quickstart.

    python -m experiments.train --config=configs/digits_augmix.py --workdir=runs/digits_augmix

Few training images and many epochs, so that the network over-fits.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "digits_augmix"
    config.dataset = "digits"
    config.train_examples = 400
    config.calibration.fraction = 0.5
    config.model.name = "small_cnn"
    config.model.width = 8
    config.epochs = 40
    config.batch_size = 40
    config.crop_pad = 2
    config.flip = False
    config.optimizer.weight_decay = 0.0
    config.optimizer.learning_rate = 0.05
    config.buckets.num = 3
    config.checkpoint.every_epochs = 5
    return base.variant(config, arg)
