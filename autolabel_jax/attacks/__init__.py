"""Lists the attacks on a trained model, by the names that tables of results use.

An attack is a function

  attack(image float32 [B, ...] in [0, 1], label int32 [B], keys [B]) → float32 [B, ...]

made by ``make_…`` of its file from the model's logits and a ball. Every image that it returns lies
exactly in the ball and in [0, 1]. A name stands for a sequence of such attacks, each applied to the
images that survived those before it.
"""

import functools
from typing import Any, Protocol

import jax

from autolabel_jax import calibration
from autolabel_jax.attacks import apgd, fab, gradient, square
from autolabel_jax.attacks.ball import Ball
from autolabel_jax.attacks.ensemble import Attacked, Ensemble, robust_accuracy
from autolabel_jax.attacks.search import Attack, LogitsFn

__all__ = ["TABLE", "Attacked", "Ball", "Ensemble", "create", "robust_accuracy"]

EPSILON = 8 / 255


Stages = list[tuple[str, Attack]]


class MakeStages(Protocol):
    """Makes the named attacks of an entry of ``TABLE``."""

    def __call__(
        self, logits_fn: LogitsFn, ball: Ball, num_classes: int, **settings: Any
    ) -> Stages:
        """Returns (name, attack) pairs in the order in which they run."""
        ...


def _fgsm(logits_fn: LogitsFn, ball: Ball, num_classes: int, **how: Any) -> Stages:
    del num_classes
    return [("fgsm", gradient.make_fgsm(logits_fn, ball, **how))]


def _pgd20(
    logits_fn: LogitsFn, ball: Ball, num_classes: int, restarts: int = 1, **how: Any
) -> Stages:
    del num_classes
    step_size = ball.epsilon / 4  # 2/255 at 8/255
    pgd = gradient.make_pgd(
        logits_fn, ball, num_steps=20, step_size=step_size, restarts=restarts, **how
    )
    return [("pgd20", pgd)]


def _auto(
    logits_fn: LogitsFn,
    ball: Ball,
    num_classes: int,
    num_steps: int = 100,
    num_queries: int = 5000,
    **how: Any,
) -> Stages:
    """Makes the attacks of AutoAttack's standard version."""
    ranks = range(min(9, num_classes - 1))
    apgd_t = apgd.make_apgd(logits_fn, ball, loss="dlr", num_steps=num_steps, **how)
    fab_t = fab.make_fab(logits_fn, ball, num_steps=num_steps, **how)
    return [
        ("apgd_ce", apgd.make_apgd(logits_fn, ball, num_steps=num_steps, **how)),
        *((f"apgd_t_{rank + 1}", functools.partial(apgd_t, rank=rank)) for rank in ranks),
        *((f"fab_t_{rank + 1}", functools.partial(fab_t, rank=rank)) for rank in ranks),
        ("square", square.make_square(logits_fn, ball, num_queries=num_queries, **how)),
    ]


TABLE: dict[str, MakeStages] = {"fgsm": _fgsm, "pgd20": _pgd20, "auto": _auto}


def create(
    name: str,
    logits_fn: LogitsFn,
    *,
    num_classes: int,
    epsilon: float = EPSILON,
    norm: str = "linf",
    **settings: Any,
) -> Ensemble:
    """Makes the attacks that a name stands for, on one model, for ``robust_accuracy``.

    Args:
      name: 'fgsm', 'pgd20' or 'auto' (AutoAttack's standard version, ℓ∞ alone).
      logits_fn: float32 images [B, ...] in [0, 1] → logits [B, K], in inference mode.
      num_classes: K, 2 or more.
      epsilon: radius of the ball, in units of a full pixel range of 1.
      norm: 'linf' or 'l2'.
      **settings: 'pgd20' takes ``restarts`` and ``momentum``, 'auto' takes ``num_steps`` and
        ``num_queries``, and all take ``in_python`` (see ``search.make_loop``).

    Raises:
      ValueError: the name or norm is unknown, ε is below 0, there are fewer than two classes,
        or 'auto' is asked for in ℓ2.
    """
    if name not in TABLE:
        raise ValueError(f"attacks: got {name!r}, expected one of: {', '.join(TABLE)}")
    if num_classes < 2:
        raise ValueError(f"num_classes: got {num_classes}, must be 2 or more")
    ball = Ball(epsilon, norm)
    if name == "auto" and norm != "linf":
        raise ValueError(f"norm: got {norm!r}, 'auto' supports only 'linf'; 'pgd20' takes 'l2'")
    predict = jax.jit(lambda image: calibration.top_class(logits_fn(image)))
    return Ensemble(predict, tuple(TABLE[name](logits_fn, ball, num_classes, **settings)))
