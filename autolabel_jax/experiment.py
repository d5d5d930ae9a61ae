"""Builds the fixed parts of a training run from a config and a data set.

The config is checked here, once, before the first step.
"""

import dataclasses
import math
import warnings
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from autolabel_jax import (
    accumulation,
    augment,
    best,
    buckets,
    calibration,
    input_pipeline,
    labels,
    limits,
    losses,
    models,
    optimizer,
    visits,
)
from autolabel_jax.datasets import Dataset
from autolabel_jax.models import pretrained
from autolabel_jax.types import (
    Augmented,
    AveragedTrainState,
    Batch,
    BucketStats,
    CarriedStats,
    Distance,
    InputGradient,
    TrainState,
)

EDGE_DRAWS = 100_000  # distances drawn to place data-driven bucket edges
MOST_STEPS = 2**31 - 1  # the state counts updates in int32


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Holds what ``train_step`` and ``calibration_step`` need besides arrays."""

    model: nn.Module
    augmentation: augment.Augmentation
    rule: labels.LabelRule
    loss: losses.Loss
    optimizer: optax.GradientTransformation
    edges: np.ndarray  # float32 [M + 1], buckets of distances in training
    calibration_edges: np.ndarray  # float32 [M + 1], buckets of distances in calibration
    num_classes: int
    num_bins: int
    batch_size: int  # global, in training
    accumulate: int  # number of parts of a training batch, which run one after another
    eval_batch_size: int  # global
    num_train: int
    steps_per_epoch: int
    crop_pad: int
    flip: bool
    ema: float
    visits: int  # in an update of the labels; 0 = a full pass
    mesh: Mesh
    class_weights: np.ndarray | None = None  # float32 [K], factors of the loss; None = 1
    reweights: bool = False  # whether steps weigh examples by held-out ones

    @property
    def num_buckets(self) -> int:
        """Number of buckets N = groups × intervals."""
        return self.augmentation.num_groups * (len(self.edges) - 1)

    @property
    def num_passes(self) -> int:
        """How often a full calibration pass evaluates each held-out example."""
        return 1 if self.augmentation.distance_is_given else self.num_buckets

    def empty_stats(self) -> BucketStats:
        """Returns statistics without any example, of the kind that the rule reads."""
        num_classes = self.num_classes if self.rule.reads_confusion else None
        return calibration.empty_stats(self.num_buckets, self.num_bins, num_classes)

    def nothing_carried(self) -> CarriedStats:
        """Returns the carried sums before the first visits."""
        num = self.num_buckets
        clean = (calibration.empty_stats(buckets, num_bins=1) for buckets in (num, num, 1))
        return CarriedStats(self.empty_stats(), self.empty_stats(), *clean)


def check(config: ConfigDict) -> tuple[augment.Augmentation, labels.LabelRule]:
    """Checks what does not depend on the data, so that mistakes show before these are loaded.

    Settings of methods that the run does not use must be in their ranges too.

    Returns:
      The augmentation and the label rule.

    Raises:
      ValueError: a field of the config is not valid.
    """
    limits.check(config)
    best.check(config)
    losses.given_weights(config)
    losses.check_example_weights(config)
    augmentation, rule = augment.create(config), labels.create(config)
    losses.create(config)
    models.check(config)
    optimizer.check(config)
    for field in ("edges", "calibration_edges"):
        kind = config.buckets[field]
        if kind not in buckets.EDGES and (kind or field == "edges"):
            known = ", ".join(buckets.EDGES)
            raise ValueError(f"buckets.{field}: got {kind!r}, expected one of: {known}")
    visits.check(config, rule)
    if not augmentation.distance_is_given:
        _make_edges(config, augmentation, None)
    return augmentation, rule


def create(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Experiment:
    """Builds and checks all parts of a run.

    Raises:
      ValueError: a field of the config is not valid.
    """
    augmentation, rule = check(config)
    augmentation.check_input(dataset.spec)
    for field in ("batch_size", "eval_batch_size"):
        input_pipeline.check_batch_size(field, config[field], mesh)
    accumulation.check_parts(config, mesh)
    losses.check_held_out(config, dataset)
    num_train = len(dataset.train)
    if config.batch_size > num_train:
        raise ValueError(
            f"batch_size: got {config.batch_size}, more than the {num_train} training examples "
            f"of {dataset.name}; reduce it"
        )
    steps_per_epoch = num_train // config.batch_size
    if config.epochs * steps_per_epoch > MOST_STEPS:
        raise ValueError(
            f"epochs: got {config.epochs} of {steps_per_epoch} updates, must be at most "
            f"{MOST_STEPS:,} updates in all"
        )
    cropped = _is_cropped(config, dataset)
    if augmentation.distance_is_given and dataset.train.distance is None:
        raise ValueError(
            "augment.name: got 'given', but the data set has no distances; "
            "use a manifest with a column `distance`, or dataset='arrays' with such an array"
        )
    augmentation = augmentation.for_data(dataset)
    edges, calibration_edges = _make_edges(config, augmentation, dataset.train.distance)
    loss = losses.create(config)
    mixes = _mixes(augmentation, edges)
    _check_mixing(augmentation, rule, mixes)
    _check_views(loss, augmentation, rule, mixes)
    model = models.create(
        config,
        num_classes=dataset.num_classes,
        spec=dataset.spec,
        mean=dataset.mean,
        std=dataset.std,
        encoding=dataset.encoding,
    )
    models.check_shapes(config.model.name, model, dataset.spec.shape, dataset.num_classes)
    factors = None
    if (config.optimizer.backbone_scale, config.optimizer.layer_decay) != (1, 1):
        layers = models.layer_groups(model, dataset.spec.shape)
        factors = optimizer.layer_factors(config.optimizer, layers)
    experiment = Experiment(
        model=model,
        augmentation=augmentation,
        rule=rule,
        loss=loss,
        optimizer=optimizer.create(config, steps_per_epoch, factors)[0],
        edges=edges,
        calibration_edges=calibration_edges,
        num_classes=dataset.num_classes,
        num_bins=config.calibration.num_bins,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        eval_batch_size=config.eval_batch_size,
        num_train=num_train,
        steps_per_epoch=steps_per_epoch,
        crop_pad=config.crop_pad if cropped else 0,
        flip=config.flip and cropped,
        ema=config.optimizer.ema,
        visits=0,
        mesh=mesh,
        reweights=config.example_weights == "reweight",
    )
    if config.class_weights != "none":
        weights = losses.class_weights(config, dataset.train.label, dataset.num_classes)
        experiment = dataclasses.replace(experiment, class_weights=weights)
    if config.calibration.exact:
        return experiment
    num_visits = visits.count(
        config.calibration.share,
        num_train=num_train,
        num_held_out=len(dataset.calibration),
        num_passes=experiment.num_passes,
        batch_size=config.eval_batch_size,
        mesh=mesh,
    )
    return dataclasses.replace(experiment, visits=num_visits)


def init_state(
    experiment: Experiment,
    seed: int,
    example_shape: tuple[int, ...],
    weights: pretrained.Weights | None = None,
) -> TrainState:
    """Makes the state before the first step: random parameters, and the augmentation's own labels.

    Args:
      experiment: fixed parts of the run.
      seed: seed of the parameters.
      example_shape: shape of one input, without the batch axis.
      weights: pretrained weights, in place of random ones.
    """
    params, batch_stats = models.init(experiment.model, jax.random.key(seed), example_shape)
    if weights is not None:
        variables = {"params": params, "batch_stats": batch_stats}
        merged = pretrained.merge(variables, weights)
        params, batch_stats = merged["params"], merged.get("batch_stats", {})
    middles = buckets.middles(experiment.edges, experiment.augmentation.num_groups)
    rule = experiment.rule
    sizes = {}
    if rule.reads_confusion or rule.reads_examples or rule.reads_classes:
        sizes["num_classes"] = experiment.num_classes
    if rule.reads_examples:
        sizes["num_examples"] = experiment.num_train
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=experiment.optimizer.init(params),
        ema_params=None,
        labels=rule.init(
            experiment.augmentation.own_confidence(middles), num_bins=experiment.num_bins, **sizes
        ),
    )
    if not experiment.ema:
        return state
    ema_params, ema_batch_stats = jax.tree.map(jnp.copy, (params, batch_stats))
    fields = vars(state) | {"ema_params": ema_params, "ema_batch_stats": ema_batch_stats}
    return AveragedTrainState(**fields)


def inference_variables(state: TrainState) -> dict[str, Any]:
    """Returns the model's variables for inference; with EMA, all of them are averages."""
    if isinstance(state, AveragedTrainState):
        return {"params": state.ema_params, "batch_stats": state.ema_batch_stats}
    return {"params": state.params, "batch_stats": state.batch_stats}


def input_gradient(experiment: Experiment, variables: dict[str, Any]) -> InputGradient:
    """Makes the function that differentiates each example's cross-entropy by its input."""

    def total_loss(inputs: jax.Array, label: jax.Array) -> jax.Array:
        logits = cast("jax.Array", experiment.model.apply(variables, inputs, train=False))
        return jnp.sum(losses.integer_cross_entropy(logits, label))

    def in_parts(inputs: jax.Array, label: jax.Array) -> jax.Array:
        def of_part(part: tuple[jax.Array, jax.Array]) -> tuple[tuple[()], jax.Array]:
            return (), jax.grad(total_loss)(*part)

        # Evaluation batches may be small. Training batches are always divided exactly.
        parts = math.gcd(experiment.accumulate, label.shape[0] // experiment.mesh.devices.size)
        return accumulation.mean(of_part, (inputs, label), parts, experiment.mesh)[1]

    return in_parts


def apply_augmentation(
    experiment: Experiment,
    variables: dict[str, Any],
    batch: Batch,
    key: jax.Array,
    distance: Distance,
) -> Augmented:
    """Moves each input by its distance; an adversary attacks the model with these variables."""
    gradient = input_gradient(experiment, variables)
    augmented = experiment.augmentation.apply(key, batch, distance, gradient)
    return augmented.replace(input=jax.lax.stop_gradient(augmented.input))


def _make_edges(
    config: ConfigDict, augmentation: augment.Augmentation, given: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Places the edges of training and calibration buckets; ``given``: distances of the data."""
    num, kind = config.buckets.num, config.buckets.edges
    calibration_kind = config.buckets.calibration_edges or kind
    if augmentation.distance_is_given:
        drawn = given
    elif {kind, calibration_kind} == {"equal_width"}:
        drawn = None  # not needed
    else:
        drawn = np.asarray(augmentation.draw(jax.random.key(config.seed), EDGE_DRAWS).value)
    edges = buckets.make_edges(kind, num, drawn)
    return edges, buckets.make_edges(calibration_kind, num, drawn)


def _mixes(augmentation: augment.Augmentation, edges: np.ndarray) -> bool:
    """Returns whether inputs are mixtures of two examples."""
    own = augmentation.own_confidence(buckets.middles(edges, augmentation.num_groups))
    return bool(np.any(np.asarray(own) < 1))


def _check_mixing(augmentation: augment.Augmentation, rule: labels.LabelRule, mixes: bool) -> None:
    """Checks that each input shows one example, if each example has a label of its own."""
    if rule.reads_examples and mixes:
        raise ValueError(
            f"labels.rule: got {rule.name!r} with augment.name={augmentation.name!r}, whose inputs "
            "are mixtures of two examples; each example has a label of its own; use another "
            "augmentation"
        )


def _check_views(
    loss: losses.Loss, augmentation: augment.Augmentation, rule: labels.LabelRule, mixes: bool
) -> None:
    """Checks that there can be several views of each example, if the loss asks for them."""
    if loss.num_views == 1:
        return
    name, reason = f"augment.name={augmentation.name!r}", ""
    if augmentation.distance_is_given:
        reason = "whose inputs come augmented, each once"
    elif not augmentation.moves_inputs:
        reason = "whose views are all the same"
    elif mixes:
        reason = "whose inputs are mixtures of two examples"
    elif rule.reads_examples:
        name, reason = f"labels.rule={rule.name!r}", "whose examples have one label for all views"
    if reason:
        fields = {"jsd": loss.jsd, "copies": loss.copies, "copies_labels": loss.copies_labels}
        field = "jsd" if loss.jsd else "copies" if loss.copies > 1 else "copies_labels"
        raise ValueError(
            f"loss.{field}: got {fields[field]!r}, for which a step sees several views of each "
            f"example, with {name}, {reason}; use another one, or loss.jsd=0, loss.copies=1 and "
            "loss.copies_labels='hard'"
        )


def _is_cropped(config: ConfigDict, dataset: Dataset) -> bool:
    """Returns whether inputs can be cropped and flipped; warns if the config asks for it anyway."""
    if dataset.spec.kind == "image":
        side = min(dataset.spec.shape[:2])
        if config.crop_pad >= side:
            raise ValueError(
                f"crop_pad: got {config.crop_pad}, must be below the side of the images, {side}; "
                "a crop could hold nothing but padding"
            )
        return True
    if config.crop_pad or config.flip:
        warnings.warn(
            f"crop_pad, flip: got {config.crop_pad} and {config.flip}, but {dataset.name} holds "
            f"inputs of kind {dataset.spec.kind!r}; they are neither cropped nor flipped",
            stacklevel=3,
        )
    return False
