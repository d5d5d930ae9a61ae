"""Implements AutoLabel, which learns the confidence of labels per bucket from calibration.

Qin, Wang, Lakshminarayanan, Chi, Beutel, "What Are Effective Labels for
Augmented Data? Improving Calibration and Robustness with AutoLabel", SaTML
2023, arXiv 2302.11188; patent US20220108220A1.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base, isotonic
from autolabel_jax.registry import setting
from autolabel_jax.types import Array, BucketStats, CarriedStats, Distance


# This is a separate class because checkpoints store fields even if they are None, so that a
# checkpoint without the fields would not restore.
class TrackedState(base.LabelState):
    """Holds the labels and the state of AutoLabel's options; None if an option is off."""

    updates: jax.Array | None  # int32 [], number of updates so far
    stats: BucketStats | None  # [N, R], averaged over updates
    ece: jax.Array | None  # float32 [N], ECE that the last update used; 0 if empty


@dataclasses.dataclass(frozen=True)
class AutoLabel(base.LabelRule):
    """Moves every bucket's label against the model's miscalibration on it.

    confidence[n] ← clip(confidence[n] - α · ECE_n · sign(Conf_n - Acc_n), Acc_n, 1)

    or, with step='signed_gap', α · (Conf_n - Acc_n) in place of the signed
    ECE: the step of AR-AdaLS (Qin et al. 2021, "Improving Calibration through
    the Relationship with Adversarial Robustness"). The label of an empty bucket does not
    change. The settings after ``step`` are off by default, see docs/label_rules.md.

    Attributes:
      alpha: step size α.
      step: 'ece' or 'signed_gap'.
      ece_estimate: 'plugin', or 'debiased' for ``calibration.debiased_ece``.
      alpha_decay: d of the step size α / (1 + updates so far)^d.
      momentum: in [0, 1); Acc, Conf and ECE are computed from S ← momentum · S + stats.
      monotone: whether to apply ``isotonic.non_increasing`` to each group of buckets after the
        step.
    """

    title: ClassVar[str] = "autolabel"
    learns: ClassVar[bool] = True
    in_name: ClassVar[tuple[str, ...]] = ("step",)
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ({"step": "ece"}, {"step": "signed_gap"})

    alpha: float = setting(1.0, "step size", low=0, search="log:0.01..10")
    step: str = setting("ece", "size of a step", choices=("ece", "signed_gap"))
    ece_estimate: str = setting(
        "plugin", "with step='ece': estimator of the ECE", choices=("plugin", "debiased")
    )
    alpha_decay: float = setting(0.0, "step size is α / (1 + updates so far)^this", low=0)
    momentum: float = setting(
        0.0,
        "share of the earlier statistics that is kept",
        valid=lambda share: 0 <= share < 1,
        needs="at least 0 and below 1",
    )
    monotone: bool = setting(False, "labels never rise with the distance")

    def __post_init__(self) -> None:
        """Checks that the settings do not contradict each other."""
        if self.step == "signed_gap" and self.ece_estimate != "plugin":
            raise ValueError(
                f"labels.ece_estimate: got {self.ece_estimate!r} with labels.step='signed_gap', "
                "which uses no ECE; use labels.step='ece', or labels.ece_estimate='plugin'"
            )

    @classmethod
    def row_name(cls, settings: Mapping[str, Any]) -> str:
        """Returns 'autolabel' or 'autolabel, signed gap'."""
        return cls.title + (", signed gap" if settings.get("step") == "signed_gap" else "")

    def init(
        self, own_confidence: jax.Array, *, num_bins: int = calibration.NUM_BINS
    ) -> base.LabelState:
        """Starts from the augmentation's own labels, and adds the state of the options."""
        confidence = jnp.asarray(own_confidence, jnp.float32)
        if not (self.alpha_decay or self.momentum or self._reads_other_ece):
            return base.LabelState(confidence=confidence)
        stats = calibration.empty_stats(len(confidence), num_bins) if self.momentum else None
        return TrackedState(
            confidence=confidence,
            updates=jnp.zeros((), jnp.int32) if self.alpha_decay else None,
            stats=stats,
            ece=jnp.zeros_like(confidence) if self._reads_other_ece else None,
        )

    def soft_labels(
        self,
        state: base.LabelState,
        label: jax.Array,
        bucket: jax.Array,
        *,
        num_classes: int,
        distance: Distance | None = None,
        second_label: jax.Array | None = None,
        second_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Gives the true class the confidence of its bucket; see ``base.spread``."""
        del distance
        return base.spread(
            state.confidence[bucket],
            label,
            num_classes=num_classes,
            second_label=second_label,
            second_weight=second_weight,
        )

    def update(
        self, state: base.LabelState, stats: BucketStats, *, num_groups: int = 1
    ) -> base.LabelState:
        """Returns the labels after a calibration pass; see the class."""
        measured = calibration.count(stats) > 0
        if self.momentum:
            assert isinstance(state, TrackedState)
            stats = jax.tree.map(lambda old, new: self.momentum * old + new, state.stats, stats)
            state = state.replace(stats=stats)
        accuracy = calibration.accuracy(stats)
        gap = calibration.gap(stats)
        debiased = self.ece_estimate == "debiased"
        ece = calibration.debiased_ece(stats) if debiased else calibration.ece(stats)
        if self._reads_other_ece:
            state = state.replace(ece=jnp.where(calibration.count(stats) > 0, ece, 0))
        move = gap if self.step == "signed_gap" else ece * jnp.sign(gap)
        return self._moved(state, move, accuracy, measured, num_groups)

    def update_carried(
        self,
        state: base.LabelState,
        carried: CarriedStats,
        *,
        num_examples: float,
        num_groups: int = 1,
    ) -> base.LabelState:
        """Returns the labels after some visits, moved as a full pass would move them on average.

        confidence[n] ← clip(confidence[n] - α · (g + s · e), Acc_n, 1)

        with the gap g = Conf - Acc of the recent sums, and Acc_n of the lasting ones, both with
        ``calibration.correction`` for the examples that happened to visit the bucket. With
        step='signed_gap', e = 0. With step='ece', e is the part of the ECE beyond the gap,
        ECE - |Conf - Acc| of the lasting sums; for the plug-in ECE, whose bias falls with the
        number of examples, it is scaled to those of a full pass. s is the expected sign of the
        gap, erf(g / (σ√2)), where σ² = Acc_n (1 - Acc_n) / m bounds the variance of g over the
        effective number m of recent visits.
        """
        measured = calibration.count(carried.recent) > 0
        accuracy = calibration.accuracy(carried.lasting) + calibration.correction(
            calibration.accuracy, carried.lasting_clean, carried.clean
        )
        accuracy = jnp.clip(accuracy, 0, 1)
        move = gap = calibration.gap(carried.recent) + calibration.correction(
            calibration.gap, carried.recent_clean, carried.clean
        )
        if self.step == "ece":
            # (Σw)² / Σw² of geometric weights is Σw · (1 + KEEP).
            visits = calibration.count(carried.recent) * (1 + calibration.KEEP)
            variance = accuracy * (1 - accuracy) / visits
            sign = jnp.where(variance > 0, jax.lax.erf(gap / jnp.sqrt(2 * variance)), jnp.sign(gap))
            move = gap + sign * self._excess(carried.lasting, num_examples)
        if self._reads_other_ece:
            state = state.replace(ece=jnp.where(measured, jnp.abs(move), 0))
        return self._moved(state, move, accuracy, measured, num_groups)

    def _excess(self, stats: BucketStats, num_examples: float) -> jax.Array:
        """Returns the part of the ECE beyond the gap in a full pass, estimated from ``stats``."""
        gap = jnp.abs(calibration.gap(stats))
        if self.ece_estimate == "debiased":
            return jnp.maximum(calibration.debiased_ece(stats) - gap, 0)
        shrink = jnp.sqrt(jnp.minimum(calibration.count(stats) / num_examples, 1))
        return jnp.maximum(calibration.ece(stats) - gap, 0) * shrink

    def _moved(
        self,
        state: base.LabelState,
        move: Array,
        accuracy: Array,
        measured: Array,
        num_groups: int,
    ) -> base.LabelState:
        """Moves the labels of measured buckets against ``move`` [N], and counts the update."""
        alpha = self.alpha
        if self.alpha_decay:
            assert isinstance(state, TrackedState)
            assert state.updates is not None
            alpha = alpha / (1 + state.updates.astype(jnp.float32)) ** self.alpha_decay
            state = state.replace(updates=state.updates + 1)
        moved = jnp.clip(state.confidence - alpha * move, accuracy, 1.0)
        moved = jnp.where(measured, moved, state.confidence)
        if self.monotone:
            moved = isotonic.non_increasing(moved, len(moved) // num_groups)
        return state.replace(confidence=moved)

    def metrics(self, state: base.LabelState) -> dict[str, jax.Array]:
        """Returns the labels, and the ECE of the last update if it is not the bucket's own."""
        shown = super().metrics(state)
        if not self._reads_other_ece:
            return shown
        assert isinstance(state, TrackedState)
        assert state.ece is not None
        return {**shown, "ece": state.ece}

    @property
    def _reads_other_ece(self) -> bool:
        """Whether the update uses another ECE than the plain one of its statistics."""
        return self.step == "ece" and (self.momentum > 0 or self.ece_estimate != "plugin")
