"""Measures accuracy and temperature by distance, inside the range of training and beyond it.

Families of moves, each in equal intervals of its distance, of all or some held-out examples:

- the augmentation of the run, with its own settings: inside;
- AugMix at severity 10, RandAugment and Gaussian noise, for images: beyond;
- for adversarial training, attacks of up to 4 times its largest ε: beyond.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from autolabel_jax import buckets, calibration, calibration_step, image_ops, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import Adversarial, Augmentation, AugMix, RandAugment, base, none
from autolabel_jax.calibrators import temperature
from autolabel_jax.datasets import InputSpec
from autolabel_jax.experiment import Experiment
from autolabel_jax.types import Augmented, Batch, Distance, InputGradient, TrainState

INTERVALS = 3  # of the distance, in each group of a family
MOST_EXAMPLES = 1000  # in a bucket
FAR_SEVERITY = 10.0  # of AugMix
FAR_EPSILON = 4  # times the largest ε of adversarial training
PURPOSE = 16  # of the random numbers, see ``input_pipeline.epoch_key``
CLEAN = "clean"  # name of the examples that are not moved


@dataclasses.dataclass(frozen=True)
class Noise(base.Augmentation):
    """Adds Gaussian noise to images; its deviation is ``most`` × distance, of a range of 1."""

    title: ClassVar[str] = "noise"
    most: float = 0.5

    def apply(
        self,
        key: jax.Array,
        batch: Batch,
        distance: Distance,
        input_gradient: InputGradient | None = None,
    ) -> Augmented:
        """Adds noise and clips to [0, 1]."""
        del input_gradient
        image = image_ops.to_float(batch.input)
        deviation = self.most * jnp.asarray(distance.value)[:, None, None, None]
        noisy = image + deviation * jax.random.normal(key, image.shape)
        return base.unmixed(jnp.clip(noisy, 0, 1), batch.label, distance)


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of moves."""

    name: str
    move: Augmentation
    inside: bool  # whether the run trains with it


def families(augmentation: Augmentation, spec: InputSpec) -> list[Family]:
    """Lists the families of a run; empty for distances that are given with the data."""
    if augmentation.distance_is_given:
        return []
    own = [Family(f"{augmentation.name}, training", augmentation, inside=True)]
    far: dict[str, Augmentation] = {}
    if isinstance(augmentation, Adversarial):
        widest = min(FAR_EPSILON * augmentation.max_epsilon, 1.0)
        name = f"adversarial, ε up to {255 * widest:.3g}/255"
        far[name] = dataclasses.replace(augmentation, max_epsilon=widest)
    if spec.kind == "image" and spec.dtype == "uint8" and spec.shape[-1] in (1, 3):
        far["augmix, severity 10"] = AugMix(severity=FAR_SEVERITY)
        far["randaugment"] = RandAugment()
        far["noise"] = Noise()
    beyond = [Family(n, move, inside=False) for n, move in far.items() if move != augmentation]
    return [*(own if augmentation.moves_inputs else []), *beyond]


def is_due(config: ConfigDict, epoch: int, *, is_last: bool) -> bool:
    """Whether training measures after this epoch, by calibration.beyond and beyond_every."""
    every = config.calibration.beyond_every
    return config.calibration.beyond and (is_last or (every > 0 and (epoch + 1) % every == 0))


def num_buckets(augmentation: Augmentation, spec: InputSpec) -> int:
    """Returns the number of rows of ``measure``."""
    groups = [family.move.num_groups for family in families(augmentation, spec)]
    return 1 + INTERVALS * sum(groups)


def metrics(
    config: ConfigDict,
    epoch: int,
    experiment: Experiment,
    state: TrainState,
    whole: Batch,
    spec: InputSpec,
    *,
    is_last: bool,
) -> dict[str, list[Any]]:
    """Returns the columns of ``measure`` for ``metrics.jsonl`` if they are due; {} if not."""
    if not is_due(config, epoch, is_last=is_last):
        return {}
    key = input_pipeline.epoch_key(config.seed, epoch + 1, PURPOSE)
    variables = experiment_lib.inference_variables(state)
    rows = measure(experiment, variables, whole, spec, key)
    return {f"beyond_{name}": values for name, values in rows.items()}


def measure(
    experiment: Experiment,
    variables: dict[str, Any],
    whole: Batch,
    spec: InputSpec,
    key: jax.Array,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, list[Any]]:
    """Measures the model on clean and moved held-out examples.

    Args:
      experiment: fixed parts of the run.
      variables: variables of the model for inference.
      whole: calibration split [n, ...] on the device.
      spec: describes its inputs.
      key: typed key.
      on_step: called after each batch, to show progress.

    Returns:
      Columns with a row for each bucket, clean examples first: family (name), inside (0 or 1),
      group, low and high (of the distance), count, accuracy, confidence, ece, and temperature,
      which minimises the NLL of the bucket, with its ``Optimum.kind`` as temperature_optimum.
    """
    clean = Family(CLEAN, none.Identity(), inside=True)
    rows = []
    for i, family in enumerate([clean, *families(experiment.augmentation, spec)]):
        moved = dataclasses.replace(experiment, augmentation=family.move)
        step = jax.jit(functools.partial(_step, experiment=moved))
        edges = buckets.make_edges("equal_width", 1 if family is clean else INTERVALS)
        for n in range(family.move.num_groups * (len(edges) - 1)):
            bucket_key = jax.random.fold_in(jax.random.fold_in(key, i), n)
            logits, label = _outputs(experiment, variables, whole, edges, n, bucket_key, step)
            group, interval = divmod(n, len(edges) - 1)
            low, high = (0.0, 0.0) if family is clean else edges[interval : interval + 2]
            place = {"family": family.name, "inside": int(family.inside), "group": group}
            rows.append({**place, "low": float(low), "high": float(high), **_scores(logits, label)})
            on_step()
    return {name: [row[name] for row in rows] for name in rows[0]}


def _step(
    variables: dict[str, Any],
    whole: Batch,
    rows: jax.Array,
    bucket: jax.Array,
    key: jax.Array,
    edges: jax.Array,
    *,
    experiment: Experiment,
) -> tuple[jax.Array, jax.Array]:
    """Computes (logits [B, K], label [B]) of examples that are moved inside a bucket."""
    batch = input_pipeline.take(whole, rows, experiment.mesh)
    draw_key, apply_key = jax.random.split(key)
    distance = buckets.draw_inside(draw_key, bucket, edges)
    augmented = experiment_lib.apply_augmentation(experiment, variables, batch, apply_key, distance)
    logits = experiment.model.apply(variables, augmented.input, train=False)
    replicated = NamedSharding(experiment.mesh, PartitionSpec())  # each process reads them
    found = cast("jax.Array", logits), augmented.label
    return jax.lax.with_sharding_constraint(found, replicated)


def _outputs(
    experiment: Experiment,
    variables: dict[str, Any],
    whole: Batch,
    edges: np.ndarray,
    bucket: int,
    key: jax.Array,
    step: Callable[..., tuple[jax.Array, jax.Array]],
) -> tuple[np.ndarray, np.ndarray]:
    """Computes (logits [m, K], label [m]) of up to MOST_EXAMPLES examples of one bucket."""
    num = input_pipeline.num_examples(whole)
    chosen = calibration_step.choose(key, num, MOST_EXAMPLES)
    size, mesh = experiment.eval_batch_size, experiment.mesh
    parts = [
        step(variables, whole, rows, np.full(len(rows), bucket), jax.random.fold_in(key, i), edges)
        for i, rows in enumerate(input_pipeline.padded_rows(whole, size, mesh, chosen))
    ]
    logits, label = jax.tree.map(lambda *x: np.concatenate(x), *jax.device_get(parts))
    return logits[: min(num, MOST_EXAMPLES)], label[: min(num, MOST_EXAMPLES)]


def _scores(logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    zeros = jnp.zeros(len(label), jnp.int32)
    best = temperature.find(logits, label)
    stats = calibration.bucket_stats(jnp.asarray(logits), jnp.asarray(label), zeros, num_buckets=1)
    return {
        "count": len(label),
        "accuracy": float(calibration.accuracy(stats)[0]),
        "confidence": float(calibration.confidence(stats)[0]),
        "ece": float(calibration.ece(stats)[0]),
        "temperature": best.temperature,
        "temperature_optimum": best.kind,
    }
