"""Exports a trained model with its calibrator as one program, with the weights as arguments.

    program(weights, inputs [n, ...]) → probabilities, calibrated_logits and logits, [n, K] each

Preprocessing, softmax and the calibrator are inside.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from autolabel_jax import image_ops
from autolabel_jax.calibrators import Method, neighbours
from autolabel_jax.calibrators.base import MissingFeatureError
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import InputSpec
from autolabel_jax.models import features

PLATFORMS = ("cpu", "cuda", "tpu")
LOCATIONS = "jax_traceback_in_locations_limit"  # setting of jax: callers kept for each operation


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A trained model with a fitted calibrator, in host memory.

    Attributes:
      model: the model, see ``models.create``.
      variables: its variables for inference.
      calibrator: the calibrator.
      params: its parameters.
      reference: features of training images, for calibrators that read those of neighbours.
    """

    model: nn.Module
    variables: dict[str, Any]
    calibrator: Method
    params: Any
    reference: Reference | None = None


def export(calibrated: Calibrated, spec: InputSpec) -> tuple[jax.export.Exported, dict[str, Any]]:
    """Exports the program for any batch size and the platforms in PLATFORMS.

    Args:
      calibrated: model and calibrator.
      spec: description of one input.

    Returns:
      The program, and its weights float32 or int32 by name.

    Raises:
      ValueError: the model cannot be exported, such as one whose shapes depend on the batch size.
    """
    apply, tree = smallest(calibrated, spec)
    leaves, structure = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    named = {_name(path): np.asarray(leaf) for path, leaf in leaves}
    types = [leaf.dtype for leaf in named.values()]

    def program(weights: Mapping[str, jax.Array], inputs: jax.Array) -> dict[str, jax.Array]:
        own = [weights[name].astype(dtype) for name, dtype in zip(named, types, strict=True)]
        return apply(structure.unflatten(own), inputs)

    weights = {name: _stored(name, leaf) for name, leaf in named.items()}
    batch = jax.export.symbolic_shape("n")
    inputs = jax.ShapeDtypeStruct((*batch, *spec.shape), np.dtype(spec.dtype))
    try:
        with _without_locations():
            exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(weights, inputs)
    except Exception as error:  # a model of another project can raise anything
        raise ValueError(
            f"model.name: the model cannot be exported for any batch size on "
            f"{', '.join(PLATFORMS)} ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    return exported, weights


def smallest(calibrated: Calibrated, spec: InputSpec) -> tuple[Any, dict[str, Any]]:
    """Returns the function (tree, inputs) → outputs that computes only the features it needs.

    A calibrator says by MissingFeatureError that it needs more of them.

    Args:
      calibrated: model and calibrator.
      spec: description of one input.

    Returns:
      The function, and the tree of all arrays that it needs.
    """
    tree = {"model": calibrated.variables, "calibrator": calibrated.params}
    with_reference = {**tree, "reference": calibrated.reference}
    inputs = jax.ShapeDtypeStruct((1, *spec.shape), np.dtype(spec.dtype))
    for found, recorded in ((tree, False), (tree, True)):
        apply = functools.partial(_apply, calibrated.model, calibrated.calibrator, recorded)
        try:
            jax.eval_shape(apply, found, inputs)
            return apply, found
        except MissingFeatureError:
            continue
    return apply, with_reference


@contextlib.contextmanager
def _without_locations() -> Generator[None]:
    """Keeps paths of source files out of the program; equal runs then export equal files."""
    before = getattr(jax.config, LOCATIONS)
    jax.config.update(LOCATIONS, 0)
    try:
        yield
    finally:
        jax.config.update(LOCATIONS, before)


def _apply(
    model: nn.Module, calibrator: Method, recorded: bool, tree: dict[str, Any], inputs: jax.Array
) -> dict[str, jax.Array]:
    """Computes logits, calibrated logits and probabilities; ``recorded``: with features."""
    values, scalars = image_ops.to_float(inputs), {}
    if recorded:
        logits, found = features.forward(model, tree["model"], values)
        scalars = neighbours.scalars(logits, found, tree.get("reference"))
    else:
        logits = cast("jax.Array", model.apply(tree["model"], values, train=False))
    calibrated = calibrator.apply(tree["calibrator"], logits, scalars)
    return {
        "probabilities": jax.nn.softmax(calibrated, axis=-1),
        "calibrated_logits": calibrated,
        "logits": logits,
    }


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _stored(name: str, leaf: np.ndarray) -> np.ndarray:
    """Returns an array as it is stored: in 32 bits, which every reader knows."""
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf.astype(np.float32)
    if np.can_cast(leaf.dtype, np.int32):
        return leaf.astype(np.int32)
    raise ValueError(f"{name}: got weights of {leaf.dtype}; only floats and int32 can be exported")
