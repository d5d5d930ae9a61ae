"""Defines the networks of autolabel_jax/models in PyTorch, as peers for the benchmarks.

They agree layer by layer: the same widths, strides, shortcuts and batch norms, no biases in
convolutions, and so the same number of parameters.
"""

import torch
from torch import nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class PostActivationBlock(nn.Module):
    """A residual block: relu(shortcut + bn(conv(relu(bn(conv(x))))))."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        """Makes layers from ``inputs`` to ``outputs`` channels."""
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns features [B, outputs, H / stride, W / stride]."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.shortcut(x) + self.norm2(self.conv2(y)))


class PreActivationBlock(nn.Module):
    """A residual block: shortcut + conv(relu(bn(conv(relu(bn(x))))))."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        """Makes layers from ``inputs`` to ``outputs`` channels."""
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs, 3)
        change = stride != 1 or inputs != outputs
        self.shortcut = _conv(inputs, outputs, 1, stride) if change else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns features [B, outputs, H / stride, W / stride]."""
        y = functional.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return shortcut + self.conv2(functional.relu(self.norm2(self.conv1(y))))


def _stages(block: type[nn.Module], inputs: int, widths: list[int], depth: int) -> nn.Sequential:
    """Stacks ``depth`` blocks of each width; all stages but the first halve the sides."""
    blocks = []
    for stage, width in enumerate(widths):
        for place in range(depth):
            blocks.append(block(inputs, width, 2 if stage > 0 and place == 0 else 1))
            inputs = width
    return nn.Sequential(*blocks)


class ResNet18(nn.Module):
    """A ResNet-18 for small images: a 3 x 3 stem of stride 1, no pooling after it."""

    def __init__(self, num_classes: int):
        """Makes four stages of two blocks."""
        super().__init__()
        self.stem, self.norm = _conv(3, 64, 3), nn.BatchNorm2d(64)
        self.stages = _stages(PostActivationBlock, 64, [64, 128, 256, 512], 2)
        self.head = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [B, K] of normalised images [B, 3, H, W]."""
        x = self.stages(functional.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


class WideResNet(nn.Module):
    """A wide residual network, WRN-depth-width."""

    def __init__(self, num_classes: int, depth: int, width: int):
        """Makes three stages of (depth - 4) / 6 blocks."""
        super().__init__()
        self.stem = _conv(3, 16, 3)
        widths = [16 * width, 32 * width, 64 * width]
        self.stages = _stages(PreActivationBlock, 16, widths, (depth - 4) // 6)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [B, K] of normalised images [B, 3, H, W]."""
        x = functional.relu(self.norm(self.stages(self.stem(x))))
        return self.head(x.mean((2, 3)))


MODELS = {
    "wrn28_10": lambda num_classes: WideResNet(num_classes, 28, 10),
    "wrn16_4": lambda num_classes: WideResNet(num_classes, 16, 4),
    "resnet18": ResNet18,
    "wrn10_1": lambda num_classes: WideResNet(num_classes, 10, 1),
}
