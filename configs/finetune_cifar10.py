"""Fine-tunes a pretrained EfficientNet-Lite0 on 1,000 images of CIFAR-10, enlarged to 96 pixels.

    python -m experiments.train --config=configs/finetune_cifar10.py --data_dir=cifar10_96 \
        --config.model.init_from=efficientnet_lite0.safetensors --workdir=runs/finetune_cifar10

docs/pretrained.md says how the arrays and the weights are made, and has the results.
"""

from ml_collections import ConfigDict

from configs import base, finetune


def get_config(arg: str | None = None) -> ConfigDict:
    config = finetune.get_config()
    config.name = "finetune_cifar10"
    config.dataset = "arrays"
    config.crop_pad = 12
    return base.variant(config, arg)


get_sweep = finetune.get_sweep
