"""FAB-T: the nearest image across the boundary to one other class, in ℓ∞.

Croce & Hein (2020), "Minimally distorted adversarial examples with a fast
adaptive boundary attack", in its targeted form: the boundary between the label
and the target is taken as a hyperplane at the current point, and the point
moves to where the hyperplane and the box [0, 1] meet nearest by.
"""

import jax
import jax.numpy as jnp
from flax import struct

from autolabel_jax.attacks import search
from autolabel_jax.attacks.ball import Ball, norm, per_image

OVERSHOOT = 1.05  # η: steps go a little past the hyperplane
BACKWARD = 0.9  # β: from an adversarial image, back toward the clean one
FINAL_STEPS = 3  # of a search between the clean and the nearest image, at the end
PAST = 1.001  # how far past the boundary that search aims, so that rounding does not undo it
MAX_BIAS = 0.1  # α_max: the most that a step is drawn toward the clean image's projection


@struct.dataclass
class _State:
    clean: jax.Array  # float32 [B, ...]
    label: jax.Array  # int32 [B]
    target: jax.Array  # int32 [B]
    image: jax.Array  # float32 [B, ...]
    nearest: jax.Array  # float32 [B, ...], adversarial
    distance: jax.Array  # float32 [B], of it; inf where none is found


def make_fab(
    logits_fn: search.LogitsFn, ball: Ball, *, num_steps: int = 100, in_python: bool | None = None
) -> search.Attack:
    """The nearest adversarial image where that lies in the ball, else the clean one.

    Its keyword ``rank`` (from 0) says which other class it aims at, by the clean logits.

    Raises:
      ValueError: the ball is not ℓ∞.
    """
    if ball.norm != "linf":
        raise ValueError(f"norm: got {ball.norm!r}, fab is written for 'linf'")
    minimal = make_minimal(
        logits_fn, num_steps=num_steps, enough=float(ball.radius), in_python=in_python
    )
    target_of = jax.jit(lambda image, label, r: search.other_class(logits_fn(image), label, r))

    def attack(image, label, keys, rank=0):
        del keys  # it starts from the clean image
        nearest, distance = minimal(image, label, target_of(image, label, rank))
        inside = ball.project(image, nearest)  # moves by the rounding of the bounds alone
        return search.choose(distance <= ball.radius, inside, image)

    return attack


def make_minimal(
    logits_fn: search.LogitsFn,
    *,
    num_steps: int,
    enough: float = 0.0,
    in_python: bool | None = None,
):
    """(image [B, ...], label [B], target [B]) → (nearest adversarial image, its distance [B]).

    Args:
      logits_fn: images in [0, 1] → logits.
      num_steps: 100 in AutoAttack.
      enough: no step is made once all distances are as small.
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


def _toward_boundary(logits_fn, state):
    def lead(logits):
        return search.logit(logits, state.target) - search.logit(logits, state.label)

    value, _, normal = search.loss_and_gradient(logits_fn, lead, state.image)
    # The hyperplane value + normal · (x - image) = 0, seen from the image and from the clean one.
    gap = jnp.sum((normal * (state.clean - state.image)).reshape(value.shape[0], -1), -1)
    own = project_on_hyperplane(state.image, normal, value)
    clean = project_on_hyperplane(state.clean, normal, value + gap)
    length = jnp.maximum(norm(own, "linf"), 1e-8)
    bias = jnp.minimum(length / (length + jnp.maximum(norm(clean, "linf"), 1e-8)), MAX_BIAS)
    bias = per_image(bias, own)
    own, clean = state.image + OVERSHOOT * own, state.clean + OVERSHOOT * clean
    return jnp.clip((1 - bias) * own + bias * clean, 0, 1)


def _search_on_segment(logits_fn, state):
    """Tries the point just past where the margin, if linear between clean and nearest, is 0."""

    def margin(image):
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
    """The ℓ∞-smallest δ with value + normal · δ = 0 and image + δ in [0, 1].

    Each pixel moves by min(r, what the box leaves it), with one r an image. What that gains is
    concave and piecewise linear in r: Newton's method from r = 0 climbs to the root and stops
    there. Out of reach, every pixel goes to its end.

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
