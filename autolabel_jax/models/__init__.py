"""The one table of models, and what all of them share.

A model takes inputs in the value range of the data, float32 [B, ...], and
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
from flax import linen as nn
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from autolabel_jax import registry
from autolabel_jax.datasets import KINDS, InputSpec
from autolabel_jax.models import preprocessing
from autolabel_jax.models.mlp import MLP
from autolabel_jax.models.preprocessing import Preprocessing
from autolabel_jax.models.resnet import ResNet18
from autolabel_jax.models.resnet50 import ResNet50
from autolabel_jax.models.small_cnn import SmallCNN
from autolabel_jax.models.wide_resnet import WideResNet

# Name in the config → network.
TABLE: dict[str, type[nn.Module]] = {
    "wide_resnet": WideResNet,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
    "small_cnn": SmallCNN,
    "mlp": MLP,
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """A network behind its preprocessing, so that attacks and corruptions work on the data.

    Attributes:
      net: (inputs [B, ...], train) -> logits [B, K], in ``net.dtype``.
      preprocess: of inputs in the data's own range.
    """

    net: nn.Module
    preprocess: Preprocessing

    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits float32 [B, K] of inputs [B, ...] in the data's own range."""
        return self.net(self.preprocess(inputs, self.net.dtype), train).astype(jnp.float32)


def find(name: str) -> type[nn.Module]:
    """The class that ``model.name`` names: a row of TABLE, or ``module:Class``.

    A class from outside is a Flax module with the fields ``num_classes`` and ``dtype``; all its
    other fields with defaults are settings. It may declare ``kinds``, the kinds of input that it
    accepts.

    Raises:
      ValueError: there is none.
    """
    return registry.find("model.name", name, TABLE, nn.Module)


def create(
    config: ConfigDict,
    *,
    num_classes: int,
    spec: InputSpec,
    mean: ArrayLike,
    std: ArrayLike,
) -> Classifier:
    """The model that ``config.model`` names, with activations of ``config.dtype``.

    Args:
      config: reads model.* and dtype.
      num_classes: K.
      spec: of the inputs.
      mean: of the training inputs, in their own range; one number or one for each channel.
      std: the same.

    Raises:
      ValueError: unknown ``model.name`` or ``dtype``, a setting that the model cannot have, a
        kind of input that it does not accept, or a std that is not positive.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype: got {config.dtype!r}, expected one of: {', '.join(DTYPES)}")
    network = find(config.model.name)
    kinds = getattr(network, "kinds", KINDS)
    if spec.kind not in kinds:
        raise ValueError(
            f"model.name: {config.model.name!r} accepts inputs of kind {', '.join(kinds)}; got "
            f"{spec.kind!r} of shape {list(spec.shape)}"
        )
    others = {"num_classes": num_classes, "dtype": DTYPES[config.dtype]}
    return Classifier(
        net=registry.bind("model", network, config.model, **others),
        preprocess=preprocessing.create(spec, mean, std),
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
