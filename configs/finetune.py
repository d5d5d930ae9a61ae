"""Fine-tunes a pretrained ResNet-18 on a folder of photographs, AugMix with AutoLabel.

    python -m experiments.train --config=configs/finetune.py --data_dir=FOLDER \
        --config.model.init_from=resnet18.safetensors --workdir=runs/finetune

The head learns at ten times the rate of the other layers, and batch norm keeps the statistics of
the weights. docs/pretrained.md has the weights that other models read. It has not been run on real
weights yet.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "finetune"
    config.dataset = "folder"
    config.image_size = 224
    config.crop_pad = 0  # photographs are cropped as they are decoded
    config.model.name = "resnet18"
    config.model.photograph_stem = True
    config.model.normalization = "imagenet"
    config.model.freeze_batch_norm = True
    config.dtype = "bfloat16"
    config.epochs = 20
    config.batch_size = 64
    config.eval_batch_size = 256
    config.buckets.num = 3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.backbone_scale = 0.1
    config.optimizer.weight_decay = 0.01
    config.optimizer.decay_kernels_only = True
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
