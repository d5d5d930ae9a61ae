"""Trains ResNet-18 on ImageNet at 64 x 64 pixels with one chain of AugMix and AutoLabel.

    python -m experiments.train --config=configs/imagenet_64.py --workdir=runs/imagenet_64

TFDS's imagenet_resized/64x64 (Chrabaszcz et al. 2017) takes 15.7 GB as uint8 and is kept on each
device, so it needs devices with 40 GB or more and a host with 48 GB. Crop and schedule are those of
the CIFAR configs, scaled: pad 8, 40 epochs, a learning rate of .1 per 256 images. The first start
decodes all images once and keeps them beside the prepared folder. It has not been run at this size
yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "imagenet_64"
    config.dataset = "imagenet_resized/64x64"
    config.crop_pad = 8
    config.model.name = "resnet18"
    config.dtype = "bfloat16"
    config.epochs = 40
    config.batch_size = 1024
    config.eval_batch_size = 1024
    config.calibration.images = 10_000
    config.calibration.exact = True  # of these images
    config.calibration.images_per_update = 2000
    config.optimizer.learning_rate = 0.4
    config.optimizer.warmup_epochs = 2.0
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_kernels_only = True
    return base.variant(config, arg)
