"""Provides the loop of attacks, the loss with its gradient, and the best image so far."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax.attacks.ball import per_image

# float32 images [B, ...] in [0, 1] → logits float32 [B, K], the model in inference mode.
LogitsFn = Callable[[jax.Array], jax.Array]
# (images [B, ...], labels int32 [B], one typed key per image [B]) → adversarial images [B, ...].
Attack = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

State = TypeVar("State")


class TargetedAttack(Protocol):
    """An ``Attack`` whose target is chosen by the order of the clean logits."""

    def __call__(
        self, image: jax.Array, label: jax.Array, keys: jax.Array, rank: int = 0
    ) -> jax.Array:
        """Attacks towards the class of this rank, from 0, among the wrong classes."""
        ...


CHECK_EVERY = 10  # steps between two checks from the host whether the loop is done


class Best(struct.PyTreeNode):
    """The best image so far: one that reached the goal, else the one of highest loss."""

    image: jax.Array  # float32 [B, ...]
    loss: jax.Array  # float32 [B]
    reached: jax.Array  # bool [B]


def nothing_yet(image: jax.Array) -> Best:
    """Returns the initial state, which any image replaces."""
    num = image.shape[0]
    return Best(image=image, loss=jnp.full(num, -jnp.inf), reached=jnp.zeros(num, bool))


def keep(best: Best, image: jax.Array, loss: jax.Array, reached: jax.Array) -> Best:
    """Returns the better of the two for each image."""
    better = (reached & ~best.reached) | ((reached == best.reached) & (loss > best.loss))
    return Best(
        image=choose(better, image, best.image),
        loss=jnp.where(better, loss, best.loss),
        reached=best.reached | reached,
    )


def choose(which: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Selects whole images: ``yes`` where ``which`` bool [B] holds, else ``no``."""
    return jnp.where(per_image(which, yes), yes, no)


def loss_and_gradient(
    logits_fn: LogitsFn, loss_fn: Callable[[jax.Array], jax.Array], image: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns loss [B], logits [B, K], and the gradient of each loss in its own image [B, ...]."""

    # In inference mode no image affects another's loss, so the gradient of the sum holds all.
    def total(image):
        logits = logits_fn(image)
        loss = loss_fn(logits)
        return jnp.sum(loss), (loss, logits)

    (_, (loss, logits)), gradient = jax.value_and_grad(total, has_aux=True)(image)
    return loss, logits, gradient


def other_class(logits: jax.Array, label: jax.Array, rank: Any) -> jax.Array:
    """Returns the class with the rank-th highest logit (from 0) other than the label, int32 [B]."""
    own = jnp.arange(logits.shape[-1]) == label[:, None]
    order = jnp.argsort(jnp.where(own, jnp.inf, -logits), axis=-1)
    return jnp.take(order, rank, axis=-1)


def logit(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns the logit of each label, [B]."""
    return jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns -log softmax(logits)[label], [B], with an accurate gradient at high confidence.

    It is log(1 + Σ_k exp(z_k - z_label)) over the other classes. In softmax minus one-hot, all
    digits cancel in float32 when the label has all but 1e-7 of the probability.
    """
    own = jnp.arange(logits.shape[-1]) == label[:, None]
    others = jax.nn.logsumexp(logits, axis=-1, where=~own)
    return jax.nn.softplus(others - logit(logits, label))


def make_loop(
    step: Callable[[jax.Array, State], State],
    num_steps: int,
    *,
    done: Callable[[State], jax.Array] | None = None,
    in_python: bool | None = None,
) -> Callable[[State], State]:
    """Compiles a loop: state → state after ``num_steps`` steps.

    Args:
      step: (index of the step int32 [], state) → state.
      num_steps: maximum number of steps.
      done: state → bool []; whether further steps do not change the result.
      in_python: whether to dispatch each step, instead of one ``lax`` loop. None does so on the
        CPU, where convolution gradients are 15-80 times slower inside a loop (jax issue 12868).
    """
    if jax.default_backend() == "cpu" if in_python is None else in_python:
        step, done = jax.jit(step), done and jax.jit(done)

        def run(state):
            for i in range(num_steps):
                if done and i % CHECK_EVERY == 0 and done(state):
                    break
                state = step(jnp.int32(i), state)
            return state

        return run

    def unfinished(carry):
        i, state = carry
        return (i < num_steps) & ~(done(state) if done else jnp.array(False))

    def body(carry):
        i, state = carry
        return i + 1, step(i, state)

    return jax.jit(lambda state: jax.lax.while_loop(unfinished, body, (jnp.int32(0), state))[1])
