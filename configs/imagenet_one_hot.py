"""ImageNet, random-resized-crop and flip only, one-hot labels, ResNet-50: the baseline.

    python -m experiments.train --config=configs/imagenet_one_hot.py --workdir=runs/imagenet_one_hot

The recipe of Goyal et al. 2017, "Accurate, Large Minibatch SGD": 90 epochs, a learning
rate of .1 per 256 images after 5 epochs of warm-up, x .1 at epochs 30, 60 and 80, Nesterov
.9, decay 1e-4 but not of biases and batch norm, whose last scale in each block starts at 0.
10,000 training images are held out. For one or more large accelerators, with a processor
core for each 100 or so images a second (docs/imagenet.md); not yet run at this size.
A folder of images in place of TFDS: --config.dataset=folder --data_dir=FOLDER.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = recipe()
    config.name = "imagenet_one_hot"
    config.augment.name = "none"
    config.labels.rule = "one_hot"
    config.buckets.num = 1
    return base.variant(config, arg)


def recipe() -> ConfigDict:
    """What all the configs of ImageNet at 224 pixels share."""
    config = base.base()
    config.dataset = "imagenet2012"
    config.stream = True
    config.image_size = 224
    config.loader_workers = 16
    config.crop_pad = 0  # photographs are cropped as they are decoded
    config.model.name = "resnet50"
    config.dtype = "bfloat16"
    config.epochs = 90
    config.batch_size = 1024
    config.eval_batch_size = 1024
    config.calibration.images = 10_000
    config.optimizer.learning_rate = 0.4
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.schedule = "step"
    config.optimizer.boundaries = (30 / 90, 60 / 90, 80 / 90)
    config.optimizer.decay = 0.1
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_kernels_only = True
    return config
