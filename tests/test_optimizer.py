"""Learning rates at hand-computed steps, one update and one average in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autolabel_jax import optimizer
from configs import base


def make_config(epochs=10, **settings):
    config = base.base()
    config.epochs = epochs
    config.optimizer.update(settings)
    return config


def rates(config, steps_per_epoch, steps):
    _, schedule = optimizer.create(config, steps_per_epoch)
    return np.array([schedule(step) for step in steps])


def test_cosine_after_warmup():
    config = make_config(learning_rate=0.4, schedule="cosine", warmup_epochs=1.0)
    # 100 steps, of which the first 10 rise by 1/11 of the peak each.
    actual = rates(config, 10, [0, 1, 9, 10, 40, 55, 99, 100])
    falling = [0.4 * (1 + np.cos(np.pi * share)) / 2 for share in (0, 30 / 90, 0.5, 89 / 90, 1)]
    expected = [0.4 / 11, 0.8 / 11, 4 / 11, *falling]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    assert falling[1] == pytest.approx(0.3)
    assert falling[2] == pytest.approx(0.2)


def test_cosine_without_warmup_starts_at_the_peak():
    config = make_config(epochs=2, learning_rate=0.4, schedule="cosine", warmup_epochs=0.0)
    np.testing.assert_allclose(rates(config, 5, [0, 5, 10]), [0.4, 0.2, 0], atol=1e-7)


def test_warmup_may_end_within_an_epoch():
    config = make_config(learning_rate=1.0, schedule="cosine", warmup_epochs=0.3)
    np.testing.assert_allclose(rates(config, 10, [0, 1, 2, 3]), [0.25, 0.5, 0.75, 1], rtol=1e-6)


def test_step_falls_at_shares_of_the_epochs():
    config = make_config(
        learning_rate=0.1,
        schedule="step",
        warmup_epochs=0.0,
        boundaries=(0.3, 0.6, 0.8),
        decay=0.2,
    )
    actual = rates(config, 10, [0, 29, 30, 59, 60, 79, 80, 99])
    expected = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_step_boundary_within_the_warmup_waits_for_its_end():
    config = make_config(
        epochs=4,
        learning_rate=1.0,
        schedule="step",
        warmup_epochs=2.0,
        boundaries=(0.25, 0.75),
        decay=0.1,
    )
    actual = rates(config, 2, [0, 1, 2, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(actual, [0.2, 0.4, 0.6, 0.8, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


@pytest.mark.parametrize("schedule", optimizer.SCHEDULES)
def test_no_update_is_wasted_at_rate_zero(schedule):
    config = make_config(epochs=1, schedule=schedule, warmup_epochs=1.0)
    assert (rates(config, 7, range(7)) > 0).all()


PARAMS = {
    "Conv_0": {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)},
    "BatchNorm_0": {"scale": np.array([1.5], np.float32), "bias": np.array([-0.5], np.float32)},
}


@pytest.mark.parametrize("kernels_only", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_two_updates_by_hand(nesterov, kernels_only):
    config = make_config(
        learning_rate=0.5,
        schedule="cosine",
        warmup_epochs=0.0,
        momentum=0.8,
        nesterov=nesterov,
        weight_decay=0.1,
        decay_kernels_only=kernels_only,
    )
    transformation, _ = optimizer.create(config, 2)
    # PyTorch's form: v ← μv + g + λw; w ← w - η·(g + λw + μv), or - η·v without Nesterov.
    rng = np.random.default_rng(0)
    gradients = [
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), PARAMS)
        for _ in range(2)
    ]
    decays = {"kernel": 0.1, "scale": 0.0 if kernels_only else 0.1}
    decays["bias"] = decays["scale"]
    rate = [0.5, 0.25 * (1 + np.cos(np.pi / 20))]

    params = jax.tree.map(jnp.asarray, PARAMS)
    state = transformation.init(params)
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)

    for layer, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            w, v = leaf.astype(np.float64), 0.0
            for eta, gradient in zip(rate, gradients, strict=True):
                g = gradient[layer][name] + decays[name] * w
                v = 0.8 * v + g
                w = w - eta * (g + 0.8 * v if nesterov else v)
            np.testing.assert_allclose(params[layer][name], w, rtol=1e-5)


def test_weight_decay_is_the_gradient_of_half_its_square():
    # With no gradient and no momentum, an update is w ← (1 - ηλ)·w.
    config = make_config(learning_rate=0.5, warmup_epochs=0.0, momentum=0.0, weight_decay=0.2)
    transformation, _ = optimizer.create(config, 3)
    params = {"kernel": jnp.array([2.0, -1.0])}
    zero = {"kernel": jnp.zeros(2)}
    updates, _ = transformation.update(zero, transformation.init(params), params)
    np.testing.assert_allclose(params["kernel"] + updates["kernel"], [1.8, -0.9], rtol=1e-6)


def updated(config, gradients, factors=None, params=None):
    """Parameters after updates by these gradients."""
    transformation, schedule = optimizer.create(config, len(gradients), factors)
    params = jax.tree.map(jnp.asarray, PARAMS if params is None else params)
    state = transformation.init(params)
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params, state, [float(schedule(step)) for step in range(len(gradients))]


def random_gradients(num, params=PARAMS):
    rng = np.random.default_rng(0)
    return [
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
        for _ in range(num)
    ]


@pytest.mark.parametrize("kernels_only", [False, True])
def test_adamw_by_hand(kernels_only):
    config = make_config(
        name="adamw",
        learning_rate=0.5,
        warmup_epochs=0.0,
        beta1=0.8,
        beta2=0.9,
        epsilon=0.01,
        weight_decay=0.1,
        decay_kernels_only=kernels_only,
    )
    gradients = random_gradients(3)
    found, _, rates = updated(config, gradients)
    for layer, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            # Loshchilov & Hutter (2019), algorithm 2, with the decay scaled by the learning rate.
            w, m, v = leaf.astype(np.float64), 0.0, 0.0
            decay = 0.1 if name == "kernel" or not kernels_only else 0.0
            for t, (eta, gradient) in enumerate(zip(rates, gradients, strict=True), start=1):
                g = gradient[layer][name].astype(np.float64)
                m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
                step = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 0.01)
                w = w - eta * (step + decay * w)
            np.testing.assert_allclose(found[layer][name], w, rtol=1e-5)


def test_lion_by_hand():
    settings = {"beta1": 0.8, "lion_beta2": 0.7, "weight_decay": 0.1}
    config = make_config(name="lion", learning_rate=0.5, warmup_epochs=0.0, **settings)
    gradients = random_gradients(4)
    found, _, rates = updated(config, gradients)
    for layer, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            w, m = leaf.astype(np.float64), 0.0  # Chen et al. (2023), algorithm 2
            for eta, gradient in zip(rates, gradients, strict=True):
                g = gradient[layer][name].astype(np.float64)
                w = w - eta * (np.sign(0.8 * m + 0.2 * g) + 0.1 * w)
                m = 0.7 * m + 0.3 * g
            np.testing.assert_allclose(found[layer][name], w, rtol=1e-5)


LAYERS = [["Conv_0", "BatchNorm_0"], ["Block_0"], ["Dense_0"]]


def test_factors_of_layers_by_hand():
    settings = make_config(backbone_scale=0.5, layer_decay=0.8).optimizer
    assert optimizer.layer_factors(settings, LAYERS) == pytest.approx(
        {"Conv_0": 0.5 * 0.64, "BatchNorm_0": 0.5 * 0.64, "Block_0": 0.5 * 0.8, "Dense_0": 1}
    )


@pytest.mark.parametrize("name", optimizer.TABLE)
def test_each_layer_moves_by_its_factor_times_the_learning_rate(name):
    params = {"net": PARAMS}
    config = make_config(name=name, learning_rate=0.5, warmup_epochs=0.0, weight_decay=0.1)
    gradients = random_gradients(1, params)
    plain, _, _ = updated(config, gradients, None, params)
    scaled, state, _ = updated(config, gradients, {"Conv_0": 0.25, "BatchNorm_0": 0.0}, params)
    moved = plain["net"]["Conv_0"]["kernel"] - PARAMS["Conv_0"]["kernel"]
    expected = PARAMS["Conv_0"]["kernel"] + 0.25 * moved
    np.testing.assert_allclose(scaled["net"]["Conv_0"]["kernel"], expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, scaled["net"]["BatchNorm_0"], PARAMS["BatchNorm_0"])
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert {leaf.shape for leaf in moments} == {(2, 2)}  # nothing is kept of what is frozen


def test_factors_of_one_leave_the_optimiser_as_it_is():
    config, gradients = make_config(), random_gradients(2, {"net": PARAMS})
    ones = dict.fromkeys(PARAMS, 1.0)
    plain = updated(config, gradients, None, {"net": PARAMS})
    same = updated(config, gradients, ones, {"net": PARAMS})
    assert jax.tree.structure(plain) == jax.tree.structure(same)
    jax.tree.map(np.testing.assert_array_equal, plain, same)


def test_ema_by_hand():
    rng = np.random.default_rng(0)
    steps = [{"a": rng.normal(size=3).astype(np.float32)} for _ in range(4)]
    ema = {"a": np.full(3, 1e3, np.float32)}  # has no effect
    for num, params in enumerate(steps):
        ema = optimizer.ema_update(ema, params, 0.15, num)
    # Decays 0, 1/10, then .15, which is less than 2/11.
    weights = [0.1 * 0.15**2, 0.9 * 0.15**2, 0.85 * 0.15, 0.85]
    expected = sum(w * params["a"] for w, params in zip(weights, steps, strict=True))
    np.testing.assert_allclose(ema["a"], expected, rtol=1e-5)


def test_ema_of_many_values_forgets_as_its_decay_says():
    ema = jnp.float32(0.0)
    for num in range(2000):
        ema = optimizer.ema_update(ema, jnp.float32(num), 0.99, num)
    assert ema == pytest.approx(1999 - 0.99 / 0.01, abs=0.1)  # the lag of a ramp


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "linear"),
        ("learning_rate", -0.1),
        ("weight_decay", -1e-4),
        ("decay", -0.2),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("name", "adam"),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("lion_beta2", 1.0),
        ("epsilon", -1e-8),
        ("backbone_scale", -0.5),
        ("layer_decay", 0.0),
        ("layer_decay", 1.5),
        ("ema", 1.0),
        ("ema", -0.5),
        ("warmup_epochs", 10.5),
        ("warmup_epochs", -1.0),
        ("boundaries", (0.6, 0.3)),
        ("boundaries", (0.5, 1.5)),
    ],
)
def test_error_names_the_field_and_the_value(field, value):
    with pytest.raises(ValueError, match=rf"optimizer\.{field}: got ") as error:
        optimizer.create(make_config(**{field: value}), 10)
    assert repr(value).strip("'") in str(error.value)
