"""Defines the training step, a pure function that ``epochs.py`` compiles.

dataset → augment → (image, distance) → bucket → soft label → loss → parameters.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from autolabel_jax import (
    accumulation,
    augment,
    buckets,
    example_weights,
    image_ops,
    input_pipeline,
    optimizer,
)
from autolabel_jax.experiment import Experiment, apply_augmentation, inference_variables
from autolabel_jax.types import (
    Augmented,
    AveragedTrainState,
    Batch,
    Distance,
    StepMetrics,
    TrainState,
)


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    held_out: Batch | None = None,
    *,
    experiment: Experiment,
) -> tuple[TrainState, StepMetrics]:
    """Does one optimiser update on augmented inputs.

    If the loss sees several views of each example, the model is called once on all of them.

    Args:
      state: state before the step.
      batch: clean inputs [B, ...].
      key: typed key of this step.
      held_out: calibration split [n, ...], with ``experiment.reweights``.
      experiment: fixed parts of the run.

    Returns:
      The state after the step, and sums over the batch.
    """
    clean, augmented = draw_augmented(state, batch, key, experiment=experiment)
    rule, read, num_views = experiment.rule, {}, experiment.loss.num_views
    if rule.reads_teacher:
        teacher = teacher_logits(state, clean.input, experiment=experiment)
        read["teacher_logits"] = _repeat(teacher, num_views)
    if rule.reads_examples:
        read["index"] = batch.index
    bucket = buckets.bucket_index(augmented.distance, experiment.edges)
    soft_label = rule.soft_labels(
        state.labels,
        augmented.label,
        bucket,
        num_classes=experiment.num_classes,
        distance=augmented.distance,
        second_label=augmented.second_label,
        second_weight=augmented.second_weight,
        **read,
    )
    scale = rule.loss_scale(state.labels, bucket)
    weight = None
    if experiment.class_weights is not None:
        weight = jnp.asarray(experiment.class_weights)[augmented.label[::num_views]]

    def mean_loss(params: Any, part: Any) -> tuple[jax.Array, Any]:
        (image, soft_label, scale), weight = _flatten(part[0], num_views), part[1]
        logits, updated = experiment.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            image,
            train=True,
            mutable=["batch_stats"],
        )
        followed = None
        if rule.reads_examples:
            epoch = state.step // experiment.steps_per_epoch
            followed = rule.follow(soft_label, logits, epoch=epoch)
            loss = followed[1] * experiment.loss(logits, followed[0], scale)
        else:
            loss = experiment.loss.of_views(logits, soft_label, scale)
        loss = loss if weight is None else weight * loss
        rows = (loss, _group(logits.argmax(-1), num_views), followed)
        return jnp.mean(loss), (rows, updated.get("batch_stats", {}))

    def gradient_of(part: Any) -> tuple[Any, Any]:
        gradient, (rows, batch_stats) = jax.grad(mean_loss, has_aux=True)(state.params, part)
        return (gradient, batch_stats), rows

    parts = (_group((augmented.input, soft_label, scale), num_views), weight)
    if experiment.reweights:
        assert held_out is not None
        own = example_weights.of_batch(
            lambda params, part: mean_loss(params, part)[1][0][0],
            *(parts, state, held_out, key),
            experiment=experiment,
        )
        parts = (parts[0], own if weight is None else own * weight)
    (gradient, batch_stats), (loss, top, followed) = accumulation.mean(
        gradient_of,
        parts,
        experiment.accumulate,
        experiment.mesh,
    )
    if followed is not None:
        target, trust = followed
        state = state.replace(labels=rule.store(state.labels, batch.index, target))
        loss, gradient = jax.tree.map(lambda x: x / trust.mean(), (loss, gradient))
    updates, opt_state = experiment.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    if isinstance(state, AveragedTrainState):
        average, new = (state.ema_params, state.ema_batch_stats), (params, batch_stats)
        average = optimizer.ema_update(average, new, experiment.ema, state.step)
        state = state.replace(ema_params=average[0], ema_batch_stats=average[1])
    metrics = StepMetrics(
        loss=loss.sum(),
        correct=jnp.sum(top == _group(augmented.label, num_views)).astype(jnp.float32),
        count=jnp.float32(loss.size),
    )
    if num_views > 1:
        metrics = metrics.replace(correct=metrics.correct / num_views)
    state = state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return state, metrics


def train_steps(
    state: TrainState,
    whole: Batch,
    order: jax.Array | None,
    key: jax.Array,
    first_step: jax.Array,
    held_out: Batch | None = None,
    *,
    num_steps: int,
    experiment: Experiment,
) -> tuple[TrainState, StepMetrics]:
    """Does ``num_steps`` steps of an epoch in one dispatch.

    Args:
      state: state before the first of these steps.
      whole: training split on the device, or one batch of a streamed split.
      order: int32 [n], rows of the split in the order of the epoch; None if ``whole`` is a batch.
      key: typed key of the epoch.
      first_step: int32 [], index of the first of these steps in the epoch.
      held_out: as in ``train_step``.
      num_steps: number of steps, static; 1 on the CPU, where convolution gradients inside a
        scan are 15-80 times slower (jax issue 12868).
      experiment: fixed parts of the run.

    Returns:
      The state after the last of these steps, and metrics [num_steps].
    """

    def one(state: TrainState, step: jax.Array) -> tuple[TrainState, StepMetrics]:
        batch = input_pipeline.step_batch(
            whole, order, step, experiment.batch_size, experiment.mesh
        )
        step_key = jax.random.fold_in(key, step)
        return train_step(state, batch, step_key, held_out, experiment=experiment)

    if num_steps == 1:
        state, metrics = one(state, first_step)
        return state, jax.tree.map(lambda x: x[None], metrics)
    return jax.lax.scan(one, state, first_step + jnp.arange(num_steps, dtype=jnp.int32))


def draw_augmented(
    state: TrainState, batch: Batch, key: jax.Array, *, experiment: Experiment
) -> tuple[Batch, Augmented]:
    """Crops and flips each input, draws its distance, and moves it by that distance.

    Returns:
      The batch [B] after cropping and flipping, and the augmented batch [B·V]; the V views of an
      example that the loss asks for are consecutive, with the same crop and flip.
    """
    crop_key, flip_key, draw_key, apply_key = jax.random.split(key, 4)
    image = batch.input
    if experiment.crop_pad:
        image = image_ops.random_crop(crop_key, image, experiment.crop_pad)
    if experiment.flip:
        image = image_ops.random_flip(flip_key, image)
    clean, loss = batch.replace(input=image), experiment.loss
    copies = _repeat(clean, loss.num_copies)
    drawn = experiment.augmentation.draw(draw_key, copies.input.shape[0])
    distance = experiment.rule.distance(state.labels, copies.label, drawn)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    augmented = apply_augmentation(experiment, variables, copies, apply_key, distance)
    if not loss.has_clean:
        return clean, augmented
    unmoved = experiment.augmentation.unmoved(image)
    return clean, _add_clean(clean.replace(input=unmoved), augmented)


def teacher_logits(state: TrainState, inputs: jax.Array, *, experiment: Experiment) -> jax.Array:
    """Returns the logits [B, K] of the averaged parameters on inputs that are not moved.

    Batches in parts are computed in parts, as in training.
    """
    variables = inference_variables(state)

    def of_part(part: jax.Array) -> tuple[tuple[()], jax.Array]:
        return (), cast("jax.Array", experiment.model.apply(variables, part, train=False))

    inputs = image_ops.to_float(inputs)
    return accumulation.mean(of_part, inputs, experiment.accumulate, experiment.mesh)[1]


def _add_clean(clean: Batch, copies: Augmented) -> Augmented:
    """Puts each clean input [B], of distance 0, before its copies [B·n]."""
    zero = jnp.zeros_like(clean.label)
    distance = Distance(group=zero, value=zero.astype(jnp.float32))
    first = augment.unmixed(clean.input, clean.label, distance)

    def join(one: jax.Array, others: jax.Array) -> jax.Array:
        others = others.reshape(len(one), -1, *one.shape[1:])
        return jnp.concatenate([one[:, None], others], 1).reshape(-1, *one.shape[1:])

    return jax.tree.map(join, first, copies)


# The views of an example are consecutive, so that they are on one device and in one part of a
# batch. With one view, these functions do nothing.


def _repeat(tree: Any, num: int) -> Any:
    """Repeats each row [B, ...] → [B·num, ...]."""
    return tree if num == 1 else jax.tree.map(lambda x: jnp.repeat(x, num, axis=0), tree)


def _group(tree: Any, num: int) -> Any:
    """Groups the views of each example, [B·num, ...] → [B, num, ...]."""
    return tree if num == 1 else jax.tree.map(lambda x: x.reshape(-1, num, *x.shape[1:]), tree)


def _flatten(tree: Any, num: int) -> Any:
    """Inverts ``_group``."""
    return tree if num == 1 else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
