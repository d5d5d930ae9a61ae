"""Mixes labels with the predictions of the run's own moving average, as calibration asks for.

The average of the parameters as a teacher is that of Tarvainen, Valpola (2017), "Mean teachers are
better role models". Here it labels training examples, and how much of a label is its prediction is
learned per bucket as AutoLabel's confidence is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax import calibration
from autolabel_jax.labels import base, one_hot
from autolabel_jax.registry import setting
from autolabel_jax.types import BucketStats


@dataclasses.dataclass(frozen=True)
class EMATeacher(one_hot.OneHot):
    """Gives confidence[n] · one_hot(label) + (1 - confidence[n]) · softmax(z / T).

    z are the logits of the teacher, the moving average of the parameters, on the input before it
    is moved; it sees the same crop and flip. After each calibration pass

    confidence[n] ← clip(confidence[n] - α (Conf_n - Acc_n), 0, 1)

    from 1, so that an over-confident bucket takes more of the teacher. An empty bucket does not
    change. In a mixture this is the part 1 - γ of the dominant input; the class mixed in keeps γ.

    Attributes:
      teacher_step: step size α.
      teacher_temperature: temperature T.
    """

    title: ClassVar[str] = "ema_teacher"
    learns: ClassVar[bool] = True
    reads_teacher: ClassVar[bool] = True
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    teacher_step: float = setting(1.0, "step size", low=0)
    teacher_temperature: float = setting(
        4.0, "temperature of the teacher's logits", low=0.01, high=100
    )

    def init(
        self, own_confidence: jax.Array, *, num_bins: int = calibration.NUM_BINS
    ) -> base.LabelState:
        """Starts without the teacher, which is equal to one_hot."""
        del num_bins
        ones = jnp.ones_like(jnp.asarray(own_confidence, jnp.float32))
        return base.LabelState(confidence=ones)

    def soft_labels(
        self,
        state: base.LabelState,
        label: jax.Array,
        bucket: jax.Array,
        *,
        teacher_logits: jax.Array | None = None,
        second_weight: jax.Array | None = None,
        **example: Any,
    ) -> jax.Array:
        """Mixes the augmentation's own labels with the teacher's predictions.

        ``teacher_logits`` are float [B, K]; the others are those of ``OneHot.soft_labels``.
        """
        assert teacher_logits is not None
        own = super().soft_labels(state, label, bucket, second_weight=second_weight, **example)
        teacher = jax.nn.softmax(teacher_logits.astype(jnp.float32) / self.teacher_temperature)
        taken = (1 - state.confidence[bucket])[:, None]
        if second_weight is not None:
            taken *= 1 - second_weight[:, None]
        return own + taken * (teacher - jax.nn.one_hot(label, own.shape[-1]))

    def update(
        self, state: base.LabelState, stats: BucketStats, *, num_groups: int = 1
    ) -> base.LabelState:
        """Returns the shares after a calibration pass; see the class."""
        del num_groups
        gap = calibration.confidence(stats) - calibration.accuracy(stats)
        moved = jnp.clip(state.confidence - self.teacher_step * gap, 0, 1)
        return state.replace(
            confidence=jnp.where(calibration.count(stats) > 0, moved, state.confidence)
        )
