"""Equal functions share a program, others do not."""

import dataclasses
import functools

import helpers
import numpy as np
import pytest

from autolabel_jax import input_pipeline, programs, train_step
from autolabel_jax.augment import Mixup

jit = functools.partial(programs.jit, mesh=input_pipeline.make_mesh())


@dataclasses.dataclass(frozen=True)
class Scale:
    factor: float
    table: np.ndarray | None = None

    def apply(self, x):
        return self.factor * x + (0 if self.table is None else self.table.sum())


def scaled(x, *, scale, traced):
    traced.append(scale)
    return scale.apply(x)


def test_equal_functions_are_traced_once():
    traced = []  # a list has no hash: the same one in all
    for _ in range(2):
        scale = Scale(2.0, np.arange(3))
        function = functools.partial(scaled, scale=scale, traced=traced)
        assert jit(function)(np.float32(5)) == 13
    assert len(traced) == 1


@pytest.mark.parametrize(
    "other",
    [
        Scale(2.0, np.arange(3.0)),  # another dtype
        Scale(2.0, np.arange(3).reshape(3, 1)),
        Scale(2.0, np.array([0, 1, 3])),
        Scale(3.0, np.arange(3)),
        Scale(2.0),
        Mixup(),
    ],
)
def test_functions_of_other_values_are_others(other):
    one, two = (
        jit(functools.partial(scaled, scale=scale)) for scale in (Scale(2.0, np.arange(3)), other)
    )
    assert one is not two


def double(x):
    return 2 * x


def halve(x):
    return x / 2


def test_settings_of_jit_and_code_count():
    found = {jit(f, keep_unused=u) for f in (double, halve) for u in (True, False)}
    assert len(found) == 4


def test_methods_are_compared_by_their_objects():
    one, two, other = (jit(Scale(factor).apply) for factor in (2.0, 2.0, 4.0))
    assert one is two
    assert other(np.float32(3)) == 12 and one(np.float32(3)) == 6


def test_objects_that_cannot_be_compared_are_themselves_alone():
    one, two = ([1], [1])
    first, again, second = (jit(functools.partial(scaled, traced=x)) for x in (one, one, two))
    assert first is again and first is not second


def test_few_are_kept():
    for factor in range(programs.KEPT + 3):
        jit(Scale(float(factor)).apply)
    assert programs._compile.cache_info().currsize == programs.KEPT


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"seed": 1, "name": "other"}, True),
        ({"optimizer__momentum": 0.8}, False),
        ({"optimizer__learning_rate": 0.04}, False),
        ({"labels__rule": "smoothing"}, False),
        ({"augment__name": "cutout"}, False),
        ({"buckets__num": 3}, False),
        ({"loss__name": "focal"}, False),
        ({"model__width": 9}, False),
        ({"epochs": 3}, False),  # another schedule
        ({"class_weights": "balanced"}, False),
    ],
)
def test_runs_share_their_steps_if_nothing_but_the_seed_differs(changes, same):
    def steps(**own):
        experiment = helpers.make_experiment(helpers.make_dataset(), **own)
        return jit(functools.partial(train_step.train_steps, experiment=experiment))

    assert (steps(**changes) is steps()) == same


def test_another_data_set_has_another_program():
    found = set()
    for dataset in (helpers.make_dataset(), helpers.make_dataset(num_classes=5)):
        experiment = helpers.make_experiment(dataset)
        found.add(jit(functools.partial(train_step.train_steps, experiment=experiment)))
    assert len(found) == 2
