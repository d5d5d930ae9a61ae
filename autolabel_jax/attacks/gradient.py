"""Implements FGSM and PGD, which ascend the cross-entropy inside the ball.

See Goodfellow et al. (2015), "Explaining and Harnessing Adversarial Examples", and Madry et al.
(2018), "Towards Deep Learning Models Resistant to Adversarial Attacks". Momentum follows Dong et
al. (2018), "Boosting Adversarial Attacks with Momentum" (MI-FGSM).
"""

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax.attacks import search
from autolabel_jax.attacks.ball import Ball, draw_noise, norm, per_image


class _State(struct.PyTreeNode):
    clean: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B]
    image: jax.Array  # float32 [B, ...]
    velocity: jax.Array  # float32 [B, ...]
    best: search.Best


def make_fgsm(
    logits_fn: search.LogitsFn, ball: Ball, *, targeted: bool = False, in_python: bool | None = None
) -> search.Attack:
    """Makes FGSM, one step of length ε from the clean image; see ``make_pgd``."""
    return make_pgd(
        logits_fn,
        ball,
        num_steps=1,
        step_size=ball.epsilon,
        random_start=False,
        targeted=targeted,
        in_python=in_python,
    )


def make_pgd(
    logits_fn: search.LogitsFn,
    ball: Ball,
    *,
    num_steps: int,
    step_size: float,
    restarts: int = 1,
    random_start: bool = True,
    momentum: float = 0.0,
    targeted: bool = False,
    in_python: bool | None = None,
) -> search.Attack:
    """Makes PGD: steps along sign(g) (ℓ∞) or g / ‖g‖₂ (ℓ2), with g ← momentum · g + ∇ / mean|∇|.

    Among all points after a step in all restarts, the attack returns a misclassified one, or else
    the one of highest loss. Restart r does not depend on the number of restarts.

    Args:
      logits_fn: images in [0, 1] → logits.
      ball: the set of allowed points.
      num_steps: number of steps per restart.
      step_size: step length, in units of a full pixel range of 1.
      restarts: number of restarts, 1 or more.
      random_start: whether to start from a random point of the ball, not from the clean image.
      momentum: 0 is PGD; 1, with random_start=False and step ε / steps, is the published MI-FGSM.
      targeted: whether the labels are the classes to reach, not those to leave.
      in_python: see ``search.make_loop``.
    """

    def judge(logits, label):
        loss, hit = search.cross_entropy(logits, label), logits.argmax(-1) == label
        return (-loss, hit) if targeted else (loss, ~hit)

    @jax.jit
    def start(best, clean, label, noise):
        image = clean if noise is None else ball.random_point(clean, noise)
        return _State(clean, label, image, jnp.zeros_like(clean), best)

    def step(i, state):
        loss, logits, gradient = search.loss_and_gradient(
            logits_fn, lambda logits: judge(logits, state.label)[0], state.image
        )
        # The point before the first step is not a result of the attack.
        reached = judge(logits, state.label)[1] & (i > 0)
        best = search.keep(state.best, state.image, jnp.where(i > 0, loss, -jnp.inf), reached)
        mean = norm(gradient, "l1") / gradient[0].size
        unit = gradient / per_image(jnp.maximum(mean, 1e-30), gradient)
        velocity = momentum * state.velocity + unit
        image = ball.project(state.clean, state.image + step_size * ball.steepest(velocity))
        return state.replace(image=image, velocity=velocity, best=best)

    @jax.jit
    def finish(state):
        return search.keep(state.best, state.image, *judge(logits_fn(state.image), state.label))

    loop = search.make_loop(step, num_steps, in_python=in_python)

    def attack(image, label, keys):
        best = search.nothing_yet(image)
        for restart in range(restarts):
            noise = None
            if random_start:
                noise = draw_noise(keys, restart, shape=image.shape[1:], which=ball.norm)
            best = finish(loop(start(best, image, label, noise)))
        return best.image

    return attack
