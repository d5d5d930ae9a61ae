"""Weighs the examples of a step by whether they lower the loss of held-out examples.

Ren, Zeng, Yang, Urtasun (2018), "Learning to Reweight Examples for Robust Deep Learning",
algorithm 1. With l_i the loss of example i, L that of a batch of held-out examples with clean
labels, and θ' = θ - η ∇ Σ_i ε_i l_i(θ) a step of SGD,

    g_i = ∂L(θ')/∂ε_i at ε = 0  =  -η ⟨∇L(θ), ∇l_i(θ)⟩,   w_i = max(-g_i, 0) / Σ_j max(-g_j, 0)

The dot products are the derivatives of all l_i in the direction ∇L(θ), which forward mode computes
in one pass, without a second backward pass through the step. η cancels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from autolabel_jax import accumulation, image_ops, input_pipeline
from autolabel_jax.experiment import Experiment
from autolabel_jax.types import Batch, TrainState

HELD_OUT = 2**31 - 1  # folded into the key of a step

# (parameters, part of a batch) → loss of each example.
Losses = Callable[[Any, Any], jax.Array]


def of_batch(
    losses: Losses,
    parts: Any,
    state: TrainState,
    held_out: Batch,
    key: jax.Array,
    *,
    experiment: Experiment,
) -> jax.Array:
    """Returns the weights of a batch, float32 [B], B times those of the paper.

    Args:
      losses: training losses, which normalise as in training.
      parts: what ``losses`` reads, a tree of arrays [B, ...].
      state: state before the step.
      held_out: calibration split [n, ...]; B of its examples are drawn with replacement, unmoved.
      key: typed key of the step.
      experiment: fixed parts of the run.
    """
    direction = held_out_gradient(state, held_out, key, experiment=experiment)

    def of_part(part: Any) -> tuple[tuple[()], jax.Array]:
        return (), alignment(lambda params: losses(params, part), state.params, direction)

    _, aligned = accumulation.mean(of_part, parts, experiment.accumulate, experiment.mesh)
    return normalise(aligned)


def held_out_gradient(
    state: TrainState, held_out: Batch, key: jax.Array, *, experiment: Experiment
) -> Any:
    """Returns the gradient of the training loss of held-out examples with one-hot labels."""
    key, num = jax.random.fold_in(key, HELD_OUT), held_out.label.shape[0]
    rows = jax.random.randint(key, (experiment.batch_size,), 0, num)
    batch = input_pipeline.take(held_out, rows, experiment.mesh)

    def mean_loss(params: Any, part: Any) -> jax.Array:
        image, label = part
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = experiment.model.apply(variables, image, train=True, mutable=["batch_stats"])
        return experiment.loss(logits, jax.nn.one_hot(label, experiment.num_classes)).mean()

    def of_part(part: Any) -> tuple[Any, tuple[()]]:
        return jax.grad(mean_loss)(state.params, part), ()

    part = (image_ops.to_float(batch.input), batch.label)
    return accumulation.mean(of_part, part, experiment.accumulate, experiment.mesh)[0]


def alignment(losses: Callable[[Any], jax.Array], params: Any, direction: Any) -> jax.Array:
    """Returns ⟨∇l_i(params), direction⟩ of each example, float32 [B].

    Args:
      losses: parameters → l_i of each example, [B].
      params: tree of parameters.
      direction: tree like params.
    """
    return jax.jvp(losses, (params,), (direction,))[1]


def normalise(aligned: jax.Array) -> jax.Array:
    """Returns max(a_i, 0) · B / Σ_j max(a_j, 0), float32 [B]; 0 if no a_i is positive."""
    positive = jnp.maximum(aligned, 0).astype(jnp.float32)
    total = positive.sum()
    return len(aligned) * positive / jnp.where(total > 0, total, 1)
