"""Measures held-out examples after an epoch, in a full pass or in visits, and updates the labels.

A run with ``experiment.visits`` carries the sums of its visits from epoch to epoch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import calibration, calibration_step, input_pipeline, visits
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
    carry: Callable[..., CarriedStats]  # ``carry`` with its settings bound
    apply: Callable[[Any, Any], Any]  # (state of the label rule, result of ``measure``) → state
    apply_classes: Callable[..., Any]  # ``update_classes`` with its experiment bound

    def measure(
        self,
        state: TrainState,
        epoch: int,
        clean: np.ndarray,
        carried: CarriedStats | None,
        on_step: Callable[[], None] = lambda: None,
    ) -> BucketStats | CarriedStats:
        """Returns the sums of a full pass or, with ``carried``, of the visits up to this epoch.

        Args:
          state: state after the epoch.
          epoch: index of the epoch.
          clean: float32 [n, K], logits of the unmoved examples.
          carried: sums before the epoch; None for a full pass.
          on_step: called after each step, to show progress.
        """
        seed, num = self.config.seed, self.whole.label.shape[0]
        key = input_pipeline.epoch_key(seed, epoch, CALIBRATION)
        fixed: dict[str, Any] = {"step": self.step, "experiment": self.experiment}
        if carried is None:
            part = self.config.calibration.images_per_update
            chosen = calibration_step.choose(key, num, part)
            return calibration_step.calibrate(
                state, self.whole, key, chosen=chosen, on_step=on_step, **fixed
            )
        order = np.asarray(jax.random.permutation(input_pipeline.epoch_key(seed, 0, ORDER), num))
        stats = calibration_step.visit(
            state, self.whole, key, order=order, epoch=epoch, on_step=on_step, **fixed
        )
        size = self.experiment.visits
        visited = visits.place(epoch * size, size, order, self.experiment.num_buckets)
        return self.carry(carried, stats, clean, self.whole.label, *visited)

    def update(self, labels: Any, measured: BucketStats | CarriedStats, clean: np.ndarray) -> Any:
        """Returns the state of the label rule after an update; ``clean`` is as in ``measure``."""
        labels = self.apply(labels, measured)
        if self.experiment.rule.reads_classes:
            labels = self.apply_classes(labels, clean, self.whole.label)
        return labels


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
        carry=jit(functools.partial(carry, share=share, experiment=experiment)),
        apply=jit(functools.partial(update, num_groups=num_groups, **settings)),
        apply_classes=jit(functools.partial(update_classes, experiment=experiment)),
    )


def carry(
    carried: CarriedStats,
    stats: BucketStats,
    logits: jax.Array,
    label: jax.Array,
    rows: jax.Array,
    bucket: jax.Array,
    *,
    share: float,
    experiment: Experiment,
) -> CarriedStats:
    """Adds the visits of an update to carried sums, see ``calibration.carry``.

    Args:
      carried: sums before the update.
      stats: sums [N, R] over the visits.
      logits: float32 [n, K] of the unmoved held-out examples.
      label: int32 [n].
      rows: int32 [V], the visiting examples.
      bucket: int32 [V], the buckets that they visit.
      share: number of visits, as a share of those of a full pass.
      experiment: fixed parts of the run.
    """
    if experiment.augmentation.distance_is_given:  # no example is unmoved
        visited, clean = carried.recent_clean, carried.clean
    else:
        clean_stats = functools.partial(calibration.bucket_stats, num_bins=1)
        num_buckets = experiment.num_buckets
        visited = clean_stats(logits[rows], label[rows], bucket, num_buckets=num_buckets)
        clean = clean_stats(logits, label, jnp.zeros_like(label), num_buckets=1)
    return calibration.carry(carried, stats, visited, clean, share=share)


def update_classes(
    labels: Any, logits: jax.Array, label: jax.Array, *, experiment: Experiment
) -> Any:
    """Updates the state of a rule that reads classes.

    Args:
      labels: state of the rule.
      logits: float32 [n, K] of the unmoved held-out examples.
      label: int32 [n].
      experiment: fixed parts of the run.
    """
    num = experiment.num_classes
    stats = calibration.bucket_stats(logits, label, label, num_buckets=num, num_bins=1)
    return experiment.rule.update_classes(labels, stats)


def columns(sums: BucketStats | CarriedStats) -> dict[str, Array]:
    """Returns the numbers [N] of each bucket for ``metrics.jsonl``, by name."""
    if isinstance(sums, CarriedStats):
        parts = {"bucket": sums.recent, "lasting": sums.lasting}
    else:
        parts = {"bucket": sums}
    each = calibration.COLUMNS.items()
    shown = {f"{p}_{name}": read(s) for p, s in parts.items() for name, read in each}
    if isinstance(sums, CarriedStats):
        for name, read, of in (
            ("bucket_gap", calibration.gap, sums.recent_clean),
            ("lasting_accuracy", calibration.accuracy, sums.lasting_clean),
        ):
            shown[f"{name}_correction"] = calibration.correction(read, of, sums.clean)
    return shown
