"""Makes the optimiser and its learning rate schedule, and averages parameters."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict, FrozenConfigDict

from autolabel_jax import registry
from autolabel_jax.registry import setting

SCHEDULES = ("cosine", "step")
Mask = Callable[[Any], Any] | None  # from parameters to a tree of bools; None = all


def _decay(default: float, help: str) -> Any:
    return setting(default, help, low=0, valid=lambda value: value < 1, needs="below 1")


class Optimizer:
    """Base of optimisers; the dataclass fields of a subclass are its settings."""

    def transformation(
        self, schedule: optax.Schedule, weight_decay: float, mask: Mask
    ) -> optax.GradientTransformation:
        """Makes the transformation from gradients to updates.

        Args:
          schedule: learning rate by the number of updates done so far.
          weight_decay: λ.
          mask: which parameters decay.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no transformation")


@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
    """SGD with momentum.

    Weight decay is that of λ/2·‖w‖² in the loss: λ·w is added to the gradient before momentum and
    learning rate.
    """

    momentum: float = _decay(0.9, "momentum")
    nesterov: bool = setting(True, "Nesterov momentum")

    def transformation(
        self, schedule: optax.Schedule, weight_decay: float, mask: Mask
    ) -> optax.GradientTransformation:
        """Makes the transformation, see ``Optimizer``."""
        return optax.chain(
            optax.add_decayed_weights(weight_decay, mask=mask),
            optax.sgd(schedule, momentum=self.momentum, nesterov=self.nesterov),
        )


@dataclasses.dataclass(frozen=True)
class AdamW(Optimizer):
    """AdamW (Loshchilov & Hutter 2019); the learning rate alone scales the decay λ·w."""

    beta1: float = _decay(0.9, "decay of the mean gradient")
    beta2: float = _decay(0.999, "decay of the mean square")
    epsilon: float = setting(1e-8, "added to the root of the mean square", low=0)

    def transformation(
        self, schedule: optax.Schedule, weight_decay: float, mask: Mask
    ) -> optax.GradientTransformation:
        """Makes the transformation, see ``Optimizer``."""
        return optax.adamw(
            schedule,
            b1=self.beta1,
            b2=self.beta2,
            eps=self.epsilon,
            weight_decay=weight_decay,
            mask=mask,
        )


@dataclasses.dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al. 2023); the learning rate alone scales the decay λ·w."""

    beta1: float = _decay(0.9, "weight of the momentum in an update")
    lion_beta2: float = _decay(0.99, "decay of the momentum")

    def transformation(
        self, schedule: optax.Schedule, weight_decay: float, mask: Mask
    ) -> optax.GradientTransformation:
        """Makes the transformation, see ``Optimizer``."""
        return optax.lion(
            schedule, b1=self.beta1, b2=self.lion_beta2, weight_decay=weight_decay, mask=mask
        )


TABLE: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW, "lion": Lion}


def create(
    config: ConfigDict, steps_per_epoch: int, factors: Mapping[str, float] | None = None
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Makes the optimiser that ``config.optimizer`` describes.

    Args:
      config: config with the fields optimizer.* and epochs.
      steps_per_epoch: number of updates per epoch.
      factors: factor of the learning rate of each layer of the network, see ``layer_factors``;
        layers of factor 0 are frozen. None = 1 everywhere.

    Returns:
      (transformation, schedule); the schedule maps the number of updates done so far to the
      learning rate of the next one.

    Raises:
      ValueError: a field of config.optimizer is out of its range.
    """
    settings = FrozenConfigDict(config.optimizer)
    parts = None if factors is None else tuple(factors.items())
    return _create(check(config), settings, config.epochs, steps_per_epoch, parts)


@functools.lru_cache(maxsize=8)  # of equal settings one object, so that programs are shared
def _create(
    method: type[Optimizer],
    settings: Any,  # config.optimizer, frozen
    epochs: float,
    steps_per_epoch: int,
    factors: tuple[tuple[str, float], ...] | None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    schedule = make_schedule(settings, epochs, steps_per_epoch)
    mask = _kernels if settings.decay_kernels_only else None
    optimizer = registry.bind("optimizer", method, settings)
    transformation = optimizer.transformation(schedule, settings.weight_decay, mask)
    if factors is not None and {factor for _, factor in factors} != {1.0}:
        transformation = _scaled(transformation, dict(factors))
    return transformation, schedule


def layer_factors(settings: ConfigDict, layers: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns the factor of the learning rate of each layer of a network, by name.

    The head has 1. A layer that is d steps before it has backbone_scale·layer_decay^d.

    Args:
      settings: config.optimizer.
      layers: names of the layers, from the input to the head; layers of one group count as one,
        see ``models.layer_groups``.
    """
    last = len(layers) - 1
    scale, decay = settings.backbone_scale, settings.layer_decay
    return {
        name: 1.0 if depth == last else scale * decay ** (last - depth)
        for depth, group in enumerate(layers)
        for name in group
    }


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


def _scaled(
    transformation: optax.GradientTransformation, factors: Mapping[str, float]
) -> optax.GradientTransformation:
    """Multiplies the updates of each layer by its factor; frozen layers need no momentum."""

    def by_layer(tree: Any) -> Any:
        def factor(path: tuple[Any, ...], _: Any) -> float:
            return factors[path[1].key]  # after 'net'

        return jax.tree_util.tree_map_with_path(factor, tree)

    def kinds(params: Any) -> Any:
        return jax.tree.map(lambda factor: "trained" if factor else "frozen", by_layer(params))

    def scale(updates: Any, params: Any) -> Any:
        del params
        return jax.tree.map(lambda update, factor: factor * update, updates, by_layer(updates))

    parts: dict[Hashable, Any] = {"trained": transformation, "frozen": optax.set_to_zero()}
    return optax.chain(optax.multi_transform(parts, kinds), optax.stateless(scale))


def check(config: ConfigDict) -> type[Optimizer]:
    """Checks every field of ``config.optimizer``, and returns the class of the optimiser.

    Raises:
      ValueError: the optimiser is unknown, or a field is out of its range.
    """
    settings, epochs = config.optimizer, config.epochs
    method = registry.find("optimizer.name", settings.name, TABLE, Optimizer)
    registry.check("optimizer", method, settings)
    registry.check_all("optimizer", TABLE, settings)
    if settings.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ValueError(f"optimizer.schedule: got {settings.schedule!r}, expected one of: {known}")
    for field in ("learning_rate", "weight_decay", "decay", "backbone_scale"):
        if not settings[field] >= 0:
            raise ValueError(f"optimizer.{field}: got {settings[field]}, must be at least 0")
    if not 0 <= settings.ema < 1:
        raise ValueError(f"optimizer.ema: got {settings.ema}, must be in [0, 1)")
    if not 0 < settings.layer_decay <= 1:
        raise ValueError(f"optimizer.layer_decay: got {settings.layer_decay}, must be in (0, 1]")
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
    return method
