"""An ensemble whose compiled programs take the model's weights as arguments.

A model that is closed over is a constant of every program: slow to compile, and compiled again
for the next model of the same shape. Here, all models of a shape share their programs, in the
persistent compilation cache too.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from autolabel_jax import attacks, calibration
from autolabel_jax.attacks.ensemble import Ensemble

# (variables, float32 images [B, ...] in [0, 1]) → logits [B, K], in inference mode.
ModelFn = Callable[[Any, jax.Array], jax.Array]


def create(
    name: str,
    model_fn: ModelFn,
    variables: Any,
    *,
    num_classes: int,
    in_python: bool | None = None,
    **settings: Any,
) -> Ensemble:
    """As ``attacks.create`` of the model with these variables, to the same images.

    Args:
      name: one of ``attacks.TABLE``.
      model_fn: pure.
      variables: variables of the model.
      num_classes: K.
      in_python: see ``search.make_loop``. A loop in Python is not one program: the variables
        are closed over there. None: on the CPU with convolutions, nowhere else.
      **settings: as ``attacks.create``.

    Raises:
      ValueError: as ``attacks.create``.
    """
    if in_python is None:
        in_python = jax.default_backend() == "cpu" and _has_convolutions(variables)
    settings |= {"num_classes": num_classes, "in_python": in_python}

    def closed(variables):
        return attacks.create(name, lambda image: model_fn(variables, image), **settings)

    ensemble = closed(variables)
    if in_python:
        return ensemble
    programs: dict[Any, Callable] = {}

    def stage(place, attack):
        # Stages that differ in a keyword alone, such as the target's rank, share a program.
        function, how = getattr(attack, "func", attack), getattr(attack, "keywords", {})
        if function not in programs:
            programs[function] = _program(closed, place)
        return functools.partial(_call, programs[function], variables, how)

    predict = jax.jit(lambda variables, image: calibration.top_class(model_fn(variables, image)))
    stages = [(name, stage(i, attack)) for i, (name, attack) in enumerate(ensemble.stages)]
    return Ensemble(functools.partial(predict, variables), tuple(stages))


def _has_convolutions(variables: Any) -> bool:
    """A kernel of a dense layer has two axes, one of a convolution of images four."""
    return any(leaf.ndim > 2 for leaf in jax.tree.leaves(variables))


def _program(closed, place):
    @jax.jit
    def run(variables, image, label, keys, how):
        attack = closed(variables).stages[place][1]
        return getattr(attack, "func", attack)(image, label, keys, **how)

    return run


def _call(program, variables, how, image, label, keys):
    return program(variables, image, label, keys, how)
