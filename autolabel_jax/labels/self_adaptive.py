"""Moves the label of each training example towards what the model predicts of it.

Huang, Zhang, Zhang (2020), "Self-Adaptive Training: beyond Empirical Risk Minimization",
algorithm 1; the defaults are those of their runs on CIFAR-10.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from autolabel_jax.labels import examples, one_hot
from autolabel_jax.registry import setting


@dataclasses.dataclass(frozen=True)
class SelfAdaptive(examples.PerExample, one_hot.OneHot):
    """Gives each example i a target t_i, which starts one-hot.

    From epoch ``start_epoch`` on, in each step with the model's prediction p_i,

    t_i ← α t_i + (1 - α) p_i,   w_i = max_k t_i[k],   loss = Σ_i w_i ℓ(t_i, p_i) / Σ_i w_i

    where no gradient passes through t_i and w_i, and the sums are over the whole batch.

    Attributes:
      target_momentum: share α of the target that stays.
      start_epoch: number of epochs with one-hot labels.
    """

    title: ClassVar[str] = "self_adaptive"
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    target_momentum: float = setting(0.9, "share of a target that stays", low=0, high=1)
    start_epoch: int = setting(60, "number of epochs with one-hot labels", low=0)

    def soft_labels(
        self,
        state: examples.PerExampleState,
        label: jax.Array,
        bucket: jax.Array,
        *,
        index: jax.Array | None = None,
        **example: Any,
    ) -> jax.Array:
        """Returns the targets before this step; ``index`` is int32 [B], rows of the examples."""
        assert index is not None
        own = super().soft_labels(state, label, bucket, **example)
        return self.targets(state, index, own)

    def follow(
        self, soft_label: jax.Array, logits: jax.Array, *, epoch: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the targets after this step and their weights; see the class."""
        predicted = jax.nn.softmax(jax.lax.stop_gradient(logits).astype(jnp.float32))
        stays = self.target_momentum
        has_begun = epoch >= self.start_epoch
        target = jnp.where(has_begun, stays * soft_label + (1 - stays) * predicted, soft_label)
        return target, jnp.where(has_begun, target.max(-1), 1)

    def store(
        self, state: examples.PerExampleState, index: jax.Array, target: jax.Array
    ) -> examples.PerExampleState:
        """Returns the state with the targets [B, K] of the examples of a step."""
        return state.replace(target=state.target.at[index].set(target))
