"""Defines the table of training losses; each is a class in its own file."""

from ml_collections import ConfigDict

from autolabel_jax import registry
from autolabel_jax.losses.base import CrossEntropy, Loss
from autolabel_jax.losses.cross_entropies import cross_entropy, integer_cross_entropy
from autolabel_jax.losses.focal import Focal
from autolabel_jax.losses.logit_norm import LogitNorm
from autolabel_jax.losses.mbls import MbLS
from autolabel_jax.losses.weights import (
    check_example_weights,
    check_held_out,
    class_weights,
    given_weights,
)

__all__ = [
    "TABLE",
    "CrossEntropy",
    "Focal",
    "LogitNorm",
    "Loss",
    "MbLS",
    "check_example_weights",
    "check_held_out",
    "class_weights",
    "create",
    "cross_entropy",
    "find",
    "given_weights",
    "integer_cross_entropy",
]

# Maps the name in the config to the class.
TABLE: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "mbls": MbLS,
    "focal": Focal,
    "logit_norm": LogitNorm,
}


def find(name: str) -> type[Loss]:
    """Finds the class that ``loss.name`` names: a key of TABLE, or ``module:Class``.

    Raises:
      ValueError: the class does not exist.
    """
    return registry.find("loss.name", name, TABLE, Loss)


def create(config: ConfigDict) -> Loss:
    """Creates the training loss that ``config.loss`` describes.

    Raises:
      ValueError: ``loss.name`` is unknown, a setting of any loss is out of range, or two exclude
        each other.
    """
    registry.check_all("loss", TABLE, config.loss)
    loss = registry.bind("loss", find(config.loss.name), config.loss)
    if loss.jsd and (loss.copies, loss.copies_labels) != (1, "hard"):
        raise ValueError(
            f"loss.jsd: got {loss.jsd} with loss.copies={loss.copies} and loss.copies_labels="
            f"{loss.copies_labels!r}; use loss.jsd=0, or loss.copies=1 and "
            "loss.copies_labels='hard'"
        )
    return loss
