"""The two sides of benchmarks/vmap_seeds.py compute the same."""

import jax
import numpy as np

from benchmarks import vmap_seeds


def test_seeds_in_one_program_take_the_steps_that_they_take_alone():
    alone, together = vmap_seeds.sides("mlp", 2, "float32", "mixup", num_steps=1)
    for _ in range(2):
        alone.call()
        together.call()
    (stacked,) = together.states
    for seed, state in enumerate(alone.states):
        mine = jax.tree.map(lambda leaf: leaf[seed], stacked)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(mine), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    kernels = [jax.tree.leaves(state.params)[1] for state in alone.states]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2
    assert int(alone.states[0].step) == 2
    assert len(alone.times) == len(together.times) == 2
