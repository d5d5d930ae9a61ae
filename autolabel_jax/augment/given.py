"""Images that came augmented, each with its distance in the data set."""

import jax

from autolabel_jax.augment import none
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient

draw = none.draw  # never asked for: the distances are the data's


def apply(
    key: jax.Array, batch: Batch, distance: Distance, input_gradient: InputGradient | None = None
) -> Augmented:
    """The images as they are, at the distances that came with them."""
    given = distance.replace(value=batch.distance)
    return none.apply(key, batch, given, input_gradient)
