"""Makes SGD with momentum and its learning rate schedule, and averages parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

SCHEDULES = ("cosine", "step")


def create(
    config: ConfigDict, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Makes the optimiser that ``config.optimizer`` describes.

    Weight decay is that of λ/2·‖w‖² in the loss: λ·w is added to the gradient before momentum and
    learning rate.

    Args:
      config: config with the fields optimizer.* and epochs.
      steps_per_epoch: number of updates per epoch.

    Returns:
      (transformation, schedule); the schedule maps the number of updates done so far to the
      learning rate of the next one.

    Raises:
      ValueError: a field of config.optimizer is out of its range.
    """
    settings = config.optimizer
    check(config)
    schedule = make_schedule(settings, config.epochs, steps_per_epoch)
    transformation = optax.chain(
        optax.add_decayed_weights(
            settings.weight_decay, mask=_kernels if settings.decay_kernels_only else None
        ),
        optax.sgd(schedule, momentum=settings.momentum, nesterov=settings.nesterov),
    )
    return transformation, schedule


def make_schedule(settings: ConfigDict, epochs: float, steps_per_epoch: int) -> optax.Schedule:
    """Makes a schedule of linear warm-up, followed by a cosine to 0 or by steps down.

    With W steps of warm-up, update t = 0, 1, … has learning_rate·(t+1)/(W+1) while t < W, which is
    linear from 0 without an update at 0. The cosine starts at learning_rate at t = W and would
    reach 0 just after the last update. A boundary inside the warm-up takes effect at its end.

    Args:
      settings: config.optimizer.
      epochs: number of training epochs.
      steps_per_epoch: number of updates per epoch.
    """
    steps = round(epochs * steps_per_epoch)
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    peak = settings.learning_rate
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    if settings.schedule == "cosine":
        fall = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
        return optax.join_schedules([rise, fall], [warmup])
    count = len(settings.boundaries)
    levels = [optax.constant_schedule(peak * settings.decay**i) for i in range(count + 1)]
    drops = [max(round(share * steps), warmup) for share in settings.boundaries]
    return optax.join_schedules([rise, *levels], [warmup, *drops])


def ema_update(average: Any, new: Any, decay: float, num_averaged: jax.Array) -> Any:
    """Adds to a moving average: decay·average + (1 - decay)·new.

    The decay rises from 0 to its value as n / (n + 9), n the number of values averaged so far, so
    that the average follows the first updates and forgets where it began, as in TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``.

    Args:
      average: average so far; without effect if ``num_averaged`` is 0.
      new: next value, of the same structure.
      decay: decay after the start, in [0, 1).
      num_averaged: int32 [], number of values in ``average``.

    Returns:
      The average with ``new``.
    """
    decay_now = jnp.minimum(decay, num_averaged / (num_averaged + 9))
    return optax.incremental_update(new, average, step_size=1 - decay_now)


def _kernels(params: Any) -> Any:
    """Returns a tree of bools that is True for the weights of convolutions and dense layers."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def check(config: ConfigDict) -> None:
    """Checks the range of every field of ``config.optimizer``; raises as ``create``."""
    settings, epochs = config.optimizer, config.epochs
    if settings.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ValueError(f"optimizer.schedule: got {settings.schedule!r}, expected one of: {known}")
    for field in ("learning_rate", "weight_decay", "decay"):
        if not settings[field] >= 0:
            raise ValueError(f"optimizer.{field}: got {settings[field]}, must be at least 0")
    for field in ("momentum", "ema"):
        if not 0 <= settings[field] < 1:
            raise ValueError(f"optimizer.{field}: got {settings[field]}, must be in [0, 1)")
    if not 0 <= settings.warmup_epochs <= epochs:
        raise ValueError(
            f"optimizer.warmup_epochs: got {settings.warmup_epochs}, must be between 0 and "
            f"epochs={epochs}"
        )
    shares = list(settings.boundaries)
    numbers = all(isinstance(share, int | float) for share in shares)
    if not numbers or shares != sorted(shares) or not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"optimizer.boundaries: got {tuple(shares)}, must be increasing fractions "
            "of the epochs between 0 and 1, such as (0.3, 0.6, 0.8)"
        )
