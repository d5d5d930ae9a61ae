"""Fine-tunes a pretrained EfficientNet-Lite0 on a folder of photographs, AugMix with AutoLabel.

    python -m experiments.train --config=configs/finetune.py --data_dir=FOLDER \
        --config.model.init_from=efficientnet_lite0.safetensors --workdir=runs/finetune

The head learns at ten times the rate of the other layers, and batch norm keeps the statistics of
the weights. docs/pretrained.md has the weights, this and other models, and the results.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "finetune"
    config.dataset = "folder"
    config.image_size = 224
    config.crop_pad = 0  # photographs are cropped as they are decoded
    config.model.name = "efficientnet_lite0"
    config.model.freeze_batch_norm = True
    config.epochs = 8
    config.batch_size = 32
    config.eval_batch_size = 100
    config.buckets.num = 3
    config.calibration.fraction = 0.25
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.backbone_scale = 0.1
    config.optimizer.weight_decay = 0.01
    config.optimizer.decay_kernels_only = True
    config.checkpoint.every_epochs = 8
    return base.variant(config, arg)


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with three seeds."""
    sweeps.sweep(add, name, range(3))
