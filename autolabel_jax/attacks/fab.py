"""Implements FAB-T, which finds the nearest image across the boundary to another class, in ℓ∞.

It is the targeted form of Croce & Hein (2020), "Minimally distorted adversarial examples with a
fast adaptive boundary attack". Each step approximates the boundary between the label and the target
by a hyperplane at the current point, and moves the point to the nearest one on the hyperplane in
[0, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax.attacks import search
from autolabel_jax.attacks.ball import Ball, norm, per_image

OVERSHOOT = 1.05  # η: steps end a little past the hyperplane
BACKWARD = 0.9  # β: factor of a step back from an adversarial image to the clean one
FINAL_STEPS = 3  # of the final search between the clean and the nearest image
PAST = 1.001  # the final search aims past the boundary, so that rounding does not undo it
MAX_BIAS = 0.1  # α_max: largest weight of the clean image's projection in a step


class _State(struct.PyTreeNode):
    clean: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B]
    target: jax.Array  # int32 [B]
    image: jax.Array  # float32 [B, ...]
    nearest: jax.Array  # float32 [B, ...], nearest adversarial image
    distance: jax.Array  # float32 [B], its distance; inf if there is none


# (image [B, ...], label [B], target [B]) → (nearest adversarial image [B, ...], its distance [B])
Minimal = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def make_fab(
    logits_fn: search.LogitsFn, ball: Ball, *, num_steps: int = 100, in_python: bool | None = None
) -> search.TargetedAttack:
    """Makes an attack that returns the nearest adversarial image in the ball, else the clean one.

    Its keyword ``rank`` (from 0) selects the class it targets, by the order of the clean logits.

    Args:
      logits_fn: images in [0, 1] → logits.
      ball: the set of allowed points, ℓ∞.
      num_steps: number of steps, 100 in AutoAttack.
      in_python: see ``search.make_loop``.

    Raises:
      ValueError: the ball is not ℓ∞.
    """
    if ball.norm != "linf":
        raise ValueError(f"norm: got {ball.norm!r}, fab supports only 'linf'")
    minimal = make_minimal(
        logits_fn, num_steps=num_steps, enough=float(ball.radius), in_python=in_python
    )
    target_of = jax.jit(lambda image, label, r: search.other_class(logits_fn(image), label, r))

    def attack(image, label, keys, rank=0):
        del keys  # it starts from the clean image
        nearest, distance = minimal(image, label, target_of(image, label, rank))
        inside = ball.project(image, nearest)  # changes it only by the rounding of the bounds
        return search.choose(distance <= ball.radius, inside, image)

    return attack


def make_minimal(
    logits_fn: search.LogitsFn,
    *,
    num_steps: int,
    enough: float = 0.0,
    in_python: bool | None = None,
) -> Minimal:
    """Makes the search for the nearest adversarial image, without a ball.

    Args:
      logits_fn: images in [0, 1] → logits.
      num_steps: number of steps, 100 in AutoAttack.
      enough: the search stops when all distances are at most this.
      in_python: see ``search.make_loop``.
    """

    def step(i, state):
        del i
        image = _toward_boundary(logits_fn, state)
        wrong = logits_fn(image).argmax(-1) != state.label
        distance = norm(image - state.clean, "linf")
        nearer = wrong & (distance < state.distance)
        back = state.clean + BACKWARD * (image - state.clean)
        return state.replace(
            image=search.choose(wrong, back, image),
            nearest=search.choose(nearer, image, state.nearest),
            distance=jnp.where(nearer, distance, state.distance),
        )

    @jax.jit
    def final_search(state):
        for _ in range(FINAL_STEPS):
            state = _search_on_segment(logits_fn, state)
        return state.nearest, state.distance

    loop = search.make_loop(
        step, num_steps, done=lambda state: jnp.all(state.distance <= enough), in_python=in_python
    )

    def minimal(image, label, target):
        none = jnp.full(label.shape, jnp.inf)
        return final_search(loop(_State(image, label, target, image, image, none)))

    return minimal


def _toward_boundary(logits_fn: search.LogitsFn, state: _State) -> jax.Array:
    def lead(logits: jax.Array) -> jax.Array:
        return search.logit(logits, state.target) - search.logit(logits, state.label)

    value, _, normal = search.loss_and_gradient(logits_fn, lead, state.image)
    # The hyperplane value + normal · (x - image) = 0, relative to the image and to the clean one.
    gap = jnp.sum((normal * (state.clean - state.image)).reshape(value.shape[0], -1), -1)
    own = project_on_hyperplane(state.image, normal, value)
    clean = project_on_hyperplane(state.clean, normal, value + gap)
    length = jnp.maximum(norm(own, "linf"), 1e-8)
    bias = jnp.minimum(length / (length + jnp.maximum(norm(clean, "linf"), 1e-8)), MAX_BIAS)
    bias = per_image(bias, own)
    own, clean = state.image + OVERSHOOT * own, state.clean + OVERSHOOT * clean
    return jnp.clip((1 - bias) * own + bias * clean, 0, 1)


def _search_on_segment(logits_fn: search.LogitsFn, state: _State) -> _State:
    """Tries the point just past the zero of a margin that is linear from clean to nearest."""

    def margin(image: jax.Array) -> jax.Array:
        logits = logits_fn(image)
        other = search.other_class(logits, state.label, 0)
        return search.logit(logits, other) - search.logit(logits, state.label)

    inside, outside = margin(state.clean), margin(state.nearest)
    share = -inside / jnp.maximum(outside - inside, 1e-12) * PAST
    image = state.clean + per_image(share, state.clean) * (state.nearest - state.clean)
    distance = norm(image - state.clean, "linf")
    nearer = (margin(image) > 0) & (distance < state.distance) & jnp.isfinite(state.distance)
    return state.replace(
        nearest=search.choose(nearer, image, state.nearest),
        distance=jnp.where(nearer, distance, state.distance),
    )


def project_on_hyperplane(image: jax.Array, normal: jax.Array, value: jax.Array) -> jax.Array:
    """Returns the ℓ∞-smallest δ with value + normal · δ = 0 and image + δ in [0, 1].

    Each pixel moves by min(r, its room in the box), with one r per image. The value gained is
    concave and piecewise linear in r, so Newton's method from r = 0 climbs to the root and stops
    there. If the hyperplane is out of reach, every pixel moves to the end of its range.

    Args:
      image: float32 [B, ...] in [0, 1].
      normal: float32 [B, ...].
      value: float32 [B], of the linear function at the image.

    Returns:
      δ, float32 [B, ...].
    """
    num = image.shape[0]
    direction = jnp.sign(normal) * -per_image(jnp.sign(value), normal)
    room = jnp.where(direction > 0, 1 - image, image)
    weight, limit = jnp.abs(normal).reshape(num, -1), room.reshape(num, -1)

    def newton(carry):
        r, _ = carry
        free = limit > r[:, None]
        missing = jnp.abs(value) - jnp.sum(jnp.where(free, 0, weight * limit), -1)
        slope = jnp.sum(jnp.where(free, weight, 0), -1)
        # 2 is more than any pixel can move.
        new = jnp.where(slope > 0, missing / jnp.where(slope > 0, slope, 1), 2.0)
        return jnp.clip(new, r, 2.0), r

    start = jnp.zeros(num)
    r, _ = jax.lax.while_loop(lambda c: jnp.any(c[0] > c[1]), newton, (start, start - 1))
    return direction * jnp.minimum(per_image(r, image), room)
