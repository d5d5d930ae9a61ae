"""Measures held-out examples after an epoch, in a full pass or in visits, and updates the labels.

A run with ``experiment.visits`` carries the sums of its visits from epoch to epoch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import calibration, calibration_step, input_pipeline
from autolabel_jax.experiment import Experiment
from autolabel_jax.types import Array, Batch, BucketStats, CarriedStats, TrainState

CALIBRATION, ORDER = 2, 3  # purposes of an epoch's random numbers


@dataclasses.dataclass(frozen=True)
class LabelUpdates:
    """Holds what stays the same from the first update to the last."""

    config: ConfigDict
    experiment: Experiment
    whole: Batch  # calibration split on the device
    step: calibration_step.CalibrationStep
    carry: Callable[[CarriedStats, BucketStats], CarriedStats]
    apply: Callable[[Any, Any], Any]  # (state of the label rule, result of ``measure``) → state

    def measure(
        self,
        state: TrainState,
        epoch: int,
        carried: CarriedStats | None,
        on_step: Callable[[], None] = lambda: None,
    ) -> BucketStats | CarriedStats:
        """Returns the sums of a full pass or, with ``carried``, of the visits up to this epoch."""
        seed, num = self.config.seed, self.whole.label.shape[0]
        key = input_pipeline.epoch_key(seed, epoch, CALIBRATION)
        fixed: dict[str, Any] = {"step": self.step, "experiment": self.experiment}
        if carried is None:
            part = self.config.calibration.images_per_update
            chosen = calibration_step.choose(key, num, part)
            return calibration_step.calibrate(
                state, self.whole, key, chosen=chosen, on_step=on_step, **fixed
            )
        order = jax.random.permutation(input_pipeline.epoch_key(seed, 0, ORDER), num)
        stats = calibration_step.visit(
            state, self.whole, key, order=np.asarray(order), epoch=epoch, on_step=on_step, **fixed
        )
        return self.carry(carried, stats)


def create(
    config: ConfigDict, experiment: Experiment, whole: Batch, jit: Callable[..., Any]
) -> LabelUpdates:
    """Builds the updates of a run; ``jit`` compiles their functions."""
    num = whole.label.shape[0]
    step = functools.partial(calibration_step.calibration_step, experiment=experiment)
    share = experiment.visits / (num * experiment.num_passes)
    update, settings = experiment.rule.update, {}
    if experiment.visits:
        update = experiment.rule.update_carried
        settings = {"num_examples": num * experiment.num_passes / experiment.num_buckets}
    num_groups = experiment.augmentation.num_groups
    return LabelUpdates(
        config=config,
        experiment=experiment,
        whole=whole,
        step=jit(step),
        carry=jit(functools.partial(calibration.carry, share=share)),
        apply=jit(functools.partial(update, num_groups=num_groups, **settings)),
    )


def columns(sums: BucketStats | CarriedStats) -> dict[str, Array]:
    """Returns the numbers [N] of each bucket for ``metrics.jsonl``, by name."""
    if isinstance(sums, CarriedStats):
        parts = {"bucket": sums.recent, "lasting": sums.lasting}
    else:
        parts = {"bucket": sums}
    read = calibration.COLUMNS.items()
    return {f"{p}_{name}": of(sums) for p, sums in parts.items() for name, of in read}
