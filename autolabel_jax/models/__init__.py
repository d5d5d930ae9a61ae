"""Defines the table of models, and what they share.

A model maps inputs in the value range of the data, float32 [B, ...], and
``train`` to logits float32 [B, K]. Its variables are
{'params': params, 'batch_stats': batch_stats}; with train=True batch norm
uses the batch's own statistics, and ``mutable=['batch_stats']`` returns the
updated running ones.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from autolabel_jax import registry
from autolabel_jax.datasets import KINDS, InputSpec
from autolabel_jax.models import preprocessing, pretrained
from autolabel_jax.models.cnn1d import CNN1D
from autolabel_jax.models.crnn import CRNN
from autolabel_jax.models.efficientnet import EfficientNetLite0
from autolabel_jax.models.mlp import MLP
from autolabel_jax.models.preprocessing import Preprocessing
from autolabel_jax.models.resnet import ResNet18
from autolabel_jax.models.resnet50 import ResNet50
from autolabel_jax.models.small_cnn import SmallCNN
from autolabel_jax.models.text import TextMean, TextTransformer
from autolabel_jax.models.vit import ViT
from autolabel_jax.models.wide_resnet import WideResNet

# Maps the name in the config to the network.
TABLE: dict[str, type[nn.Module]] = {
    "wide_resnet": WideResNet,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
    "efficientnet_lite0": EfficientNetLite0,
    "vit": ViT,
    "small_cnn": SmallCNN,
    "mlp": MLP,
    "cnn1d": CNN1D,
    "text_mean": TextMean,
    "text_transformer": TextTransformer,
    "crnn": CRNN,
}

MOST_PARAMETERS = 2**31 - 1  # 8 GiB of float32, and as much for momentum and gradient each
AUTO = "auto"  # value of model.normalization
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """Puts preprocessing in front of a network, so that attacks and corruptions see the data.

    Attributes:
      net: network from (inputs [B, ...], train) to logits [B, K] in ``net.dtype``.
      preprocess: preprocessing of inputs in the range of the data.
      freeze_batch_norm: whether training too uses the running statistics, and keeps them.
    """

    net: nn.Module
    preprocess: Preprocessing
    freeze_batch_norm: bool = False

    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits float32 [B, K] of inputs [B, ...] in the range of the data."""
        train = train and not self.freeze_batch_norm
        return self.net(self.preprocess(inputs, self.net.dtype), train).astype(jnp.float32)


def find(name: str) -> type[nn.Module]:
    """Finds the class that ``model.name`` names: a key of TABLE, or ``module:Class``.

    An external class is a Flax module with the fields ``num_classes`` and ``dtype``; all its other
    fields with defaults are settings. It can declare ``kinds``, the kinds of input that it accepts,
    and a field ``vocabulary``, the number of tokens of a text.

    Raises:
      ValueError: the class does not exist.
    """
    return registry.find("model.name", name, TABLE, nn.Module)


def check(config: ConfigDict) -> type[nn.Module]:
    """Checks the fields that describe the model, and returns its class.

    Raises:
      ValueError: ``model.name`` or ``dtype`` is unknown, or a setting is out of range.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype: got {config.dtype!r}, expected one of: {', '.join(DTYPES)}")
    network = find(config.model.name)
    registry.check("model", network, config.model)
    registry.check_all("model", TABLE, config.model)
    choices = (AUTO, "data", *preprocessing.STATISTICS)
    registry.Setting(None, choices=choices).check("model.normalization", config.model.normalization)
    if config.model.init_from:
        pretrained.check(config.model.init_from, config.model.name, network)
    return network


def normalization(config: ConfigDict) -> str:
    """Returns the ``model.normalization`` of a config, 'data' or a key of STATISTICS, for 'auto'.

    'auto' is 'data', but for pretrained weights what the network declares, or 'imagenet'.
    """
    if config.model.normalization != AUTO:
        return config.model.normalization
    if not config.model.init_from:
        return "data"
    return getattr(find(config.model.name), "normalization", "imagenet")


def create(
    config: ConfigDict,
    *,
    num_classes: int,
    spec: InputSpec,
    mean: ArrayLike,
    std: ArrayLike,
    encoding: Mapping[str, Any] | None = None,
) -> Classifier:
    """Creates the model that ``config.model`` describes, with activations of ``config.dtype``.

    Args:
      config: config with the fields model.* and dtype.
      num_classes: number of classes K.
      spec: description of one input.
      mean: mean of the training inputs; one number, or one per channel.
      std: standard deviation of the training inputs, likewise.
      encoding: how stored values become inputs, see ``datasets.Dataset``.

    Raises:
      ValueError: as ``check``, or the model does not accept the kind of input, or a std is not
        positive.
    """
    network = check(config)
    kinds = getattr(network, "kinds", KINDS)
    if spec.kind not in kinds:
        raise ValueError(
            f"model.name: {config.model.name!r} accepts inputs of kind {', '.join(kinds)}; got "
            f"{spec.kind!r} of shape {list(spec.shape)}"
            + ("; grey images need a channel axis, x[..., None]" if len(spec.shape) == 2 else "")
        )
    mean, std = preprocessing.statistics(normalization(config), spec, mean, std)
    others = {"num_classes": num_classes, "dtype": DTYPES[config.dtype]}
    if "vocabulary" in getattr(network, "__dataclass_fields__", ()):
        others["vocabulary"] = int(spec.high) + 1
    return Classifier(
        net=registry.bind("model", network, config.model, **others),
        preprocess=preprocessing.create(spec, mean, std, encoding),
        freeze_batch_norm=config.model.freeze_batch_norm,
    )


def init(model: nn.Module, key: jax.Array, example_shape: Sequence[int]) -> tuple[Any, Any]:
    """Initialises random parameters and the running statistics of batch norm.

    Args:
      model: model from ``create``.
      key: typed PRNG key.
      example_shape: shape of one input without the batch axis, such as (height, width, channels).

    Returns:
      (params, batch_stats), float32 trees; batch_stats is {} without batch norm.
    """
    variables = _init_variables(model, key, tuple(example_shape))
    return variables["params"], variables.get("batch_stats", {})


def shapes(model: nn.Module, example_shape: Sequence[int]) -> tuple[Any, Any]:
    """Returns the shapes of what ``init`` returns, without computing it."""
    shape = tuple(example_shape)
    return jax.eval_shape(lambda key: init(model, key, shape), jax.random.key(0))


def layer_groups(model: Classifier, example_shape: Sequence[int]) -> list[list[str]]:
    """Lists the layers of a network by name, from the input to the head.

    The order is that in which the network calls its direct parts. A part with nothing but scales
    and biases, such as batch norm, is in the group of the layer before it.

    Args:
      model: model from ``create``.
      example_shape: shape of one input without the batch axis.

    Raises:
      ValueError: the last part of the network does not return the logits.
    """
    parts: dict[str, Any] = {}

    def trace(key: jax.Array) -> tuple[()]:
        inputs = jnp.zeros((1, *example_shape), jnp.float32)
        # Outside of this function, JAX sorts the names.
        parts.update(model.init(key, inputs, train=False)["params"]["net"])
        return ()

    jax.eval_shape(trace, jax.random.key(0))
    groups: list[list[str]] = []
    for name, part in parts.items():
        norm = isinstance(part, Mapping) and part.keys() <= {"scale", "bias"}
        if norm and groups:
            groups[-1].append(name)
        else:
            groups.append([name])
    network, head = model.net, parts[groups[-1][0]]
    kernel = head.get("kernel") if isinstance(head, Mapping) else None
    if kernel is None or kernel.shape[-1] != getattr(network, "num_classes", None):
        raise ValueError(
            f"optimizer.backbone_scale, optimizer.layer_decay: {type(network).__name__} ends in "
            f"{groups[-1][0]!r}, which is no dense layer for the logits; use 1 for both"
        )
    return groups


# Under jit, XLA drops the forward pass, of which only the shapes are needed.
@functools.partial(jax.jit, static_argnames=("model", "example_shape"))
def _init_variables(model: nn.Module, key: jax.Array, example_shape: tuple[int, ...]) -> Any:
    return model.init(key, jnp.zeros((1, *example_shape), jnp.float32), train=False)


def check_shapes(name: str, model: Classifier, shape: Sequence[int], num_classes: int) -> None:
    """Checks by shapes alone that a model takes the inputs, and returns logits of all classes.

    Args:
      name: ``model.name`` of the config.
      model: the model.
      shape: shape of one input.
      num_classes: number of classes K.

    Raises:
      ValueError: it does not, or has too many parameters, or no batch norm to freeze.
    """
    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    try:
        logits, variables = jax.eval_shape(init, jax.random.key(0), inputs)
    except Exception as error:  # a model can raise anything
        raise ValueError(
            f"model.name: {name!r} cannot be built for inputs of shape {list(shape)} "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    if logits.shape != (1, num_classes):
        raise ValueError(
            f"model.name: {name!r} returns logits of shape {list(logits.shape)} for one input of "
            f"shape {list(shape)}, expected {[1, num_classes]}"
        )
    if model.freeze_batch_norm and "batch_stats" not in variables:
        raise ValueError(f"model.freeze_batch_norm: got True, but {name!r} has no batch norm")
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    if size > MOST_PARAMETERS:
        raise ValueError(
            f"model.name: {name!r} would have {size:,} parameters with these settings and inputs "
            f"of shape {list(shape)}, must be at most {MOST_PARAMETERS:,}; reduce model.width"
        )
