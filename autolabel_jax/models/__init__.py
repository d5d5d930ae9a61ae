"""The one table of models, and what all of them share.

A model takes images in the value range of the data, float32 [B, ...], and
``train``, and gives logits float32 [B, K]. Its variables are
{'params': params, 'batch_stats': batch_stats}; with train=True batch norm
uses the batch's own statistics, and ``mutable=['batch_stats']`` returns the
updated running ones.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from autolabel_jax.models.mlp import MLP
from autolabel_jax.models.resnet import ResNet18
from autolabel_jax.models.resnet50 import ResNet50
from autolabel_jax.models.small_cnn import SmallCNN
from autolabel_jax.models.wide_resnet import WideResNet

# name: (network, the fields of config.model that it takes)
TABLE = {
    "wide_resnet": (WideResNet, ("depth", "width")),
    "resnet18": (ResNet18, ()),
    "resnet50": (ResNet50, ()),
    "small_cnn": (SmallCNN, ("width",)),
    "mlp": (MLP, ("width",)),
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """A network behind its normalisation, so that attacks and corruptions work on pixels.

    Attributes:
      net: (inputs [B, ...], train) -> logits [B, K], in ``net.dtype``.
      mean: one number, or one for each channel (entry of the last axis).
      std: the same, positive.
    """

    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        """Logits float32 [B, K] of images float32 [B, ...] in the data's own range."""
        mean, std = np.float32(self.mean), np.float32(self.std)
        inputs = ((image - mean) / std).astype(self.net.dtype)
        return self.net(inputs, train).astype(jnp.float32)


def create(
    config: ConfigDict,
    *,
    num_classes: int,
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> Classifier:
    """The model that ``config.model`` names, with activations of ``config.dtype``.

    Args:
      config: reads model.name, model.depth, model.width, dtype.
      num_classes: K.
      mean: of the training images, in their own range; one number or one a channel.
      std: the same.

    Raises:
      ValueError: unknown ``model.name`` or ``dtype``, a ``model.depth`` or ``model.width``
        that the model cannot have, or a std that is not positive.
    """
    name = config.model.name
    if name not in TABLE:
        raise ValueError(f"model.name: got {name!r}, known are {', '.join(TABLE)}")
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype: got {config.dtype!r}, known are {', '.join(DTYPES)}")
    network, fields = TABLE[name]
    settings = {field: config.model[field] for field in fields}
    if settings.get("width", 1) < 1:
        raise ValueError(f"model.width: got {settings['width']}, must be at least 1")
    depth = settings.get("depth", 10)
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"model.depth: got {depth}; a wide_resnet has 6n + 4 layers: 10, 16, 22, 28, 40"
        )
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"std: got {std}, must be positive; a constant channel can have 1")
    return Classifier(
        net=network(num_classes=num_classes, dtype=DTYPES[config.dtype], **settings),
        mean=tuple(np.ravel(mean).tolist()),
        std=tuple(np.ravel(std).tolist()),
    )


def init(model: nn.Module, key: jax.Array, example_shape: Sequence[int]) -> tuple[Any, Any]:
    """Random parameters and the running statistics that batch norm starts from.

    Args:
      model: from ``create``.
      key: typed PRNG key.
      example_shape: of one example, without the batch: (height, width, channels).

    Returns:
      (params, batch_stats), float32 trees; batch_stats is {} without batch norm.
    """
    variables = _init_variables(model, key, tuple(example_shape))
    return variables["params"], variables.get("batch_stats", {})


# Under jit, XLA drops the forward pass, of which only the shapes are needed.
@functools.partial(jax.jit, static_argnames=("model", "example_shape"))
def _init_variables(model: nn.Module, key: jax.Array, example_shape: tuple[int, ...]) -> Any:
    return model.init(key, jnp.zeros((1, *example_shape), jnp.float32), train=False)
