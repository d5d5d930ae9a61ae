"""Adversarial training: max over ‖δ‖∞ ≤ ε of the loss, by projected gradient ascent.

PGD of Madry et al. (2018), "Towards Deep Learning Models Resistant to
Adversarial Attacks", with ε ~ U[0, max_epsilon] for each example; the
distance is ε / max_epsilon. The model is in inference mode under attack.
"""

import jax
import jax.numpy as jnp

from autolabel_jax import accumulation, image_ops
from autolabel_jax.augment import none
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient


def draw(key: jax.Array, num: int, **_) -> Distance:
    """ε / max_epsilon ~ U[0, 1]."""
    return Distance(group=jnp.zeros(num, jnp.int32), value=jax.random.uniform(key, (num,)))


def apply(
    key: jax.Array,
    batch: Batch,
    distance: Distance,
    input_gradient: InputGradient,
    *,
    max_epsilon: float,
    num_steps: int,
    step_ratio: float,
) -> Augmented:
    """PGD from a random start, each example in its own ball.

    Args:
      key: typed PRNG key.
      batch: images in [0, 1] or uint8.
      distance: ε / max_epsilon of each example.
      input_gradient: gradient of each example's loss in its pixels.
      max_epsilon: largest ε, in units of a full pixel range of 1.
      num_steps: ascent steps.
      step_ratio: length of a step as a share of ε (2/255 at 8/255 is 1/4).
    """
    clean = image_ops.to_float(batch.input)
    epsilon = (max_epsilon * distance.value).reshape((-1,) + (1,) * (clean.ndim - 1))
    low, high = jnp.maximum(clean - epsilon, 0), jnp.minimum(clean + epsilon, 1)
    start = clean + epsilon * jax.random.uniform(key, clean.shape, minval=-1, maxval=1)

    def ascend(_, image):
        gradient = input_gradient(image, batch.label)
        return jnp.clip(image + step_ratio * epsilon * jnp.sign(gradient), low, high)

    unroll = accumulation.loop_unroll(num_steps)
    image = jax.lax.fori_loop(0, num_steps, ascend, jnp.clip(start, low, high), unroll=unroll)
    return none.unmixed(image, batch.label, distance)
