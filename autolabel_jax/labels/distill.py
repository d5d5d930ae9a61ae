"""Mixes labels with the predictions of a finished run on the same training examples.

Hinton, Vinyals, Dean (2015), "Distilling the Knowledge in a Neural Network". ``ema_teacher`` has
the run's own moving average as the teacher, and a share that calibration sets for each bucket.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np

import autolabel_jax
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.labels import examples, one_hot
from autolabel_jax.registry import setting


@dataclasses.dataclass(frozen=True)
class Distill(examples.PerExample, one_hot.OneHot):
    """Gives (1 - s) · one_hot(label) + s · softmax(z / T) with z the logits of a predictor.

    The predictor reads each training input once, before the first step, and before it is cropped,
    flipped or moved. What it predicts is in the state, so that neither a resumed run nor an
    evaluation needs its folder.

    Attributes:
      teacher: folder of the predictor.
      teacher_share: share s of the predictor's labels.
      teacher_temperature: temperature T of its calibrated logits; 1 gives its probabilities.
    """

    title: ClassVar[str] = "distill"
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    teacher: str = setting("", "folder of the predictor whose labels are taken")
    teacher_share: float = setting(0.5, "share of the teacher's labels", low=0, high=1)
    teacher_temperature: float = setting(
        4.0, "temperature of the teacher's logits", low=0.01, high=100
    )

    def first_targets(self, dataset: Dataset) -> np.ndarray:
        """Returns softmax(z / T) of each training example, float32 [n, K].

        Raises:
          ValueError: the predictor does not fit the data, or these are streamed.
          OSError: it cannot be read.
        """
        if not isinstance(dataset.train, Split):
            raise ValueError(
                f"labels.rule: got {self.title!r} with streamed photographs, which the teacher "
                "would have to decode first; use data in memory"
            )
        if not self.teacher:
            raise ValueError("labels.teacher: got '', expected the folder of a predictor")
        predictor = autolabel_jax.load_predictor(self.teacher)
        own = dataset.class_names or tuple(map(str, range(dataset.num_classes)))
        if predictor.class_names != tuple(own):
            raise ValueError(
                f"labels.teacher: {self.teacher} predicts the classes "
                f"{', '.join(predictor.class_names)}; those of the data are {', '.join(own)}"
            )
        logits = predictor.outputs(dataset.train.input).calibrated_logits
        return np.asarray(jax.nn.softmax(logits / self.teacher_temperature))

    def soft_labels(
        self,
        state: examples.PerExampleState,
        label: jax.Array,
        bucket: jax.Array,
        *,
        index: jax.Array | None = None,
        **example: Any,
    ) -> jax.Array:
        """Mixes one-hot labels with the teacher's; ``index`` is int32 [B], rows of the examples."""
        assert index is not None
        own = super().soft_labels(state, label, bucket, **example)
        return own + self.teacher_share * (self.targets(state, index, own) - own)
