"""Reads pretrained weights with the names and layouts of torchvision and timm.

A network that can read them has a static method ``torch_names``, which maps the paths of its
layers, such as 'Block_0/Conv_0', to the names of PyTorch's modules, such as 'layer1.0.conv1'. Its
head is ``Dense_0``.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from autolabel_jax import files

SUFFIX = ".safetensors"
SHOWN = 5  # names of tensors in a message

# Names of PyTorch's tensors by those of Flax.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# Axes of a weight in the order of Flax, by their number: [height, width, in, out], [in, out].
ORDERS = {4: (2, 3, 1, 0), 2: (1, 0)}
UNREAD = ".num_batches_tracked"  # counts steps, for averages that nobody uses


@dataclasses.dataclass(frozen=True)
class Weights:
    """Holds pretrained weights.

    Attributes:
      leaves: float32 arrays by path, such as ('params', 'net', 'Conv_0', 'kernel').
      sha256: checksum of the file.
      new_head: why the head is not among them; '' if it is.
    """

    leaves: Mapping[tuple[str, ...], np.ndarray]
    sha256: str
    new_head: str


def check(path: str, name: str, network: type) -> None:
    """Checks without the file that a network can read it.

    Args:
      path: ``model.init_from``.
      name: ``model.name``.
      network: class of the network.

    Raises:
      ValueError: the file is of another kind, or the network has no names for its tensors.
    """
    if not path.endswith(SUFFIX):
        raise ValueError(
            f"model.init_from: got {path!r}, expected a file *{SUFFIX}, as a pickle can run code; "
            "convert it with safetensors.torch.save_file(torch.load(FILE, weights_only=True), …)"
        )
    if not hasattr(network, "torch_names"):
        raise ValueError(
            f"model.init_from: got {path!r}, but model.name={name!r} reads no pretrained weights; "
            "see docs/pretrained.md"
        )


def read(path: str, network: Any, variables: Mapping[str, Any]) -> Weights:
    """Reads the weights of a network.

    Args:
      path: file of tensors.
      network: the network, or its class.
      variables: {'params': …, 'batch_stats': …} of ``models.create``'s model, arrays or shapes.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is damaged, or a tensor is missing, unknown, of another shape, or not
        finite.
    """
    with files.naming(pathlib.Path(path)):
        content = pathlib.Path(path).read_bytes()
    try:
        tensors = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"model.init_from: {path}: is no whole file {SUFFIX} ({error})") from error
    tensors = {name: value for name, value in tensors.items() if not name.endswith(UNREAD)}
    shapes = {place: leaf.shape for place, leaf in traverse_util.flatten_dict(variables).items()}
    names = {place: _torch_name(place, network.torch_names()) for place in shapes}
    head = {place for place, name in names.items() if name in _head_names(network)}
    new_head = _new_head(tensors, {names[place]: shapes[place] for place in head})
    if new_head:
        names = {place: name for place, name in names.items() if place not in head}
        tensors = {n: value for n, value in tensors.items() if n not in _head_names(network)}
    _check_names(path, set(names.values()), set(tensors))
    leaves = {}
    for place, name in names.items():
        tensor = tensors[name].astype(np.float32)
        _check_tensor(path, name, tensor, _torch_shape(shapes[place]))
        leaves[place] = np.ascontiguousarray(tensor.transpose(_order(tensor.ndim)))
    return Weights(leaves, hashlib.sha256(content).hexdigest(), new_head)


def merge(variables: Any, weights: Weights) -> Any:
    """Replaces leaves of variables by pretrained weights; a new head stays as it is."""
    flat = traverse_util.flatten_dict(variables)
    return traverse_util.unflatten_dict(
        flat | {p: jnp.asarray(w) for p, w in weights.leaves.items()}
    )


def _torch_name(place: tuple[str, ...], names: Mapping[str, str]) -> str:
    """Returns PyTorch's name of ('params', 'net', 'Conv_0', 'kernel')."""
    whole, layer = "/".join(place[2:]), "/".join(place[2:-1])
    return names[whole] if whole in names else f"{names[layer]}.{LEAVES[place[-1]]}"


def _head_names(network: Any) -> tuple[str, str]:
    head = network.torch_names()["Dense_0"]
    return f"{head}.weight", f"{head}.bias"


def _new_head(tensors: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> str:
    """Says why the head of the file does not fit the classes; '' if it does."""
    (name,) = (name for name in expected if name.endswith(".weight"))
    if name not in tensors:
        return "the file has none"
    found, num_classes = len(tensors[name]), expected[name][-1]
    return "" if found == num_classes else f"{name} has {found} classes, the data {num_classes}"


def _check_names(path: str, expected: set[str], found: set[str]) -> None:
    for what, names in (("lacks", expected - found), ("has the unknown", found - expected)):
        if names:
            shown = ", ".join(sorted(names)[:SHOWN])
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ValueError(
                f"model.init_from: {path}: {what} {shown}{more}; it is not of this model.name, or "
                "not of its settings"
            )


def _order(num_axes: int) -> tuple[int, ...]:
    return ORDERS.get(num_axes, tuple(range(num_axes)))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[i] for i in np.argsort(_order(len(shape))))


def _check_tensor(path: str, name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"model.init_from: {path}: {name} has the shape {list(tensor.shape)}, {list(shape)} "
            "expected with these settings of the model and these inputs; see "
            "model.photograph_stem, model.size, model.patch and image_size"
        )
    if not np.isfinite(tensor).all():
        raise ValueError(f"model.init_from: {path}: {name} is not finite")
