"""Implements APGD: projected gradient ascent with momentum and an adaptive step length.

It is algorithm 1 of Croce & Hein (2020), "Reliable evaluation of adversarial robustness with an
ensemble of diverse parameter-free attacks", on the cross-entropy or on the targeted
difference-of-logits ratio (equation 7).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from autolabel_jax.attacks import search
from autolabel_jax.attacks.ball import Ball, draw_noise, per_image

RHO = 0.75  # minimum share of steps that raise the loss, below which the step length is halved
MOMENTUM = 0.75
FIRST_STEP = 2.0  # in units of ε


class _State(struct.PyTreeNode):
    clean: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B]
    target: jax.Array  # int32 [B]
    image: jax.Array  # float32 [B, ...]
    previous: jax.Array  # float32 [B, ...], the image one step before
    gradient: jax.Array  # float32 [B, ...], at the image
    loss: jax.Array  # float32 [B], after the last step
    step: jax.Array  # float32 [B], step length
    best: search.Best  # the image of highest loss; reached: any image was misclassified
    best_gradient: jax.Array  # float32 [B, ...], at the best image
    wrong_image: jax.Array  # float32 [B, ...], the first misclassified image
    rises: jax.Array  # int32 [B], number of steps since the last checkpoint that raised the loss
    checked_loss: jax.Array  # float32 [B], highest loss at the last checkpoint
    halved: jax.Array  # bool [B], at the last checkpoint


def make_apgd(
    logits_fn: search.LogitsFn,
    ball: Ball,
    *,
    num_steps: int = 100,
    loss: str = "ce",
    in_python: bool | None = None,
) -> search.TargetedAttack:
    """Makes APGD from one random start on the surface of the ball.

    The attack returns the first misclassified point, or else the point of highest loss. Its keyword
    ``rank`` (from 0) selects the class that 'dlr' targets, by the order of the clean logits.

    Args:
      logits_fn: images in [0, 1] → logits.
      ball: the set of allowed points.
      num_steps: number of steps, 100 in AutoAttack.
      loss: 'ce', or 'dlr' for the targeted loss.
      in_python: see ``search.make_loop``.
    """
    loss_of = {"ce": _cross_entropy, "dlr": targeted_dlr}[loss]
    windows = jnp.asarray(checkpoint_windows(num_steps))

    def evaluate(image, label, target):
        loss_fn = partial(loss_of, label=label, target=target)
        loss, logits, gradient = search.loss_and_gradient(logits_fn, loss_fn, image)
        return loss, logits.argmax(-1) != label, gradient

    @jax.jit
    def start(clean, label, noise, rank):
        target = search.other_class(logits_fn(clean), label, rank)
        image = ball.random_point(clean, noise)
        loss, wrong, gradient = evaluate(image, label, target)
        return _State(
            clean=clean,
            label=label,
            target=target,
            image=image,
            previous=image,
            gradient=gradient,
            loss=loss,
            step=jnp.full(label.shape, FIRST_STEP * ball.radius),
            best=search.Best(image, loss, wrong),
            best_gradient=gradient,
            wrong_image=image,
            rises=jnp.zeros(label.shape, jnp.int32),
            checked_loss=loss,
            halved=jnp.ones(label.shape, bool),  # so that the first checkpoint uses the rises alone
        )

    def step(i, state):
        image = _move(ball, state, jnp.where(i > 0, MOMENTUM, 1.0))
        state = _record(state, image, *evaluate(image, state.label, state.target))
        return _checkpoint(state, windows[i])

    loop = search.make_loop(
        step, num_steps, done=lambda state: jnp.all(state.best.reached), in_python=in_python
    )

    def attack(image, label, keys, rank=0):
        noise = draw_noise(keys, 0, shape=image.shape[1:], which=ball.norm, far=True)
        state = loop(start(image, label, noise, rank))
        return search.choose(state.best.reached, state.wrong_image, state.best.image)

    return attack


def targeted_dlr(logits: jax.Array, *, label: jax.Array, target: jax.Array) -> jax.Array:
    """Returns -(z_label - z_target) / (z_(1) - (z_(3) + z_(4)) / 2), [B], for sorted logits z_(j).

    With fewer than four classes there is no fourth logit, and any other divisor of three or two
    logits would make the loss constant somewhere, so the loss is z_target - z_label.
    """
    difference = search.logit(logits, target) - search.logit(logits, label)
    if logits.shape[-1] < 4:
        return difference
    top = jax.lax.top_k(logits, 4)[0]
    return difference / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def checkpoint_windows(num_steps: int) -> np.ndarray:
    """Returns int32 [num_steps]: steps since the last checkpoint at each checkpoint, else 0.

    The first checkpoint is at 22 % of the steps. Each window is 3 % of the steps shorter than the
    one before, and at least 6 %.
    """
    window, least, shorter = (max(int(s * num_steps), 1) for s in (0.22, 0.06, 0.03))
    windows, last = np.zeros(num_steps, np.int32), -1
    while last + window < num_steps:
        last += window
        windows[last] = window
        window = max(window - shorter, least)
    return windows


def _cross_entropy(logits: jax.Array, *, label: jax.Array, target: jax.Array) -> jax.Array:
    del target
    return search.cross_entropy(logits, label)


def _move(ball: Ball, state: _State, share: jax.Array) -> jax.Array:
    length = per_image(state.step, state.image)
    ahead = ball.project(state.clean, state.image + length * ball.steepest(state.gradient))
    moved = share * (ahead - state.image) + (1 - share) * (state.image - state.previous)
    return ball.project(state.clean, state.image + moved)


def _record(
    state: _State, image: jax.Array, loss: jax.Array, wrong: jax.Array, gradient: jax.Array
) -> _State:
    higher = loss > state.best.loss
    return state.replace(
        image=image,
        previous=state.image,
        gradient=gradient,
        loss=loss,
        rises=state.rises + (loss > state.loss),
        best=search.Best(
            image=search.choose(higher, image, state.best.image),
            loss=jnp.where(higher, loss, state.best.loss),
            reached=state.best.reached | wrong,
        ),
        best_gradient=search.choose(higher, gradient, state.best_gradient),
        wrong_image=search.choose(wrong & ~state.best.reached, image, state.wrong_image),
    )


def _checkpoint(state: _State, window: jax.Array) -> _State:
    """Returns to the best image with half the step length if the ascent has stalled."""
    here = window > 0
    # ≤ as in the authors' code, where the paper has <.
    few_rises = state.rises <= RHO * window
    stuck = ~state.halved & (state.best.loss <= state.checked_loss)
    halve = here & (few_rises | stuck)
    return state.replace(
        image=search.choose(halve, state.best.image, state.image),
        gradient=search.choose(halve, state.best_gradient, state.gradient),
        step=jnp.where(halve, state.step / 2, state.step),
        rises=jnp.where(here, 0, state.rises),
        checked_loss=jnp.where(here, state.best.loss, state.checked_loss),
        halved=jnp.where(here, halve, state.halved),
    )
