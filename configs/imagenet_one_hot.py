"""Trains ResNet-50 on ImageNet with random-resized-crop, flip and one-hot labels, as the baseline.

    python -m experiments.train --config=configs/imagenet_one_hot.py --workdir=runs/imagenet_one_hot

It follows Goyal et al. 2017, "Accurate, Large Minibatch SGD": 90 epochs; a learning rate of .1 per
256 images after 5 epochs of warm-up, which falls by a factor of 10 at epochs 30, 60 and 80;
Nesterov momentum .9; a weight decay of 1e-4, except on biases and batch norm, whose last scale in
each block starts at 0. 10,000 training images are held out. It needs one or more large
accelerators, with a processor core per 100 or so images per second (docs/imagenet.md), and has not
been run at this size yet. --config.dataset=folder --data_dir=FOLDER uses a folder of images instead
of TFDS.
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
    """Returns the fields that all configs of ImageNet at 224 pixels share."""
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
